# SPDX-License-Identifier: Apache-2.0
"""Where grippers take things, and which of them hold something now."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.kinematics import GripperPose, downward
from adamoe_ros.sim.robot import TIP
from adamoe_ros.sim.scene import SIDES
from adamoe_ros.sim.script import LEFT, Script

Vector = NDArray[np.float64]
BASES = np.array([[-0.469, 0.5], [0.469, 0.5]])  # m, where the arms stand
PITCH = np.deg2rad(72)  # steep, yet it reaches 5 cm farther than straight down
GRASP_HEIGHT = 0.025  # m: grasp centre above the table with the finger tips just off it
HOVER = 0.10  # m above a grasp
_TOUCH = 0.001  # m
_NOWHERE = np.zeros(6)  # where MuJoCo notes the nearest points; not looked at


def body_yaw(model: mujoco.MjModel, data: Any, body: str) -> float:
    """Turn of a body's x axis about the vertical, rad."""
    along = data.xmat[model.body(body).id].reshape(3, 3)[:, 0]
    return float(np.arctan2(along[1], along[0]))


def position(model: mujoco.MjModel, data: Any, body: str) -> Vector:
    """(3,) a body's place, m."""
    return np.array(data.xpos[model.body(body).id])


def reaching_yaw(side: int, where: Vector, turn: float, symmetry: float = np.pi / 2) -> float:
    """The yaw next to an arm's own direction at which the fingers fit an object.

    Args:
        where: (2,) or (3,) the object's place.
        turn: yaw of one of its faces; the others are ``symmetry`` apart.
    """
    natural = np.arctan2(*(where[:2] - BASES[side])[::-1])
    return float(turn + symmetry * np.round((natural - turn) / symmetry))


def grasp_from_above(
    model: mujoco.MjModel, data: Any, body: str, side: int, pitch: float = PITCH
) -> GripperPose:
    """How an arm takes a cube that stands on the table."""
    where = position(model, data, body)
    yaw = reaching_yaw(side, where, body_yaw(model, data, body))
    return downward(np.array([where[0], where[1], GRASP_HEIGHT]), yaw, pitch)


def take(script: Script, grasps: dict[int, GripperPose], lift: float = HOVER) -> None:
    """Go above, down, close, up; one arm or both together."""
    script.move({side: grasp.raised(HOVER) for side, grasp in grasps.items()})
    script.move(grasps, slow=1.3)
    script.close(*grasps)
    if lift:
        script.move({side: grasp.raised(lift) for side, grasp in grasps.items()}, slow=1.3)


def put(script: Script, side: int, pose: GripperPose) -> None:
    """Go above a pose, down, let go, up."""
    script.move({side: pose.raised(HOVER)})
    script.move({side: pose}, slow=1.6)
    script.wait(8)
    script.open(side)
    script.move({side: pose.raised(HOVER)}, slow=1.3)


def touching(model: mujoco.MjModel, data: Any, body: str) -> set[tuple[int, int]]:
    """(side, finger) of every finger at a body now.

    By distance, not by contact: contacts of a calm grasp come and go from step to step.
    """
    first, count = model.body(body).geomadr[0], model.body(body).geomnum[0]
    return {
        (side, finger)
        for side, name in enumerate(SIDES)
        for finger, which in enumerate(("left", "right"))
        if min(
            mujoco.mj_geomDistance(
                model, data, _finger(model, name, which), geom, 2 * _TOUCH, _NOWHERE
            )
            for geom in range(first, first + count)
        )
        < _TOUCH
    }


def _finger(model: mujoco.MjModel, side: str, which: str) -> int:
    return int(model.geom(f"vx300s_{side}/10_{which}_gripper_finger").id)


def holders(model: mujoco.MjModel, data: Any, body: str) -> set[int]:
    """Sides that have a body between their two fingers."""
    fingers = touching(model, data, body)
    return {side for side in range(2) if {(side, 0), (side, 1)} <= fingers}


def carried(model: mujoco.MjModel, data: Any, body: str, side: int) -> bool:
    """Whether a body is off the table and at an arm's grasp centre (from positions only)."""
    hand = model.body(f"vx300s_{SIDES[side]}/gripper_link").id
    tip = data.xpos[hand] + data.xmat[hand].reshape(3, 3) @ TIP
    where = position(model, data, body)
    return bool(where[2] > 0.03 and np.linalg.norm(where - tip) < 0.025)


def side_of(name: str) -> int:
    """0 for ``left``, 1 for ``right``."""
    return SIDES.index(name)


def nearer_side(where: Vector) -> int:
    """The arm that stands nearer."""
    return LEFT if where[0] < 0 else 1 - LEFT
