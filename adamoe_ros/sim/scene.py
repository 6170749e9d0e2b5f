# SPDX-License-Identifier: Apache-2.0
"""The two-arm scene as a MuJoCo specification: gym-aloha's arms and table, our wrist cameras."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np

from adamoe_ros.contract.errors import ContractError

SCENE_FILE = "bimanual_viperx_transfer_cube.xml"
SIDES = ("left", "right")
CAMERAS = {"cam_high": "top", "cam_left_wrist": "wrist_left", "cam_right_wrist": "wrist_right"}
_FINGER = {"condim": 4, "friction": [1, 0.005, 0.0001], "solref": [0.01, 1]}


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


def base_spec() -> mujoco.MjSpec:
    """Arms, table, lights and cameras, without any object."""
    spec = mujoco.MjSpec.from_file(str(assets_dir() / SCENE_FILE))
    for key in list(spec.keys):
        spec.delete(key)
    spec.delete(spec.body("box"))
    spec.camera("top").fovy = 52  # the table fills the picture; gym-aloha's 78 is a third black
    for side in SIDES:
        _add_wrist_camera(spec, side)
    spec.visual.quality.offsamples = 0
    spec.visual.global_.offwidth = 1280
    spec.visual.global_.offheight = 960
    return spec


def _add_wrist_camera(spec: mujoco.MjSpec, side: str) -> None:
    """Behind and above the fingers, looking forward and 25 degrees down (gym-aloha's look back)."""
    tilt = np.deg2rad(25)
    back = np.array([-np.cos(tilt), 0.0, np.sin(tilt)])  # a camera looks along its -z
    across = np.array([0.0, -1.0, 0.0])
    frame = np.stack([across, np.cross(back, across), back], 1)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(frame).ravel())
    spec.body(f"vx300s_{side}/gripper_link").add_camera(
        name=f"wrist_{side}", pos=[-0.05, 0, 0.12], fovy=75, quat=quaternion
    )


def add_box(
    spec: mujoco.MjSpec,
    name: str,
    half_size: Sequence[float],
    rgba: Sequence[float],
    mass: float,
    inertia: float = 0.002,
) -> None:
    """A free box that the fingers can hold.

    Args:
        half_size: m. mass: kg.
        inertia: kg m2 about each axis; more than a real box has, which keeps a grasp calm.
    """
    body = spec.worldbody.add_body(name=name, pos=[0, 0.5, half_size[2]])
    body.add_freejoint(name=f"{name}_joint")
    body.explicitinertial = True  # the included files infer inertia from collision groups only
    body.mass, body.ipos, body.iquat = mass, [0, 0, 0], [1, 0, 0, 0]
    body.inertia = [inertia] * 3
    body.add_geom(
        name=f"{name}_geom",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=half_size,
        rgba=rgba,
        solimp=[2, 1, 0.01, 0.5, 2],
        **_FINGER,
    )
