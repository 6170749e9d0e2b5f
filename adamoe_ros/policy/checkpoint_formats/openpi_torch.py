# SPDX-License-Identifier: Apache-2.0
"""openpi's PyTorch checkpoints: ``model.safetensors``, ``config.json``, ``assets``."""

from __future__ import annotations

from pathlib import Path

from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import ForeignCheckpoint
from adamoe_ros.policy.checkpoint_formats.metadata import CheckpointMetadata
from adamoe_ros.policy.checkpoint_formats.metadata_files import (
    read_assets,
    read_json,
    read_tokenizer,
    set_openpi,
)
from adamoe_ros.policy.checkpoint_formats.safetensors_source import open_safetensors
from adamoe_ros.policy.checkpoint_formats.torch_names import open_torch


def open_source(source: Path, asset: str | None) -> ForeignCheckpoint:
    """Open a dense pi0.

    Raises:
        ContractError: missing or damaged files.
    """
    folder = source.parent if source.is_file() else source
    metadata = CheckpointMetadata()
    set_openpi(metadata)
    metadata.set("config.json", horizon=read_json(folder / "config.json").get("action_horizon"))
    read_assets(metadata, folder, asset)
    read_tokenizer(metadata, folder)
    return open_torch(source, open_safetensors(source), metadata, {})
