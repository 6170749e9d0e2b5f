# SPDX-License-Identifier: Apache-2.0
"""Lift the yellow bar with both arms: it lies across, each hand takes one end."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.kinematics import downward, solve_arm
from adamoe_ros.sim.robot import CLOSED, HOME_ARM, OPEN, DualArm
from adamoe_ros.sim.scene import add_box
from adamoe_ros.sim.script import through
from adamoe_ros.sim.tasks.base import Language, SuiteTask

Vector = NDArray[np.float64]
_BAR = "bar"
_HALF_SIZE = (0.17, 0.015, 0.015)  # m
_GRASP = 0.13  # m from the middle
_LIFT = 0.12  # m
_LIFTED = 0.07  # m: both grasp points above this height
# Steep enough that the wrist stays far from its singular, straight pose, where forearm and wrist
# could turn by half a turn from one episode to the next and nothing could be learnt from them.
_PITCH = np.deg2rad(72)
_SEARCH_START = np.array([0.0, -0.3, 0.6, 0.0, 0.6, 0.0])


class LiftBar(SuiteTask):
    """See ``sim.tasks.base.Task``."""

    name = "lift_bar"
    language = Language(
        ({},),
        phrasings=(
            "lift the yellow bar with both arms",
            "pick up the yellow bar with both hands",
            "raise the bar with the left and the right arm",
        ),
        unseen=(
            "take the yellow bar in both hands and raise it",
            "grasp the bar with both arms and lift it up",
        ),
    )

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """The bar."""
        add_box(spec, _BAR, _HALF_SIZE, (1, 0.85, 0, 1), mass=0.08)

    def place(self, model: mujoco.MjModel, data: Any, rng: np.random.Generator) -> None:
        """Middle within 12 x 16 cm, turned by up to 17 degrees."""
        turn = rng.uniform(-0.3, 0.3)
        first = int(model.joint(f"{_BAR}_joint").qposadr[0])
        where = [rng.uniform(-0.06, 0.06), rng.uniform(0.42, 0.58), _HALF_SIZE[2]]
        data.qpos[first : first + 7] = [*where, np.cos(turn / 2), 0, 0, np.sin(turn / 2)]

    def goal_points(self, model: mujoco.MjModel, data: Any) -> Vector:
        """Left and right grasp point."""
        body = model.body(_BAR).id
        along = data.xmat[body].reshape(3, 3)[:, 0] * _GRASP
        middle = data.xpos[body]
        return np.concatenate([middle - along, middle + along])

    def success(self, model: mujoco.MjModel, data: Any) -> bool:
        """Both grasp points are in the air."""
        return bool(self.goal_points(model, data)[[2, 5]].min() > _LIFTED)

    def plan(self, model: mujoco.MjModel, data: Any, robot: DualArm) -> Vector:
        """Above both ends, down, close, up."""
        body = model.body(_BAR).id
        along = data.xmat[body].reshape(3, 3)[:, 0]
        turn = float(np.arctan2(along[1], along[0]))
        goals = self.goal_points(model, data).reshape(2, 3)
        home = np.array(HOME_ARM)
        arms = []
        for side, yaw in enumerate((turn, turn + np.pi)):
            grasp = downward(goals[side], yaw, _PITCH)
            above, _ = solve_arm(model, robot, side, grasp.raised(0.10), _SEARCH_START)
            at, _ = solve_arm(model, robot, side, grasp, above)
            up, _ = solve_arm(model, robot, side, grasp.raised(_LIFT), at)
            stops = [
                (0, home, OPEN),
                (70, above, OPEN),
                (106, at, OPEN),
                (110, at, OPEN),
                (134, at, CLOSED),
                (140, at, CLOSED),
                (190, up, CLOSED),
                (250, up, CLOSED),
            ]
            arms.append(through([(tick, np.append(joints, grip)) for tick, joints, grip in stops]))
        return np.concatenate(arms, 1)
