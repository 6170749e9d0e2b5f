# SPDX-License-Identifier: Apache-2.0
"""What must be there before a demo starts: ROS, overlay, DDS profile, the checkpoint's files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from adamoe_ros.contract.errors import ContractError, Problems
from adamoe_ros.contract.manifest import load_manifest

_CHECKPOINT_FILES = ("config.json", "manifest.json", "model.safetensors", "norm_stats.json")


def check_checkpoint(folder: Path) -> None:
    """Files of a checkpoint, without loading it.

    Raises:
        ContractError: every file that is missing, or what is wrong with the manifest.
    """
    if not folder.is_dir():
        raise ContractError(
            f"checkpoint: expected a folder, got {str(folder)!r}; pass --checkpoint, or make one "
            "with 'adamoe train' or 'adamoe convert'"
        )
    missing = [name for name in _CHECKPOINT_FILES if not (folder / name).is_file()]
    if not missing:
        manifest = load_manifest(folder / "manifest.json")
        if manifest.tokenizer and not (folder / manifest.tokenizer).is_file():
            missing.append(manifest.tokenizer)
    problems = Problems()
    if missing:
        problems.add(
            f"checkpoint {folder}",
            f"the file{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            "no such file",
            "copy the whole folder",
        )
    problems.raise_if_any()


def prepare_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Complete this process's environment for ROS and return a copy for its children.

    Chooses the transports, keeps discovery on this machine, and
    applies ``changes``. Must run before rclpy is initialised.

    Raises:
        ContractError: rclpy or this package's interfaces cannot be imported.
    """
    from adamoe_ros.ros.runner import require_overlay

    os.environ.update(
        {
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "PYTHONUNBUFFERED": "1",
            **changes,
        }
    )
    require_overlay()
    return dict(os.environ)
