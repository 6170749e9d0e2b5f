# SPDX-License-Identifier: Apache-2.0
"""Random batches and the comparison of engines with the eager one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import samples
import torch

from adamoe_ros.model.conditioning import FREE, SamplingOptions
from adamoe_ros.model.config import ModelConfig, small, small_pi05, tiny
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.engines.eager import EagerEngine, Engine
from adamoe_ros.policy.processing import ModelInputs

BATCHES = {
    "all cameras": ([[1, 1, 1]], [5]),
    "one absent, empty prompt": ([[1, 0, 1]], [0]),
    "two absent, full prompt": ([[1, 0, 0]], [10]),
    "different masks": ([[1, 1, 1], [1, 0, 0], [1, 0, 1]], [3, 10, 0]),
    "different prompts": ([[1, 1, 1], [1, 1, 1]], [10, 4]),
    "same number, other cameras": ([[1, 1, 0], [1, 0, 1]], [4, 4]),
}
_DENSE = {"moe.variant": "dense", "moe.num_experts": 0, "moe.top_k": 0}
_PI05 = {"architecture": "pi05"}
CONFIGS: dict[str, Callable[[], ModelConfig]] = {
    "dense": lambda: tiny().changed(_DENSE),
    "k=1": tiny,
    "k=2": lambda: tiny().changed({"moe.top_k": 2}),
    "k=E": lambda: tiny().changed({"moe.top_k": 4}),
    "csmoe k=2": lambda: tiny().changed({"moe.variant": "csmoe", "moe.top_k": 2}),
    "vanilla": lambda: tiny().changed({"moe.variant": "vanilla"}),
    "small": lambda: small().changed({"flow_steps": 4}),
    "pi0.5": lambda: tiny().changed(_DENSE | _PI05),
    "pi0.5 k=2": lambda: tiny().changed({"moe.top_k": 2} | _PI05),
    "pi0.5 small": lambda: small_pi05().changed({"flow_steps": 4}),
}


def inputs(
    config: ModelConfig, cameras: list[list[int]], prompts: list[int], seed: int = 0
) -> ModelInputs:
    """Pictures of the model's own size, so that resizing plays no part."""
    draw, size = np.random.default_rng(seed), (*config.vision.image_size, 3)
    length, batch = config.prompt_length, len(cameras)
    return ModelInputs(
        frames=tuple(
            tuple(draw.integers(0, 256, size, dtype=np.uint8) if c else None for c in row)
            for row in cameras
        ),
        token_ids=draw.integers(1, config.prefix.vocab, (batch, length)),
        token_mask=np.arange(length) < np.array(prompts)[:, None],
        state=draw.standard_normal((batch, config.state_dim)).astype(np.float32),
    )


def stacked(parts: list[ModelInputs]) -> ModelInputs:
    """Several batches as one."""
    return ModelInputs(
        tuple(row for part in parts for row in part.frames),
        np.concatenate([part.token_ids for part in parts]),
        np.concatenate([part.token_mask for part in parts]),
        np.concatenate([part.state for part in parts]),
    )


def network(config: ModelConfig, dtype: torch.dtype = torch.float32) -> AdaMoEPolicy:
    """Random weights."""
    model = samples.policy(config)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def pair(
    config: ModelConfig,
    make: Callable[[AdaMoEPolicy], Engine],
    dtype: torch.dtype = torch.float32,
) -> tuple[EagerEngine, Engine]:
    """The definition and another engine with the same weights."""
    model = network(config, dtype)
    return EagerEngine(model), make(copy.deepcopy(model))


def compare(
    eager: EagerEngine, engine: Engine, given: ModelInputs, options: SamplingOptions = FREE
) -> float:
    """Largest difference of a whole sample relative to its largest action; choices must agree."""
    noise = samples.chunk(eager.config, len(given))
    trace = eager.config.moe.variant != "dense"
    options = replace(options, trace=trace)
    wanted = eager.sample(given, noise, options).sample
    found = engine.sample(given, noise, options).sample
    if trace:
        assert torch.equal(wanted.selected(), found.selected())
        for ours, theirs in zip(found.routing[-1], wanted.routing[-1], strict=True):
            torch.testing.assert_close(ours.scales, theirs.scales, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(ours.probabilities, theirs.probabilities)
    assert (wanted.objects is None) == (found.objects is None)
    if wanted.objects is not None:
        torch.testing.assert_close(found.objects, wanted.objects)
    return relative(found.actions, wanted.actions)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference over the largest wanted value."""
    gap = (found.float() - wanted.float()).abs().max() / wanted.float().abs().max()
    return float(gap)
