# SPDX-License-Identifier: Apache-2.0
"""transformers' native PI0 with our weights, and a plain AdaMoE layer written for reading.

What it computes shares no code with the package: experts are looped over token by token. Names and
settings are the converter's, which a wrong one would show in the figures.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from transformers import PI0Config, PI0ForConditionalGeneration

from adamoe_ros.model.config import ModelConfig, MoEConfig
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.checkpoint_formats.openpi_torch import canonical_names, pi0_names
from adamoe_ros.policy.checkpoint_formats.transformers_pi0 import settings_of


class PlainMoE(nn.Module):
    """AdaMoE feed-forward layer, one token at a time."""

    def __init__(self, weights: dict[str, Tensor], moe: MoEConfig) -> None:
        super().__init__()
        self.moe = moe
        names = {name: nn.Parameter(value.clone()) for name, value in weights.items()}
        self.w = nn.ParameterDict({name.replace(".", "|"): p for name, p in names.items()})

    def _ffn(self, x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        return down @ (nn.functional.gelu(gate @ x, approximate="tanh") * (up @ x))

    def _token(self, x: Tensor) -> Tensor:
        w = {name.replace("|", "."): value for name, value in self.w.items()}
        p = (w["router.weight"] @ x).softmax(0)
        if self.moe.variant == "adamoe":
            scale = p + w["scale_adapter.weight"] @ x
        elif self.moe.variant == "csmoe":
            scale = (w["scale_adapter.weight"] @ torch.cat([x, p])).softmax(0)
        else:
            scale = p
        routed = torch.zeros_like(x)
        for e in p.topk(self.moe.top_k).indices.tolist():
            expert = (w[f"experts.{part}"][e] for part in ("gate", "up", "down"))
            routed = routed + scale[e] * self._ffn(x, *expert)
        shared = self._ffn(x, *(w[f"shared.{part}.weight"] for part in ("gate", "up", "down")))
        return 0.5 * shared + 0.5 * routed

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self._token(row) for row in x.flatten(0, 1)]).view_as(x)


def build(model: AdaMoEPolicy) -> PI0ForConditionalGeneration:
    """The oracle with the weights of ``model``; its parameters are copies."""
    config = model.config
    oracle = PI0ForConditionalGeneration._from_config(
        PI0Config(**settings_of(config)), attn_implementation="eager"
    )
    ours = model.state_dict()
    if config.moe.variant != "dense":
        for i, layer in enumerate(oracle.model.dit.layers):
            start = f"expert.layers.{i}.ffn."
            layer.mlp = PlainMoE(
                {k.removeprefix(start): v for k, v in ours.items() if k.startswith(start)},
                config.moe,
            )
    with torch.no_grad():
        for theirs, parameter in oracle.named_parameters():
            name = our_name(theirs, config)
            if name is not None:
                parameter.copy_(ours[name].reshape(parameter.shape))
    return oracle.eval()


def our_name(theirs: str, config: ModelConfig) -> str | None:
    """Our parameter of the same meaning; None for the expert's unused token embedding."""
    mixture = re.fullmatch(r"model\.dit\.layers\.(\d+)\.mlp\.w\.(.+)", theirs)
    if mixture:
        return f"expert.layers.{mixture[1]}.ffn.{mixture[2].replace('|', '.')}"
    return pi0_names(config).get(canonical_names([theirs])[theirs])


def arguments(model: AdaMoEPolicy, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our inputs as PI0's: image ids of the present cameras, then the prompt, right-padded."""
    config, rows = model.config, []
    for cameras, ids, valid in zip(
        inputs["image_mask"], inputs["token_ids"], inputs["token_mask"], strict=True
    ):
        images = torch.full((config.vision.tokens * int(cameras.sum()),), config.prefix.vocab)
        rows.append(torch.cat([images, ids[valid]]))
    longest = max(map(len, rows))
    return {
        "state": inputs["state"],
        "pixel_values": inputs["images"],
        "pixel_attention_mask": inputs["image_mask"],
        "input_ids": torch.stack([nn.functional.pad(r, (0, longest - len(r))) for r in rows]),
        "attention_mask": torch.stack([torch.arange(longest) < len(r) for r in rows]).long(),
    }
