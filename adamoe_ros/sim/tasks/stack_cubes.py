# SPDX-License-Identifier: Apache-2.0
"""Stack one named cube on another."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.kinematics import downward
from adamoe_ros.sim.robot import DualArm
from adamoe_ros.sim.script import Script
from adamoe_ros.sim.tasks.base import Language, OneArmTask, ordered_pairs
from adamoe_ros.sim.tasks.cubes import CubesTask, cube, others_on_table, per_hand
from adamoe_ros.sim.tasks.grasping import (
    GRASP_HEIGHT,
    PITCH,
    body_yaw,
    carried,
    grasp_from_above,
    nearer_side,
    position,
    put,
    reaching_yaw,
    take,
    touching,
)
from adamoe_ros.sim.tasks.objects import COLOURS, CUBE

Vector = NDArray[np.float64]
_EDGE = 2 * CUBE
_DROP = 0.004  # m above the lower cube when the hand lets go


class StackCubes(OneArmTask, CubesTask):
    """See ``sim.tasks.base.Task``."""

    name = "stack_cubes"
    language = Language(
        ordered_pairs("a", "b", COLOURS),
        phrasings=(
            "stack the {a} cube on the {b} cube",
            "put the {a} cube onto the {b} one",
            "pick up the {a} cube and place it on the {b} cube",
        ),
        unseen=(
            "place the {a} block onto the {b} block",
            "move the {a} cube on the {b} one",
        ),
    )

    def choose_arm(self, model: mujoco.MjModel, data: Any) -> int:
        """The arm that stands nearer to the upper cube."""
        return nearer_side(position(model, data, cube(self.meaning["a"])))

    def goal_points(self, model: mujoco.MjModel, data: Any) -> Vector:
        """The upper cube; once it is carried, its place on the lower one."""
        upper, lower = cube(self.meaning["a"]), cube(self.meaning["b"])
        side = self.arm(model, data)
        goal = position(model, data, upper)
        if carried(model, data, upper, side):
            goal = position(model, data, lower) + np.array([0, 0, _EDGE])
        return per_hand(side, goal)

    def success(self, model: mujoco.MjModel, data: Any) -> bool:
        """It rests on the other, both let go, the lower one and the third on the table."""
        upper, lower = cube(self.meaning["a"]), cube(self.meaning["b"])
        offset = position(model, data, upper) - position(model, data, lower)
        return bool(
            np.abs(offset[:2]).max() < CUBE
            and abs(offset[2] - _EDGE) < 0.005
            and not touching(model, data, upper)
            and not touching(model, data, lower)
            and others_on_table(model, data, [self.meaning["a"]])
        )

    def plan(self, model: mujoco.MjModel, data: Any, robot: DualArm) -> Vector:
        """Take the upper one, set it down on the lower one with the faces in line."""
        upper, lower = cube(self.meaning["a"]), cube(self.meaning["b"])
        side = self.arm(model, data)
        script = Script(model, robot)
        take(script, {side: grasp_from_above(model, data, upper, side)}, lift=0.12)
        below = position(model, data, lower)
        yaw = reaching_yaw(side, below, body_yaw(model, data, lower))
        top = np.array([*below[:2], GRASP_HEIGHT + _EDGE + _DROP])
        put(script, side, downward(top, yaw, PITCH))
        script.wait(50)
        return script.rows()
