# SPDX-License-Identifier: Apache-2.0
"""Hand the cube of the named colour over from the named arm to the other one."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.kinematics import GripperPose, downward
from adamoe_ros.sim.robot import DualArm
from adamoe_ros.sim.scene import SIDES
from adamoe_ros.sim.script import LEFT, Script
from adamoe_ros.sim.tasks.base import REST, Language, Meaning
from adamoe_ros.sim.tasks.cubes import LIFTED, CubesTask, cube, others_on_table
from adamoe_ros.sim.tasks.grasping import (
    carried,
    grasp_from_above,
    holders,
    position,
    side_of,
    take,
)
from adamoe_ros.sim.tasks.objects import COLOURS, Points, spread

Vector = NDArray[np.float64]
_PITCH = np.deg2rad(
    80
)  # of the grasp; the giver's hand turns by 90 degrees, so the faces stay level
_MEETING = np.array([0.0, 0.5, 0.28])  # m
_AWAY = 0.09  # m that a hand keeps off, or draws back, along its fingers


class Handover(CubesTask):
    """See ``sim.tasks.base.Task``."""

    name = "handover"
    tolerance = 0.5
    language = Language(
        tuple(
            {"colour": colour, "giver": giver, "taker": taker}
            for colour in COLOURS
            for giver, taker in (SIDES, SIDES[::-1])
        ),
        phrasings=(
            "hand the {colour} cube over from the {giver} arm to the {taker} arm",
            "pass the {colour} cube from the {giver} hand to the {taker} hand",
            "take the {colour} cube with the {giver} arm and give it to the {taker} arm",
        ),
        unseen=(
            "give the {colour} block from the {giver} hand to the {taker} one",
            "move the {colour} cube over from the {giver} gripper into the {taker} gripper",
        ),
    )

    def begin(self, meaning: Meaning) -> None:
        """See ``Task``."""
        super().begin(meaning)
        self._given = False

    def cube_places(self, rng: np.random.Generator) -> Points:
        """Somewhat nearer to the middle: the grasp is steeper than elsewhere."""
        return spread(rng, len(COLOURS), (-0.09, 0.41), (0.09, 0.59), 0.095)

    def _cube(self) -> str:
        return cube(self.meaning["colour"])

    def _sides(self) -> tuple[int, int]:
        return side_of(self.meaning["giver"]), side_of(self.meaning["taker"])

    def watch(self, model: mujoco.MjModel, data: Any) -> None:
        """Remember whether the giver had it in the air, alone."""
        height = position(model, data, self._cube())[2]
        if not self._given and height > LIFTED:
            self._given = holders(model, data, self._cube()) == {self._sides()[0]}

    def goal_points(self, model: mujoco.MjModel, data: Any) -> Vector:
        """The cube for the giver; once it is carried, the meeting point for both."""
        giver, taker = self._sides()
        points = np.array(REST)
        points[giver] = position(model, data, self._cube())
        if carried(model, data, self._cube(), giver):
            points[:] = _MEETING
        if carried(model, data, self._cube(), taker):
            points[taker] = position(model, data, self._cube())
        return points.ravel()

    def success(self, model: mujoco.MjModel, data: Any) -> bool:
        """In the air in the taker's hand alone, after it was in the giver's alone."""
        _, taker = self._sides()
        return bool(
            self._given
            and position(model, data, self._cube())[2] > LIFTED
            and holders(model, data, self._cube()) == {taker}
            and others_on_table(model, data, [self.meaning["colour"]])
        )

    def plan(self, model: mujoco.MjModel, data: Any, robot: DualArm) -> Vector:
        """The giver takes it to the meeting point; the taker grips above and below."""
        giver, taker = self._sides()
        script = Script(model, robot)
        take(script, {giver: grasp_from_above(model, data, self._cube(), giver, _PITCH)})
        offer, accept = _offer(giver), _accept(taker)
        script.move({giver: offer, taker: _back(accept)}, slow=1.3)
        script.move({taker: accept}, slow=1.6)
        script.close(taker)
        script.open(giver)
        script.move({giver: _back(offer)}, slow=1.3)
        script.wait(50)
        return script.rows()


def _yaw(side: int) -> float:
    return 0.0 if side == LEFT else np.pi


def _offer(side: int) -> GripperPose:
    """The giver's fingers point across, left and right of the cube."""
    return downward(_MEETING, _yaw(side), _PITCH - np.pi / 2)


def _accept(side: int) -> GripperPose:
    """The taker's hand is rolled by a quarter turn: one finger above, one below."""
    forward, across, up = downward(_MEETING, _yaw(side), 0.0).rotation.T
    return GripperPose(_MEETING, np.stack([forward, up, -across], 1))


def _back(pose: GripperPose) -> GripperPose:
    return GripperPose(pose.position - _AWAY * pose.rotation[:, 0], pose.rotation)
