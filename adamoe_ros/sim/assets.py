# SPDX-License-Identifier: Apache-2.0
"""Where the robot's meshes and MJCF are: in gym-aloha's wheel, which is never imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from adamoe_ros.contract.errors import ContractError

SCENE_FILE = "bimanual_viperx_transfer_cube.xml"


def assets_dir() -> Path:
    """Folder with gym-aloha's MJCF and STL files (ViperX 300, Apache-2.0).

    Raises:
        ContractError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("gym_aloha")
    folder = Path(spec.origin).parent / "assets" if spec and spec.origin else None
    if folder is None or not (folder / SCENE_FILE).is_file():
        raise ContractError(
            "gym_aloha: expected its assets for the simulated arms, found none; "
            "run 'make setup' or: pip install --no-deps gym-aloha==0.1.5"
        )
    return folder
