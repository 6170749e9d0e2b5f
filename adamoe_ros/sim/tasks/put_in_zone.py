# SPDX-License-Identifier: Apache-2.0
"""Put the cube in the zone of the named colour."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.kinematics import downward
from adamoe_ros.sim.robot import DualArm
from adamoe_ros.sim.script import Script
from adamoe_ros.sim.tasks.base import Language, OneArmTask, every
from adamoe_ros.sim.tasks.cubes import per_hand
from adamoe_ros.sim.tasks.grasping import (
    GRASP_HEIGHT,
    PITCH,
    carried,
    grasp_from_above,
    nearer_side,
    position,
    put,
    reaching_yaw,
    take,
    touching,
)
from adamoe_ros.sim.tasks.objects import (
    COLOURS,
    CUBE,
    RGB,
    add_cube,
    add_distractors,
    add_mark,
    paint,
    place_distractors,
    put_cube,
    put_mark,
)

Vector = NDArray[np.float64]
_CUBE = "cube"
_ZONE = 0.055  # m, half an edge
# The cube starts where both arms reach it; a zone lies at either side and one towards the front.
_SPOTS = np.array([[-0.22, 0.52], [0.22, 0.52], [0.0, 0.37]])
_SPOT_JITTER = np.array([[0.03, 0.06], [0.03, 0.06], [0.06, 0.02]])
_AT_SIDE = 0.12  # m from the middle
_CUBE_COLOURS = (*RGB.values(), (0.95, 0.85, 0.1), (0.95, 0.95, 0.95), (0.95, 0.5, 0.1))


def _zone(colour: str) -> str:
    return f"{colour}_zone"


class PutInZone(OneArmTask):
    """See ``sim.tasks.base.Task``."""

    name = "put_in_zone"
    language = Language(
        every(colour=COLOURS),
        phrasings=(
            "put the cube in the {colour} zone",
            "place the cube in the {colour} zone",
            "pick up the cube and move it into the {colour} zone",
        ),
        unseen=(
            "take the cube to the {colour} zone",
            "put the block onto the {colour} zone",
        ),
    )

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """One cube of any colour, three zones."""
        for colour in COLOURS:
            add_mark(spec, _zone(colour), (_ZONE, _ZONE), RGB[colour])
        add_cube(spec, _CUBE, _CUBE_COLOURS[0])
        add_distractors(spec)

    def place(self, model: mujoco.MjModel, data: Any, rng: np.random.Generator) -> None:
        """Zones change places; the cube lies between them."""
        spots = _SPOTS + rng.uniform(-1, 1, (3, 2)) * _SPOT_JITTER
        for colour, spot in zip(COLOURS, spots[rng.permutation(3)], strict=True):
            put_mark(model, data, _zone(colour), spot)
            paint(model, rng, _zone(colour), RGB[colour])
        where = rng.uniform((-0.09, 0.50), (0.09, 0.60))
        put_cube(model, data, _CUBE, where, rng.uniform(-np.pi, np.pi))
        paint(model, rng, _CUBE, _CUBE_COLOURS[rng.integers(len(_CUBE_COLOURS))])
        place_distractors(model, data, rng, np.concatenate([spots, where[None]]), gap=0.13)

    def choose_arm(self, model: mujoco.MjModel, data: Any) -> int:
        """A zone at a side is that arm's; the middle one is for the arm next to the cube."""
        zone = position(model, data, _zone(self.meaning["colour"]))
        at_side = abs(zone[0]) > _AT_SIDE
        return nearer_side(zone if at_side else position(model, data, _CUBE))

    def _place_in_zone(self, model: mujoco.MjModel, data: Any) -> Vector:
        zone = position(model, data, _zone(self.meaning["colour"]))
        return np.array([*zone[:2], CUBE])

    def goal_points(self, model: mujoco.MjModel, data: Any) -> Vector:
        """The cube; once it is carried, the middle of the zone."""
        side = self.arm(model, data)
        goal = position(model, data, _CUBE)
        if carried(model, data, _CUBE, side):
            goal = self._place_in_zone(model, data)
        return per_hand(side, goal)

    def success(self, model: mujoco.MjModel, data: Any) -> bool:
        """All of the cube is in the zone, on the table, and let go."""
        offset = position(model, data, _CUBE) - self._place_in_zone(model, data)
        return bool(
            np.abs(offset[:2]).max() < _ZONE - CUBE
            and abs(offset[2]) < 0.005
            and not touching(model, data, _CUBE)
        )

    def plan(self, model: mujoco.MjModel, data: Any, robot: DualArm) -> Vector:
        """Take it, carry it over, set it down."""
        side = self.arm(model, data)
        script = Script(model, robot)
        take(script, {side: grasp_from_above(model, data, _CUBE, side)}, lift=0.12)
        goal = self._place_in_zone(model, data)
        yaw = reaching_yaw(side, goal, 0.0)
        put(script, side, downward(np.array([*goal[:2], GRASP_HEIGHT + 0.004]), yaw, PITCH))
        script.wait(50)
        return script.rows()
