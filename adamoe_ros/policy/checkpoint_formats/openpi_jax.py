# SPDX-License-Identifier: Apache-2.0
"""openpi's JAX checkpoints, dense and with AdaMoE's experts: an Orbax folder with ``assets``, or an ``.npz``.

Layers are stacked on the first axis; a suffix ``_1`` marks the action expert. The number of chosen
experts is in no tensor; the variant shows in the scale adapter's shape.
"""

from __future__ import annotations

from pathlib import Path

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.config import Architecture, Variant
from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import (
    ForeignCheckpoint,
    architecture_of,
)
from adamoe_ros.policy.checkpoint_formats.metadata import CheckpointMetadata
from adamoe_ros.policy.checkpoint_formats.metadata_files import (
    read_assets,
    read_tokenizer,
    set_openpi,
)
from adamoe_ros.policy.checkpoint_formats.orbax_source import is_orbax, open_orbax
from adamoe_ros.policy.checkpoint_formats.rules import Part, Rule, single, stacked, vote
from adamoe_ros.policy.checkpoint_formats.sources import TensorSource, open_npz

_BLOCK = "PaliGemma/img/Transformer/encoderblock"
_LLM = "PaliGemma/llm"


def _linear(source: str, target: str, inner: str | int, outer: str | int) -> list[Rule]:
    return [
        single(f"{source}/kernel", f"{target}.weight", inner, outer, axes=(1, 0)),
        single(f"{source}/bias", f"{target}.bias", outer),
    ]


def _vision() -> list[Rule]:
    image, ours = "PaliGemma/img", "vision.blocks.{i}"
    rules = [
        single(
            f"{image}/embedding/kernel", "vision.patch_embed.weight",
            "patch", "patch", 3, "vision", axes=(3, 2, 0, 1),
        ),
        single(f"{image}/embedding/bias", "vision.patch_embed.bias", "vision"),
        single(f"{image}/pos_embedding", "vision.pos_embed", 1, "tokens", "vision"),
        single(f"{image}/Transformer/encoder_norm/scale", "vision.norm.weight", "vision"),
        single(f"{image}/Transformer/encoder_norm/bias", "vision.norm.bias", "vision"),
        *_linear(f"{image}/head", "vision.head", "vision", "prefix"),
    ]  # fmt: skip

    def layered(source: str, shape: tuple[str, ...], part: Part) -> None:
        rules.append(stacked("vision_layers", f"{_BLOCK}/{source}", shape, part))

    for theirs, norm in (("LayerNorm_0", "norm1"), ("LayerNorm_1", "norm2")):
        layered(f"{theirs}/scale", ("vision",), Part(f"{ours}.{norm}.weight"))
        layered(f"{theirs}/bias", ("vision",), Part(f"{ours}.{norm}.bias"))
    attention, heads = "MultiHeadDotProductAttention_0", ("vision_heads", "vision_head")
    for theirs, name in (("query", "q"), ("key", "k"), ("value", "v")):
        weight, bias = Part(f"{ours}.attn.{name}.weight", (1, 2, 0)), f"{ours}.attn.{name}.bias"
        layered(f"{attention}/{theirs}/kernel", ("vision", *heads), weight)
        layered(f"{attention}/{theirs}/bias", heads, Part(bias))
    weight = Part(f"{ours}.attn.out.weight", (2, 0, 1))
    layered(f"{attention}/out/kernel", (*heads, "vision"), weight)
    layered(f"{attention}/out/bias", ("vision",), Part(f"{ours}.attn.out.bias"))
    widths = ("vision", "vision_mlp", "vision")
    for number, name in enumerate(("fc1", "fc2")):
        inner, outer = widths[number : number + 2]
        weight = Part(f"{ours}.mlp.{name}.weight", (1, 0))
        layered(f"MlpBlock_0/Dense_{number}/kernel", (inner, outer), weight)
        layered(f"MlpBlock_0/Dense_{number}/bias", (outer,), Part(f"{ours}.mlp.{name}.bias"))
    return rules


def _gemma(width: str, mlp: str, suffix: str, ffn: str, adaptive: bool = False) -> list[Rule]:
    """One expert; ``ffn`` is our name of its dense feed-forward layer; ``adaptive``: its norms."""
    ours, layers = f"{width}.layers.{{i}}", f"{_LLM}/layers"

    def layered(source: str, shape: tuple[str | int, ...], *parts: Part) -> Rule:
        return stacked("layers", f"{layers}/{source}", shape, *parts)

    return [
        layered(
            f"attn/q_einsum{suffix}/w", ("heads", width, "head"),
            Part(f"{ours}.attn.q.weight", (0, 2, 1)),
        ),
        layered(
            f"attn/kv_einsum{suffix}/w", (2, "kv_heads", width, "head"),
            Part(f"{ours}.attn.k.weight", (0, 2, 1), (0,)),
            Part(f"{ours}.attn.v.weight", (0, 2, 1), (1,)),
        ),
        layered(
            f"attn/attn_vec_einsum{suffix}/w", ("heads", "head", width),
            Part(f"{ours}.attn.o.weight", (2, 0, 1)),
        ),
        layered(
            f"mlp{suffix}/gating_einsum", (2, width, mlp),
            Part(f"{ours}.{ffn}.gate.weight", (1, 0), (0,)),
            Part(f"{ours}.{ffn}.up.weight", (1, 0), (1,)),
        ),
        layered(
            f"mlp{suffix}/linear", (mlp, width), Part(f"{ours}.{ffn}.down.weight", (1, 0))
        ),
        *(_adaptive_norms if adaptive else _norms)(width, suffix),
    ]  # fmt: skip


_NORMS = (("pre_attention_norm", "attn_norm"), ("pre_ffw_norm", "ffn_norm"))


def _norms(width: str, suffix: str) -> list[Rule]:
    ours, layers = f"{width}.layers.{{i}}", f"{_LLM}/layers"
    return [
        *(
            stacked(
                "layers", f"{layers}/{name}{suffix}/scale", (width,), Part(f"{ours}.{our}.weight")
            )
            for name, our in _NORMS
        ),
        single(f"{_LLM}/final_norm{suffix}/scale", f"{width}.norm.weight", width),
    ]


def _adaptive_norms(width: str, suffix: str) -> list[Rule]:
    """adaRMS: a Dense for scale, shift and gate in the place of each norm's scale."""
    ours, layers, outer = f"{width}.layers.{{i}}", f"{_LLM}/layers", f"3*{width}"
    rules = _linear(f"{_LLM}/final_norm{suffix}/Dense_0", f"{width}.norm.modulation", width, outer)
    for name, our in _NORMS:
        dense, modulation = f"{layers}/{name}{suffix}/Dense_0", f"{ours}.{our}.modulation"
        kernel, bias = Part(f"{modulation}.weight", (1, 0)), Part(f"{modulation}.bias")
        rules.append(stacked("layers", f"{dense}/kernel", (width, outer), kernel))
        rules.append(stacked("layers", f"{dense}/bias", (outer,), bias))
    return rules


def _projections(architecture: Architecture) -> list[Rule]:
    if architecture == "pi05":
        time = [
            *_linear("time_mlp_in", "time_mlp_in", "expert", "expert"),
            *_linear("time_mlp_out", "time_mlp_out", "expert", "expert"),
        ]
    else:
        time = [
            *_linear("state_proj", "state_proj", "state", "expert"),
            *_linear("action_time_mlp_in", "action_time_mlp_in", "2*expert", "expert"),
            *_linear("action_time_mlp_out", "action_time_mlp_out", "expert", "expert"),
        ]
    return [
        *_linear("action_in_proj", "action_in_proj", "action", "expert"),
        *time,
        *_linear("action_out_proj", "action_out_proj", "expert", "action"),
    ]


def dense_rules(architecture: Architecture = "pi0", ffn: str = "ffn") -> list[Rule]:
    """openpi's pi0 or pi0.5."""
    return [
        *_vision(),
        single(f"{_LLM}/embedder/input_embedding", "embed.weight", "vocab", "prefix"),
        *_gemma("prefix", "prefix_mlp", "", "ffn"),
        *_gemma("expert", "expert_mlp", "_1", ffn, architecture == "pi05"),
        *_projections(architecture),
    ]


MOE = f"{_LLM}/layers/moe_ffn_1"
SCALE = f"{MOE}/w_gating_scale"


def adamoe_rules(adapter: bool, architecture: Architecture = "pi0") -> list[Rule]:
    """AdaMoE's official code; ``mlp_1`` is the shared expert. pi0.5's mixture has the same leaves.

    Args:
        adapter: whether there is a scale adapter (vanilla has none); ``seen`` is the width it sees.
    """
    ours = "expert.layers.{i}.ffn"
    rules = [
        *dense_rules(architecture, "ffn.shared"),
        stacked(
            "layers", f"{MOE}/w_gating", ("expert", "experts"),
            Part(f"{ours}.router.weight", (1, 0)),
        ),
        stacked(
            "layers", f"{MOE}/w_expert_hidden", (2, "experts", "expert", "expert_mlp"),
            Part(f"{ours}.experts.gate", (0, 2, 1), (0,)),
            Part(f"{ours}.experts.up", (0, 2, 1), (1,)),
        ),
        stacked(
            "layers", f"{MOE}/w_expert_output", ("experts", "expert_mlp", "expert"),
            Part(f"{ours}.experts.down", (0, 2, 1)),
        ),
    ]  # fmt: skip
    if adapter:
        weight = Part(f"{ours}.scale_adapter.weight", (1, 0))
        rules.append(stacked("layers", SCALE, ("seen", "experts"), weight))
    return rules


_LANDMARK = "PaliGemma/"


def open_pi0(source: Path, asset: str | None) -> ForeignCheckpoint:
    """Open a dense pi0 or pi0.5.

    Raises:
        ContractError: missing or damaged files.
    """
    tensors, metadata, architecture = open_jax(source, asset)
    rules = dense_rules(architecture)
    sizes = vote(rules, {name: tensor.shape for name, tensor in tensors.items()})
    return ForeignCheckpoint(
        str(source), tensors, rules, sizes, frozenset(), "dense", metadata, {},
        architecture=architecture,
    )  # fmt: skip


def open_jax(
    source: Path, asset: str | None
) -> tuple[TensorSource, CheckpointMetadata, Architecture]:
    """Leaves by openpi's names, what lies beside them, and which network they are.

    Args:
        source: checkpoint folder, its ``params`` folder, or an ``.npz``.
    """
    metadata = CheckpointMetadata()
    if source.suffix == ".npz":
        folder, tensors = source.parent, open_npz(source)
    else:
        params = next((path for path in (source, source / "params") if is_orbax(path)), None)
        if params is None:
            got = "another folder" if source.is_dir() else "no such folder"
            do = "name the folder with 'params' and 'assets' in it"
            raise ContractError(problem(str(source), "an Orbax folder or an .npz", got, do))
        folder = source if params != source else source.parent
        tensors = open_orbax(params)
    leaves = _rooted(tensors)
    architecture = architecture_of(str(source), leaves)
    set_openpi(metadata, architecture)
    read_assets(metadata, folder, asset)
    read_tokenizer(metadata, folder)
    return leaves, metadata, architecture


def _rooted(tensors: TensorSource) -> TensorSource:
    """Without what stands in front of every name, such as ``params/``."""
    starts = {name.partition(_LANDMARK)[0] for name in tensors if _LANDMARK in name}
    start = starts.pop() if len(starts) == 1 else ""
    if all(name.startswith(start) for name in tensors):
        return {name[len(start) :]: tensor for name, tensor in tensors.items()}
    return tensors


def open_adamoe(source: Path, asset: str | None) -> ForeignCheckpoint:
    """Open an AdaMoE checkpoint.

    Raises:
        ContractError: missing or damaged files.
    """
    tensors, metadata, architecture = open_jax(source, asset)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    adapter = SCALE in shapes
    rules = adamoe_rules(adapter, architecture)
    sizes = vote(rules, shapes)
    variant: Variant = "vanilla"
    if adapter:
        wide = sizes.get("expert", 0) + sizes.get("experts", 0)
        variant = "csmoe" if sizes.get("seen") == wide else "adamoe"
        sizes["seen"] = wide if variant == "csmoe" else sizes.get("expert", 0)
    return ForeignCheckpoint(
        str(source), tensors, rules, sizes, frozenset(), variant, metadata, {},
        architecture=architecture,
    )  # fmt: skip
