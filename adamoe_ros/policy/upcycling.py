# SPDX-License-Identifier: Apache-2.0
"""A dense checkpoint becomes an AdaMoE folder, layer by layer, or a wider dense one.

The wider one computes the same at first: what a mixture has to be compared with is a dense network of
as many active parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.model.config import ModelConfig, MoEConfig
from adamoe_ros.model.dense_to_moe import UpcycleSettings, check_upcycle, upcycle_layer
from adamoe_ros.model.weights import is_finite, parameter_shapes
from adamoe_ros.policy.checkpoint import STATISTICS, WEIGHTS, read_checkpoint, write_checkpoint
from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import (
    Advance,
    Begin,
    not_finite,
    unwatched,
)
from adamoe_ros.policy.checkpoint_formats.sources import SourceTensor, open_safetensors
from adamoe_ros.policy.normalise import load_norm_stats
from adamoe_ros.policy.tensor_file import TensorSpec, specs_of

_PARTS = ("gate", "up", "down")
_LAYER = re.compile(r"expert\.layers\.(\d+)\.ffn\.(.+)")


@dataclass(frozen=True)
class ParameterCount:
    """Sizes of a mixture.

    Attributes:
        total, active: parameters; active ones take part in one token's computation.
        stored_bytes: of the weights file.
    """

    total: int
    active: int
    stored_bytes: int


def count_parameters(config: ModelConfig, dtype: torch.dtype) -> ParameterCount:
    """Parameters and memory of a network."""
    sizes = {n: torch.Size(shape).numel() for n, shape in parameter_shapes(config).items()}
    total = sum(sizes.values())
    routed = sum(size for name, size in sizes.items() if ".experts." in name)
    moe = config.moe
    idle = routed * (moe.num_experts - moe.top_k) // moe.num_experts if routed else 0
    return ParameterCount(total, total - idle, total * dtype.itemsize)


def upcycle_checkpoint(
    folder: Path,
    out: Path,
    moe: MoEConfig,
    settings: UpcycleSettings,
    seed: int,
    overwrite: bool = False,
    begin: Begin = unwatched,
) -> ParameterCount:
    """Convert; statistics, tokenizer and manifest are taken over.

    Args:
        seed: of routers, adapters and noise.

    Raises:
        ContractError: everything that does not fit; nothing is written then.
    """
    check_upcycle(moe, settings)
    checkpoint, problems = read_checkpoint(folder), Problems()
    if checkpoint.config.moe.variant != "dense":
        got = checkpoint.config.moe.variant
        problems.add(str(folder), "a dense checkpoint", got, "it has experts already")
    tensors = open_safetensors(folder / WEIGHTS)
    wanted = parameter_shapes(checkpoint.config)
    # strangers first: their names show what is wrong with all of them
    for name in sorted(wanted.keys() | tensors.keys(), key=lambda name: (name in wanted, name)):
        shape = tensors[name].shape if name in tensors else None
        if shape != wanted.get(name):
            expected = str(wanted.get(name, "no such tensor"))
            problems.add(f"{folder / WEIGHTS}: {name}", expected, shape, "take a whole checkpoint")
    problems.raise_if_any()
    config = replace(checkpoint.config, moe=moe)
    specs = _specs(config, tensors)
    advance = begin(sum(tensor.nbytes for tensor in tensors.values()))
    values = _stream(config, tensors, specs, settings, seed, advance)
    manifest = checkpoint.manifest
    notes = f"{manifest.provenance.notes} upcycled with seed {seed}, {settings}".strip()
    provenance = manifest.provenance.model_copy(update={"notes": notes})
    manifest = manifest.model_copy(update={"provenance": provenance})
    kept = folder / STATISTICS
    statistics = load_norm_stats(kept) if kept.is_file() else None
    file = manifest.tokenizer
    files = {} if file is None else {file: (folder / file).read_bytes()}
    write_checkpoint(out, config, manifest, statistics, specs, values, files, overwrite)
    stored = next(iter(tensors.values())).dtype
    return count_parameters(config, stored)


def _specs(config: ModelConfig, tensors: Mapping[str, SourceTensor]) -> dict[str, TensorSpec]:
    """Ours in order; a mixture's tensors have the dtype of the layer that they come from."""
    specs = {}
    for name, shape in parameter_shapes(config).items():
        match = _LAYER.fullmatch(name)
        dense = name if match is None else f"expert.layers.{match[1]}.ffn.gate.weight"
        specs[name] = TensorSpec(shape, tensors[dense].dtype)
    return specs


def _stream(
    config: ModelConfig,
    tensors: Mapping[str, SourceTensor],
    specs: Mapping[str, TensorSpec],
    settings: UpcycleSettings,
    seed: int,
    advance: Advance,
) -> Iterator[tuple[str, Tensor]]:
    """Tensors in the order of ``specs``; a layer's experts are made when the first is due.

    Raises:
        ContractError: at the end, every tensor that is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    problems, layer = Problems(), ""
    made: dict[str, Tensor] = {}

    def read(name: str) -> Tensor:
        values = tensors[name].read()
        if not is_finite(values):
            not_finite(name, problems)
        advance(tensors[name].nbytes)
        return values

    for name in specs:
        match = _LAYER.fullmatch(name)
        if match is None:
            values = read(name)
        else:
            if match[1] != layer:
                layer = str(match[1])
                start = f"expert.layers.{layer}.ffn"
                ffn = {part: read(f"{start}.{part}.weight") for part in _PARTS}
                made = upcycle_layer(ffn, config.moe, settings, generator)
            values = made.pop(match[2])
        if not problems.lines:
            yield name, values
    problems.raise_if_any()


_FFN = re.compile(r"expert\.layers\.\d+\.ffn\.(gate|up|down)\.weight")


def widen_checkpoint(folder: Path, out: Path, factor: int, noise: float, seed: int) -> Path:
    """Write a checkpoint whose action expert's feed-forward layers are ``factor`` times as wide.

    New hidden units start as noisy copies of the old ones with an output of 0: the first chunk is the
    old network's, and no unit is bound to its original.

    Args:
        noise: of the copies, relative to each matrix's root mean square.
        seed: of the noise.

    Raises:
        ContractError: the checkpoint has experts, or no statistics or tokenizer.
    """
    checkpoint = read_checkpoint(folder)
    if checkpoint.config.moe.variant != "dense":
        got = checkpoint.config.moe.variant
        raise ContractError(problem(str(folder), "a dense checkpoint", got, "take the dense one"))
    network = checkpoint.load_network("cpu", None)
    tensors = widened(network.state_dict(), factor, noise, torch.Generator().manual_seed(seed))
    expert = replace(checkpoint.config.expert, mlp=checkpoint.config.expert.mlp * factor)
    name = checkpoint.manifest.tokenizer
    notes = f"{checkpoint.manifest.provenance.notes} widened {factor} times".strip()
    provenance = checkpoint.manifest.provenance.model_copy(update={"notes": notes})
    return write_checkpoint(
        out,
        replace(checkpoint.config, expert=expert),
        checkpoint.manifest.model_copy(update={"provenance": provenance}),
        checkpoint.statistics,
        specs_of(tensors),
        tensors.items(),
        files={} if name is None else {name: (folder / name).read_bytes()},
        overwrite=True,
    )


def widened(
    tensors: Mapping[str, Tensor], factor: int, noise: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """The state dict with wide feed-forward layers; everything else as it was.

    Raises:
        ValueError: factor below 1.
    """
    if factor < 1:
        raise ValueError(f"factor {factor}")
    out = {}
    for name, values in tensors.items():
        match = _FFN.fullmatch(name)
        out[name] = values if match is None else _wide(values, match[1], factor, noise, generator)
    return out


def _wide(
    values: Tensor, part: str, factor: int, noise: float, generator: torch.Generator
) -> Tensor:
    """gate and up (F, D) -> (factor F, D); down (D, F) -> (D, factor F)."""
    if part == "down":
        return torch.cat([values, values.new_zeros(len(values), (factor - 1) * values.shape[1])], 1)
    size = noise * values.float().square().mean().sqrt()
    parts = [values]
    for _ in range(factor - 1):
        drawn = torch.randn(values.shape, generator=generator) * size
        parts.append((values.float() + drawn).to(values.dtype))
    return torch.cat(parts)
