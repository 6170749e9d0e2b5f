# SPDX-License-Identifier: Apache-2.0
"""Push the cube of the named colour to the white line; lifting it does not count."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.kinematics import GripperPose, downward
from adamoe_ros.sim.robot import DualArm
from adamoe_ros.sim.script import LEFT, Script
from adamoe_ros.sim.tasks.base import Language, Meaning, OneArmTask, every
from adamoe_ros.sim.tasks.cubes import CubesTask, cube, per_hand
from adamoe_ros.sim.tasks.grasping import HOVER, PITCH, position, touching
from adamoe_ros.sim.tasks.objects import (
    COLOURS,
    CUBE,
    RGB,
    add_mark,
    paint,
    place_distractors,
    put_cube,
    put_mark,
)

Vector = NDArray[np.float64]
_LINE = "line"
_LINE_HALF = (0.008, 0.2)  # m: it runs away from the viewer
_LANES = np.array([0.36, 0.5, 0.64])  # m, one cube in each
_WIDTH = 0.037  # m of finger travel: both fingers fit behind the cube's face
_CONTACT = CUBE + 0.008  # m from the cube's middle to the grasp centre of fingers that push it
_BEHIND = 0.06  # m from the middle of the cube: where the fingers go down
# m: the tips just off the table, and low, or the cube tips over instead of sliding
_HEIGHT = 0.033
_NEAR = 0.02  # m from the line
_HIGHEST = CUBE + 0.012  # m: a middle above this was lifted


class PushToLine(OneArmTask, CubesTask):
    """See ``sim.tasks.base.Task``."""

    name = "push_to_line"
    language = Language(
        every(colour=COLOURS),
        phrasings=(
            "push the {colour} cube to the line",
            "slide the {colour} cube to the white line",
            "push the {colour} cube over to the line",
        ),
        unseen=(
            "move the {colour} block to the line",
            "slide the {colour} block over the table to the line",
        ),
    )

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """See ``Task``."""
        add_mark(spec, _LINE, _LINE_HALF, (0.95, 0.95, 0.95))
        super().add_objects(spec)

    def place(self, model: mujoco.MjModel, data: Any, rng: np.random.Generator) -> None:
        """One cube a lane, on either side of the line."""
        line = rng.uniform(-0.03, 0.03)
        put_mark(model, data, _LINE, (line, 0.5))
        sides = rng.choice([-1.0, 1.0], 3)
        x = line + sides * rng.uniform(0.09, 0.16, 3)
        y = _LANES[rng.permutation(3)] + rng.uniform(-0.015, 0.015, 3)
        for index, colour in enumerate(COLOURS):
            turn = rng.uniform(-0.4, 0.4)
            put_cube(model, data, cube(colour), (x[index], y[index]), turn)
            paint(model, rng, cube(colour), RGB[colour])
        lanes = np.stack([np.tile(np.linspace(-0.28, 0.28, 9), 3), np.repeat(_LANES, 9)], 1)
        place_distractors(model, data, rng, lanes, gap=0.06)

    def begin(self, meaning: Meaning) -> None:
        """See ``Task``."""
        super().begin(meaning)
        self._lifted = False

    def choose_arm(self, model: mujoco.MjModel, data: Any) -> int:
        """The arm behind the cube, seen from the line."""
        return LEFT if self._beyond(model, data, self.meaning["colour"]) < 0 else 1 - LEFT

    def watch(self, model: mujoco.MjModel, data: Any) -> None:
        """Remember whether it was lifted."""
        super().watch(model, data)
        height = position(model, data, cube(self.meaning["colour"]))[2]
        self._lifted = self._lifted or height > _HIGHEST

    @staticmethod
    def _beyond(model: mujoco.MjModel, data: Any, colour: str) -> float:
        """How far right of the line a cube is, m."""
        return float((position(model, data, cube(colour)) - position(model, data, _LINE))[0])

    def goal_points(self, model: mujoco.MjModel, data: Any) -> Vector:
        """The cube for the arm that pushes it."""
        return per_hand(self.arm(model, data), position(model, data, cube(self.meaning["colour"])))

    def success(self, model: mujoco.MjModel, data: Any) -> bool:
        """It lies on the line, let go, never lifted; the others are elsewhere."""
        colour = self.meaning["colour"]
        others = [abs(self._beyond(model, data, other)) for other in COLOURS if other != colour]
        return bool(
            abs(self._beyond(model, data, colour)) < _NEAR
            and position(model, data, cube(colour))[2] < CUBE + 0.005
            and not touching(model, data, cube(colour))
            and not self._lifted
            and min(others) > 2 * _NEAR
        )

    def plan(self, model: mujoco.MjModel, data: Any, robot: DualArm) -> Vector:
        """Down behind it, straight to the line, back, up."""
        side = self.arm(model, data)
        ahead = 1.0 if side == LEFT else -1.0
        start = position(model, data, cube(self.meaning["colour"]))
        line = position(model, data, _LINE)[0]
        yaw = 0.0 if side == LEFT else np.pi

        def at(x: float) -> GripperPose:
            return downward(np.array([x, start[1], _HEIGHT]), yaw, PITCH)

        behind, end = at(start[0] - ahead * _BEHIND), line - ahead * _CONTACT
        script = Script(model, robot)
        script.open(side, width=_WIDTH)
        script.move({side: behind.raised(HOVER)})
        script.move({side: behind}, slow=1.3)
        for x in np.linspace(behind.position[0], end, 4)[1:]:
            script.move({side: at(x)}, slow=1.6)
        script.wait(8)
        back = at(end - ahead * 0.03)
        script.move({side: back})
        script.move({side: back.raised(HOVER)})
        script.wait(50)
        return script.rows()
