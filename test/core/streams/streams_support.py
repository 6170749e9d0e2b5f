# SPDX-License-Identifier: Apache-2.0
"""Messages as plain objects, and a robot to read them for."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

import numpy as np

from adamoe_ros.contract.profile import RobotProfile

SECOND = 1_000_000_000
MS = 1_000_000


def header(stamp_ns: int) -> SimpleNamespace:
    sec, nanosec = divmod(stamp_ns, SECOND)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id="")


def image(
    encoding: str, pixels: np.ndarray, padding: int = 0, big_endian: bool = False, **changes: Any
) -> SimpleNamespace:
    """An Image message; pixels (H, W * bytes) uint8 without padding."""
    height = pixels.shape[0]
    rows = np.ascontiguousarray(pixels).reshape(height, -1).view(np.uint8)
    padded = np.full((height, rows.shape[1] + padding), 77, np.uint8)
    padded[:, : rows.shape[1]] = rows
    fields = {
        "header": header(SECOND),
        "encoding": encoding,
        "height": height,
        "width": changes.pop("width"),
        "step": padded.shape[1],
        "is_bigendian": int(big_endian),
        "data": array("B", padded.tobytes()),
    }
    return SimpleNamespace(**(fields | changes))


def joint_state(
    names: list[str], positions: list[float], stamp_ns: int = SECOND
) -> SimpleNamespace:
    return SimpleNamespace(header=header(stamp_ns), name=names, position=array("d", positions))


def robot(**changes: Any) -> RobotProfile:
    """Two arms of two joints; the left gripper has topics of its own, the right one has none."""
    joints = [
        {"name": name, "limits": {"position": [-2, 2], "velocity": 2, "acceleration": 10}}
        for name in ("a", "b")
    ]
    gripper = {
        "name": "g",
        "closed": 0.0,
        "open": 0.08,
        "limits": {"position": [0.0, 0.08], "velocity": 0.2, "acceleration": 3.0},
    }
    left = {
        "state": {"topic": "left/joint_states"},
        "command": {"topic": "left/trajectory", "type": "joint_trajectory", "velocity": True},
        "joints": joints,
        "gripper": gripper
        | {
            "state": {"topic": "left/hand", "timeout": 0.5},
            "command": {"topic": "left/hand/commands", "type": "float64_multi_array"},
            "command_name": "finger",
        },
        "home": [0, 0, 0.04],
    }
    right = {
        "state": {"topic": "right/joint_states", "timeout": 0.1},
        "command": {"topic": "right/commands"},
        "joints": joints,
        "gripper": gripper,
        "home": [0, 0, 0.04],
    }
    cameras = {
        "cam_high": {"topic": "high", "width": 8, "height": 6, "tolerance": 0.03},
        "cam_left_wrist": {"topic": "left", "width": 8, "height": 6, "tolerance": 0.03},
        "cam_right_wrist": {"absent": True},
    }
    base = {
        "name": "small",
        "description": "two small arms",
        "embodiments": ["small"],
        "command_rate": 50.0,
        "arms": {"left": left, "right": right},
        "cameras": cameras,
    }
    return RobotProfile.model_validate(base | changes)
