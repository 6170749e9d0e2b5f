# SPDX-License-Identifier: Apache-2.0
"""A dense checkpoint of ours in another code base's format, tensor by tensor."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adamoe_ros.contract.errors import Problems
from adamoe_ros.contract.files import new_folder
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.model.weights import is_finite, parameter_shapes
from adamoe_ros.policy.checkpoint import WEIGHTS, Checkpoint, read_checkpoint
from adamoe_ros.policy.checkpoint_formats import lerobot_export as lerobot_files
from adamoe_ros.policy.checkpoint_formats import transformers_pi0
from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import (
    Advance,
    Begin,
    not_finite,
    unwatched,
)
from adamoe_ros.policy.checkpoint_formats.importing import narrowed
from adamoe_ros.policy.checkpoint_formats.openpi_torch import (
    EMBED,
    EXPERT_HEAD,
    LM_HEAD,
    torch_rules,
)
from adamoe_ros.policy.checkpoint_formats.rules import (
    Rule,
    Sizes,
    assembled,
    expanded,
    wanted_shape,
)
from adamoe_ros.policy.checkpoint_formats.sources import SourceTensor, open_safetensors
from adamoe_ros.policy.tensor_file import TensorSpec, write_tensors

Files = Callable[[Checkpoint, torch.dtype], Mapping[str, bytes]]


def export_checkpoint(
    folder: Path,
    format: str,
    out: Path,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
    begin: Begin = unwatched,
) -> Path:
    """Convert.

    Args:
        format: ``lerobot``, ``openpi-torch`` or ``transformers``.
        dtype: of the weights; None: as they are stored.
        begin: gets the bytes that will be read; returns what gets those of each tensor.

    Raises:
        ContractError: everything that does not fit; nothing is written then.
    """
    checkpoint, problems = read_checkpoint(folder), Problems()
    check_dense(checkpoint.config, problems)
    tensors = open_safetensors(folder / WEIGHTS)
    wanted = parameter_shapes(checkpoint.config)
    # strangers first: their names show what is wrong with all of them
    for name in sorted(wanted.keys() ^ tensors.keys(), key=lambda name: (name in wanted, name)):
        expected, got = ("a tensor", "none") if name in wanted else ("no such tensor", "one")
        problems.add(f"{folder / WEIGHTS}: {name}", expected, got, "take a whole checkpoint")
    shapes = {name: tuple(tensors[name].shape) for name in wanted.keys() & tensors.keys()}
    for name in sorted(n for n in shapes if shapes[n] != tuple(wanted[n]))[:10]:
        expected = f"{tuple(wanted[name])} as in config.json"
        problems.add(f"{folder / WEIGHTS}: {name}", expected, shapes[name], "copy it again")
    if format == "lerobot":
        lerobot_files.check(checkpoint, problems)
    if format == "transformers" and checkpoint.config.pi05:
        do = "transformers has no pi0.5: use lerobot or openpi-torch"
        problems.add("config.json: architecture", "pi0", "pi05", do)
    problems.raise_if_any()
    stored = next(iter(tensors.values())).dtype
    files = _FILES[format](checkpoint, dtype or stored)
    with new_folder(out, overwrite) as beside:
        for name, content in files.items():
            (beside / name).write_bytes(content)
        rules, sizes = _table(format, checkpoint.config)
        advance = begin(sum(_read_bytes(rule, tensors) for rule in rules))
        specs = _specs(rules, sizes, tensors, dtype)
        write_tensors(beside / WEIGHTS, specs, _stream(rules, sizes, tensors, specs, advance))
    return out


def check_dense(config: ModelConfig, problems: Problems) -> None:
    """pi0 or pi0.5 as other code bases know it."""
    do = "only a dense pi0 or pi0.5 has a place in other code bases"
    if config.moe.variant != "dense":
        problems.add("config.moe.variant", "dense", config.moe.variant, do)
    if config.vision.stem != "patch" or config.aux_positions or config.action_patch != 1:
        problems.add("config", "pi0's image encoder and action tokens", "a small policy's", do)


def _table(format: str, config: ModelConfig) -> tuple[list[Rule], Sizes]:
    vision, prefix, expert = config.vision, config.prefix, config.expert
    sizes = {
        "patch": vision.patch, "tokens": vision.tokens, "vision": vision.width,
        "vision_layers": vision.depth, "vision_mlp": vision.mlp,
        "prefix": prefix.width, "layers": prefix.depth, "prefix_mlp": prefix.mlp,
        "queries": prefix.heads * prefix.head_dim, "keys": prefix.kv_heads * prefix.head_dim,
        "vocab": prefix.vocab, "expert": expert.width, "expert_mlp": expert.mlp,
        "state": config.state_dim, "action": config.action_dim,
    }  # fmt: skip
    rules = expanded(torch_rules(LM_HEAD, config.architecture), sizes)
    rules.append(Rule(EXPERT_HEAD, ("vocab", "expert"), ()))
    if format == "lerobot":  # its files hold both
        rules += [rule for rule in torch_rules(EMBED) if rule.source == EMBED]
        rules = [Rule(f"model.{rule.source}", rule.shape, rule.parts) for rule in rules]
    return rules, sizes


def _specs(
    rules: list[Rule],
    sizes: Sizes,
    tensors: Mapping[str, SourceTensor],
    dtype: torch.dtype | None,
) -> dict[str, TensorSpec]:
    specs = {}
    for rule in rules:
        shape = tuple(size or 0 for size in wanted_shape(rule, sizes))
        ours = tensors[rule.parts[0].target if rule.parts else "embed.weight"]
        specs[rule.source] = TensorSpec(shape, dtype or ours.dtype)
    return specs


def _stream(
    rules: list[Rule],
    sizes: Sizes,
    tensors: Mapping[str, SourceTensor],
    specs: Mapping[str, TensorSpec],
    advance: Advance,
) -> Iterator[tuple[str, Tensor]]:
    """Foreign tensors in order.

    Raises:
        ContractError: at the end, every tensor that is not finite.
    """
    problems = Problems()
    for rule in rules:
        spec = specs[rule.source]
        if not rule.parts:  # never read by pi0, but other code wants it to be there
            if not problems.lines:
                yield rule.source, torch.zeros(spec.shape, dtype=spec.dtype)
            continue
        ours = {part.target: tensors[part.target].read() for part in rule.parts}
        kept = next(iter(ours.values())).dtype
        values = narrowed(assembled(rule, ours, sizes, kept), spec.dtype)
        if not is_finite(values):
            not_finite(rule.parts[0].target, problems)
        if not problems.lines:
            yield rule.source, values
        advance(_read_bytes(rule, tensors))
    problems.raise_if_any()


def _read_bytes(rule: Rule, tensors: Mapping[str, SourceTensor]) -> int:
    return sum(tensors[name].nbytes for name in {part.target for part in rule.parts})


def _json(tree: Mapping[str, Any]) -> bytes:
    return (json.dumps(tree, indent=2) + "\n").encode()


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _for_transformers(checkpoint: Checkpoint, dtype: torch.dtype) -> dict[str, bytes]:
    settings = transformers_pi0.settings_of(checkpoint.config)
    return {
        "config.json": _json({**settings, "dtype": _dtype_name(dtype)}),
        **_tokenizer(checkpoint),
    }


def _for_openpi(checkpoint: Checkpoint, dtype: torch.dtype) -> dict[str, bytes]:
    config = checkpoint.config
    settings = {
        "action_dim": config.action_dim,
        "action_horizon": config.horizon,
        "paligemma_variant": lerobot_files.variant(config.prefix.width),
        "action_expert_variant": lerobot_files.variant(config.expert.width),
        "precision": _dtype_name(dtype),
    }
    return {"config.json": _json(settings), **_tokenizer(checkpoint)}


def _for_lerobot(checkpoint: Checkpoint, dtype: torch.dtype) -> dict[str, bytes]:
    files = lerobot_files.files(checkpoint, _dtype_name(dtype))
    return {**files, **_tokenizer(checkpoint)}


def _tokenizer(checkpoint: Checkpoint) -> dict[str, bytes]:
    name = checkpoint.manifest.tokenizer
    return {} if name is None else {name: (checkpoint.folder / name).read_bytes()}


_FILES: dict[str, Files] = {
    "lerobot": _for_lerobot,
    "openpi-torch": _for_openpi,
    "transformers": _for_transformers,
}
EXPORTS = tuple(_FILES)
