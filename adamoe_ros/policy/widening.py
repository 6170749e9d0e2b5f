# SPDX-License-Identifier: Apache-2.0
"""A dense checkpoint with wider feed-forward layers in its action expert, computing the same.

What a mixture has to be compared with: a dense network of as many active parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.policy.checkpoint import read_checkpoint, write_checkpoint
from adamoe_ros.policy.tensor_writer import specs_of

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
