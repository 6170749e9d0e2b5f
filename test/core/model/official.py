# SPDX-License-Identifier: Apache-2.0
"""Outputs of the authors' code on small random weights, and those weights under our names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adamoe_ros.model.config import (
    ExpertConfig,
    ModelConfig,
    MoEConfig,
    PrefixConfig,
    VisionConfig,
)

FIXTURES = Path(__file__).parents[2] / "fixtures"
_PROJECTIONS = ("state_proj", "action_", "time_mlp_")
SLOTS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")


def load(name: str) -> dict[str, np.ndarray]:
    """Arrays of one fixture."""
    with np.load(FIXTURES / f"{name}.npz") as archive:
        return dict(archive)


def config(moe: MoEConfig) -> ModelConfig:
    """Sizes of both fixtures."""
    return ModelConfig(
        vision=VisionConfig(width=48, depth=3, heads=4, mlp=80),
        prefix=PrefixConfig(width=64, depth=4, mlp=128, heads=8, head_dim=16, vocab=64),
        expert=ExpertConfig(width=64, mlp=128),
        moe=moe, horizon=6, prompt_length=10,
    )  # fmt: skip


def inputs(data: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Arguments of ``encode_prefix``."""
    images = np.stack([data[f"image/{slot}"] for slot in SLOTS], 1)
    return {
        "images": torch.from_numpy(images).permute(0, 1, 4, 2, 3).float() / 255 * 2 - 1,
        "image_mask": torch.from_numpy(np.stack([data[f"mask/{slot}"] for slot in SLOTS], 1)),
        "token_ids": torch.from_numpy(data["token_ids"]).long(),
        "token_mask": torch.from_numpy(data["token_mask"]),
        "state": torch.from_numpy(data["state"]),
    }


def weights(data: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The official JAX names and shapes as our state dict."""
    w = {
        key.removeprefix("P/").removeprefix("PaliGemma/"): torch.from_numpy(value)
        for key, value in data.items()
        if key.startswith("P/")
    }
    out: dict[str, Tensor] = {}
    for name in (name.removesuffix("/kernel") for name in w if name.startswith(_PROJECTIONS)):
        if f"{name}/kernel" in w:
            _linear(out, name, w[f"{name}/kernel"], w[f"{name}/bias"])
    out["embed.weight"] = w["llm/embedder/input_embedding"]
    _vision(out, w)
    _gemma(out, w, "prefix", "")
    _gemma(out, w, "expert", "_1")
    return out


def _linear(out: dict[str, Tensor], name: str, kernel: Tensor, bias: Tensor) -> None:
    out[f"{name}.weight"], out[f"{name}.bias"] = kernel.T, bias


def _norm(
    out: dict[str, Tensor], name: str, w: dict[str, Tensor], theirs: str, layer: int | None = None
) -> None:
    """Plain, or (pi0.5's expert) modulated."""

    def values(leaf: str) -> Tensor:
        found = w[f"{theirs}/{leaf}"]
        return found if layer is None else found[layer]

    if f"{theirs}/scale" in w:
        out[f"{name}.weight"] = values("scale")
    else:
        _linear(out, f"{name}.modulation", values("Dense_0/kernel"), values("Dense_0/bias"))


def _vision(out: dict[str, Tensor], w: dict[str, Tensor]) -> None:
    out["vision.patch_embed.weight"] = w["img/embedding/kernel"].permute(3, 2, 0, 1)
    out["vision.patch_embed.bias"] = w["img/embedding/bias"]
    out["vision.pos_embed"] = w["img/pos_embedding"][0]
    out["vision.norm.weight"] = w["img/Transformer/encoder_norm/scale"]
    out["vision.norm.bias"] = w["img/Transformer/encoder_norm/bias"]
    _linear(out, "vision.head", w["img/head/kernel"], w["img/head/bias"])
    block = "img/Transformer/encoderblock"
    for i in range(len(w[f"{block}/LayerNorm_0/scale"])):
        ours = f"vision.blocks.{i}"
        for theirs, norm in (("LayerNorm_0", "norm1"), ("LayerNorm_1", "norm2")):
            out[f"{ours}.{norm}.weight"] = w[f"{block}/{theirs}/scale"][i]
            out[f"{ours}.{norm}.bias"] = w[f"{block}/{theirs}/bias"][i]
        attention = f"{block}/MultiHeadDotProductAttention_0"
        for theirs, name in (("query", "q"), ("key", "k"), ("value", "v")):
            kernel = w[f"{attention}/{theirs}/kernel"][i].flatten(1)
            bias = w[f"{attention}/{theirs}/bias"][i].flatten()
            _linear(out, f"{ours}.attn.{name}", kernel, bias)
        kernel = w[f"{attention}/out/kernel"][i].flatten(0, 1)
        _linear(out, f"{ours}.attn.out", kernel, w[f"{attention}/out/bias"][i])
        for theirs, name in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
            mlp = f"{block}/MlpBlock_0/{theirs}"
            _linear(out, f"{ours}.mlp.{name}", w[f"{mlp}/kernel"][i], w[f"{mlp}/bias"][i])


def _gemma(out: dict[str, Tensor], w: dict[str, Tensor], name: str, suffix: str) -> None:
    layers = "llm/layers"
    _norm(out, f"{name}.norm", w, f"llm/final_norm{suffix}")
    for i in range(len(w[f"{layers}/mlp{suffix}/linear"])):
        ours = f"{name}.layers.{i}"
        _norm(out, f"{ours}.attn_norm", w, f"{layers}/pre_attention_norm{suffix}", i)
        _norm(out, f"{ours}.ffn_norm", w, f"{layers}/pre_ffw_norm{suffix}", i)
        q = w[f"{layers}/attn/q_einsum{suffix}/w"][i]
        out[f"{ours}.attn.q.weight"] = q.permute(0, 2, 1).flatten(0, 1)
        kv = w[f"{layers}/attn/kv_einsum{suffix}/w"][i]
        out[f"{ours}.attn.k.weight"], out[f"{ours}.attn.v.weight"] = kv[0, 0].T, kv[1, 0].T
        o = w[f"{layers}/attn/attn_vec_einsum{suffix}/w"][i]
        out[f"{ours}.attn.o.weight"] = o.flatten(0, 1).T
        moe = f"{layers}/moe_ffn{suffix}"
        routed = f"{moe}/w_gating" in w
        ffn = f"{ours}.ffn.shared" if routed else f"{ours}.ffn"
        gate_up = w[f"{layers}/mlp{suffix}/gating_einsum"][i]
        out[f"{ffn}.gate.weight"], out[f"{ffn}.up.weight"] = gate_up[0].T, gate_up[1].T
        out[f"{ffn}.down.weight"] = w[f"{layers}/mlp{suffix}/linear"][i].T
        if routed:
            hidden = w[f"{moe}/w_expert_hidden"][i].mT
            out[f"{ours}.ffn.experts.gate"], out[f"{ours}.ffn.experts.up"] = hidden[0], hidden[1]
            out[f"{ours}.ffn.experts.down"] = w[f"{moe}/w_expert_output"][i].mT
            out[f"{ours}.ffn.router.weight"] = w[f"{moe}/w_gating"][i].T
            out[f"{ours}.ffn.scale_adapter.weight"] = w[f"{moe}/w_gating_scale"][i].T
