# SPDX-License-Identifier: Apache-2.0
"""Random policies and inputs for the tests of this folder."""

from __future__ import annotations

import torch
from torch import Tensor

from adamoe_ros.model.config import ModelConfig
from adamoe_ros.model.layers import initialise
from adamoe_ros.model.policy_model import AdaMoEPolicy


def policy(config: ModelConfig, seed: int = 0) -> AdaMoEPolicy:
    """Random weights; norms and biases too, and routers that decide clearly."""
    generator = torch.Generator().manual_seed(seed)
    model = AdaMoEPolicy(config)
    initialise(model, generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
            if name.endswith(".modulation.weight"):
                values = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(values / parameter.shape[1] ** 0.5)
            if ".router." in name or ".scale_adapter." in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def inputs(
    config: ModelConfig, cameras: list[list[int]], prompts: list[int], seed: int = 1
) -> dict[str, Tensor]:
    """Arguments of ``encode_prefix``: which cameras deliver, how long the prompts are; no id 0."""
    generator = torch.Generator().manual_seed(seed)
    batch, length = len(cameras), config.prompt_length
    size = (batch, config.num_views, 3, *config.vision.image_size)
    return {
        "images": torch.rand(size, generator=generator) * 2 - 1,
        "image_mask": torch.tensor(cameras).bool(),
        "token_ids": torch.randint(1, config.prefix.vocab, (batch, length), generator=generator),
        "token_mask": torch.arange(length) < torch.tensor(prompts).unsqueeze(1),
        "state": torch.randn(batch, config.state_dim, generator=generator),
    }


def chunk(config: ModelConfig, batch: int, seed: int = 2) -> Tensor:
    """(B, H, A) unit normal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, config.horizon, config.action_dim, generator=generator)
