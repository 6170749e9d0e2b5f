# SPDX-License-Identifier: Apache-2.0
"""Pick up the cube of the named colour with the named arm."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.robot import DualArm
from adamoe_ros.sim.scene import SIDES
from adamoe_ros.sim.script import Script
from adamoe_ros.sim.tasks.base import Language, every
from adamoe_ros.sim.tasks.cubes import LIFTED, CubesTask, cube, others_on_table, per_hand
from adamoe_ros.sim.tasks.grasping import grasp_from_above, holders, position, side_of, take
from adamoe_ros.sim.tasks.objects import COLOURS

Vector = NDArray[np.float64]


class PickCube(CubesTask):
    """See ``sim.tasks.base.Task``."""

    name = "pick_cube"
    language = Language(
        every(colour=COLOURS, side=SIDES),
        phrasings=(
            "pick up the {colour} cube with the {side} arm",
            "grasp the {colour} cube with the {side} hand and lift it",
            "use the {side} arm to raise the {colour} cube",
        ),
        unseen=(
            "take the {colour} block with the {side} gripper",
            "with the {side} hand lift up the {colour} cube",
        ),
    )

    def _target(self) -> tuple[str, int]:
        return cube(self.meaning["colour"]), side_of(self.meaning["side"])

    def goal_points(self, model: mujoco.MjModel, data: Any) -> Vector:
        """The cube for the named arm."""
        body, side = self._target()
        return per_hand(side, position(model, data, body))

    def success(self, model: mujoco.MjModel, data: Any) -> bool:
        """The cube is in the air in that hand alone; no other cube left the table."""
        body, side = self._target()
        return bool(
            position(model, data, body)[2] > LIFTED
            and holders(model, data, body) == {side}
            and others_on_table(model, data, [self.meaning["colour"]])
        )

    def plan(self, model: mujoco.MjModel, data: Any, robot: DualArm) -> Vector:
        """Above, down, close, up."""
        body, side = self._target()
        script = Script(model, robot)
        take(script, {side: grasp_from_above(model, data, body, side)}, lift=0.12)
        script.wait(50)
        return script.rows()
