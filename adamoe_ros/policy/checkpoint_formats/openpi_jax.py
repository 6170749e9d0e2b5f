# SPDX-License-Identifier: Apache-2.0
"""openpi's JAX checkpoints: an Orbax folder with ``assets`` beside it, or an ``.npz``."""

from __future__ import annotations

from pathlib import Path

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.policy.checkpoint_formats import jax_names
from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import ForeignCheckpoint
from adamoe_ros.policy.checkpoint_formats.metadata import CheckpointMetadata
from adamoe_ros.policy.checkpoint_formats.metadata_files import (
    read_assets,
    read_tokenizer,
    set_openpi,
)
from adamoe_ros.policy.checkpoint_formats.npz_source import open_npz
from adamoe_ros.policy.checkpoint_formats.orbax_source import is_orbax, open_orbax
from adamoe_ros.policy.checkpoint_formats.rules import vote
from adamoe_ros.policy.checkpoint_formats.sources import TensorSource

_LANDMARK = "PaliGemma/"


def open_source(source: Path, asset: str | None) -> ForeignCheckpoint:
    """Open a dense pi0.

    Raises:
        ContractError: missing or damaged files.
    """
    tensors, metadata = open_jax(source, asset)
    rules = jax_names.dense_rules()
    sizes = vote(rules, {name: tensor.shape for name, tensor in tensors.items()})
    return ForeignCheckpoint(str(source), tensors, rules, sizes, frozenset(), "dense", metadata, {})


def open_jax(source: Path, asset: str | None) -> tuple[TensorSource, CheckpointMetadata]:
    """Leaves by openpi's names, and what lies beside them.

    Args:
        source: checkpoint folder, its ``params`` folder, or an ``.npz``.
    """
    metadata = CheckpointMetadata()
    set_openpi(metadata)
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
    read_assets(metadata, folder, asset)
    read_tokenizer(metadata, folder)
    return _rooted(tensors), metadata


def _rooted(tensors: TensorSource) -> TensorSource:
    """Without what stands in front of every name, such as ``params/``."""
    starts = {name.partition(_LANDMARK)[0] for name in tensors if _LANDMARK in name}
    start = starts.pop() if len(starts) == 1 else ""
    if all(name.startswith(start) for name in tensors):
        return {name[len(start) :]: tensor for name, tensor in tensors.items()}
    return tensors
