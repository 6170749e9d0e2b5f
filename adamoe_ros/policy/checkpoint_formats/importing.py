# SPDX-License-Identifier: Apache-2.0
"""A foreign checkpoint becomes a folder of ours, tensor group by tensor group.

Everything is checked before the first byte is written, but for the numbers themselves: those are
checked while they are copied, and a folder appears only if all of them are sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, Problems
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.model.config import ModelConfig, RouterDtype
from adamoe_ros.model.weights import is_finite, parameter_shapes
from adamoe_ros.policy.checkpoint import state_token_problem, write_checkpoint
from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import (
    Advance,
    Begin,
    ForeignCheckpoint,
    model_config,
    not_finite,
    unwatched,
)
from adamoe_ros.policy.checkpoint_formats.metadata import (
    CheckpointMetadata,
    Entry,
    fitted_statistics,
    make_manifest,
)
from adamoe_ros.policy.checkpoint_formats.rules import Rule, pieces, targets
from adamoe_ros.policy.checkpoint_formats.sources import SourceTensor
from adamoe_ros.policy.normalise import Normalization, NormStats, load_norm_stats
from adamoe_ros.policy.prompt import load_tokenizer
from adamoe_ros.policy.tensor_file import TensorSpec

_BLOCK = 1 << 22  # values


@dataclass(frozen=True)
class ImportSettings:
    """What the user decides about an import.

    Attributes:
        metadata: options of the command line; they go over what the source tells.
        statistics: a ``norm_stats.json``, or None: the source's.
        dtype: of the weights; None: as they are stored.
        router_dtype, shared_weight: see ``MoEConfig``.
        raw_only: mark it so even if everything is known.
        allow_constant: dimensions without spread are divided by the epsilon alone, as openpi does.
        overwrite: replace the target folder.
    """

    metadata: dict[str, Entry] = field(default_factory=dict)
    statistics: Path | None = None
    dtype: torch.dtype | None = None
    router_dtype: RouterDtype = "float32"
    shared_weight: float = 0.5
    raw_only: bool = False
    allow_constant: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        metadata: with the origin of each.
    """

    folder: Path
    config: ModelConfig
    manifest: CheckpointManifest
    metadata: CheckpointMetadata


def import_checkpoint(
    foreign: ForeignCheckpoint,
    format: str,
    out: Path,
    settings: ImportSettings,
    begin: Begin = unwatched,
) -> Imported:
    """Convert.

    Args:
        format: its name, for the provenance.
        begin: gets the bytes that will be read; returns what gets those of each group.

    Raises:
        ContractError: everything that does not fit; nothing is written then.
    """
    tensor_problems, problems = Problems(), Problems()
    foreign.check(tensor_problems)
    metadata = foreign.metadata
    if foreign.architecture == "pi0":
        metadata.set("pi0 has a token for it", prompt_state="none")
    metadata.known.update(settings.metadata)
    if foreign.architecture == "pi0" and metadata["prompt_state"] != "none":
        problems.extend([state_token_problem("prompt_state", metadata["prompt_state"])])
    statistics = _statistics(foreign, settings, problems)
    needed = ("horizon", "camera_slots", "prompt_length", "flow_steps")
    required = Problems()
    metadata.require(needed + (("top_k",) if foreign.variant != "dense" else ()), required)
    problems.extend(required.lines)
    if out.exists() and not settings.overwrite:
        problems.add(str(out), "a new folder", "one that exists", "choose another or --overwrite")
    config = None
    if not tensor_problems.lines and not required.lines:
        config = model_config(foreign, settings.router_dtype, settings.shared_weight, problems)
    files = _tokenizer(metadata, foreign.sizes.get("vocab"), problems)
    source = f"{format} {Path(foreign.where).name}"
    manifest = make_manifest(
        metadata,
        source,
        settings.raw_only,
        problems,
        foreign.architecture,
        settings.allow_constant,
    )
    if config is not None:
        _check_joints(config, metadata, problems)
    if tensor_problems.lines:
        total = sum(tensor.nbytes for tensor in foreign.tensors.values())
        foreign.check_values(tensor_problems, begin(total))
    problems.extend(tensor_problems.lines)
    problems.raise_if_any()
    assert config is not None and manifest is not None
    groups = list(foreign.used())
    specs = _specs(groups, foreign, config, settings.dtype)
    advance = begin(sum(tensor.nbytes for _, tensor in groups))
    tensors = _stream(groups, foreign, config, settings.dtype, advance)
    write_checkpoint(out, config, manifest, statistics, specs, tensors, files, settings.overwrite)
    return Imported(out, config, manifest, metadata)


def _statistics(
    foreign: ForeignCheckpoint, settings: ImportSettings, problems: Problems
) -> NormStats | None:
    """Statistics of the source or the option, without padding, checked."""
    metadata = foreign.metadata
    if settings.statistics is not None:
        file = settings.statistics
        read = problems.collect(lambda: load_norm_stats(file))
        metadata.set(f"--statistics {file.name}", statistics=read)
    stats: NormStats | None = metadata["statistics"]
    if stats is None:
        return None
    origin = metadata.known["statistics"].origin
    stats = fitted_statistics(stats, metadata)
    metadata.set(origin, statistics=stats)
    method: Normalization = metadata["normalization"] or "mean_std"
    joints = metadata["joints"] or ()
    widths = (
        len(joints) or stats.state.width,
        len(metadata["actions"] or joints) or stats.actions.width,
    )
    problems.extend(stats.check(widths, method, origin, settings.allow_constant))
    return stats


def _tokenizer(
    metadata: CheckpointMetadata, vocab: int | None, problems: Problems
) -> dict[str, bytes]:
    """The tokenizer's file, if there is one that fits."""
    path: Path | None = metadata["tokenizer"]
    if path is None:
        return {}
    tokenizer = problems.collect(lambda: load_tokenizer(path))
    if tokenizer is None:
        return {}
    if vocab is not None and tokenizer.size > vocab + 1:  # PaliGemma's has <image> on top
        do = "take the checkpoint's own tokenizer"
        problems.add(str(path), f"at most the embedding's {vocab} entries", tokenizer.size, do)
    return {path.name: path.read_bytes()}


def _check_joints(config: ModelConfig, metadata: CheckpointMetadata, problems: Problems) -> None:
    joints, room = len(metadata["joints"] or ()), min(config.state_dim, config.action_dim)
    if joints > room:
        problems.add("joints", f"at most {room}, the model's width", joints, "correct --joints")
    if joints and metadata["adapt_to_pi"] not in (None, "none") and joints != 14:
        problems.add("adapt_to_pi", "ALOHA's 14 joints", joints, "set it to none")


def _specs(
    groups: list[tuple[Rule, SourceTensor]],
    foreign: ForeignCheckpoint,
    config: ModelConfig,
    dtype: torch.dtype | None,
) -> dict[str, TensorSpec]:
    """Our tensors in the order in which the source gives them."""
    shapes = parameter_shapes(config)
    specs = {
        name: TensorSpec(shapes[name], dtype or tensor.dtype)
        for rule, tensor in groups
        for name in targets(rule, foreign.sizes)
    }
    if specs.keys() != shapes.keys():
        raise ValueError(f"table does not fit: {sorted(specs.keys() ^ shapes.keys())}")
    return specs


def _stream(
    groups: list[tuple[Rule, SourceTensor]],
    foreign: ForeignCheckpoint,
    config: ModelConfig,
    dtype: torch.dtype | None,
    advance: Advance,
) -> Iterator[tuple[str, Tensor]]:
    """Tensors in order; after the first unsound one the rest is only checked.

    Raises:
        ContractError: at the end, every tensor that is not finite or cannot be read.
    """
    shapes = parameter_shapes(config)
    problems = Problems()
    for rule, tensor in groups:
        place, sound = foreign.place(rule.source), True
        try:
            slabs = tensor.slabs() if rule.kind == "stacked" else iter([tensor.read()])
            for name, values in pieces(rule, slabs, shapes):
                values = narrowed(values, dtype or tensor.dtype)
                sound = sound and is_finite(values)
                if not problems.lines and sound:
                    yield name, values
        except ContractError as error:
            problems.extend(error.problems)
        if not sound:
            not_finite(place, problems)
        advance(tensor.nbytes)
    problems.raise_if_any()


def narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """In another dtype; a large contiguous tensor is narrowed within its own memory."""
    narrower = dtype.itemsize < tensor.dtype.itemsize
    if tensor.dtype is dtype or not narrower or not tensor.is_contiguous():
        return tensor.to(dtype)
    if tensor.numel() <= _BLOCK or tensor.storage_offset():
        return tensor.to(dtype)
    values = tensor.view(-1)
    out = values.view(dtype)[: values.numel()]  # the front of the same bytes
    for start in range(0, values.numel(), _BLOCK):
        out[start : start + _BLOCK] = values[start : start + _BLOCK].to(dtype)
    return out.view(tensor.shape)
