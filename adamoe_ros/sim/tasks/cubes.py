# SPDX-License-Identifier: Apache-2.0
"""What the tasks with one red, one green and one blue cube share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.tasks.base import REST, SuiteTask
from adamoe_ros.sim.tasks.grasping import position
from adamoe_ros.sim.tasks.objects import (
    COLOURS,
    CUBE,
    RGB,
    Points,
    add_cube,
    add_distractors,
    paint,
    place_distractors,
    put_cube,
    spread,
)

Vector = NDArray[np.float64]
LIFTED = 0.07  # m: a cube's middle above this height is picked up
# both arms reach all of it
_LOW, _HIGH = (-0.12, 0.40), (0.12, 0.60)
_GAP = 0.095  # m between cubes: room for an open finger whatever the turn


def cube(colour: str) -> str:
    """Body name of the cube of a colour."""
    return f"{colour}_cube"


class CubesTask(SuiteTask):
    """Three cubes within reach of both arms, and distractors."""

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """See ``Task``."""
        for colour in COLOURS:
            add_cube(spec, cube(colour), RGB[colour])
        add_distractors(spec)

    def cube_places(self, rng: np.random.Generator) -> Points:
        """(3, 2) places in the order of ``COLOURS``."""
        return spread(rng, len(COLOURS), _LOW, _HIGH, _GAP)

    def place(self, model: mujoco.MjModel, data: Any, rng: np.random.Generator) -> None:
        """See ``Task``."""
        places = self.cube_places(rng)
        for colour, where in zip(COLOURS, places, strict=True):
            put_cube(model, data, cube(colour), where, rng.uniform(-np.pi, np.pi))
            paint(model, rng, cube(colour), RGB[colour])
        place_distractors(model, data, rng, places)


def others_on_table(model: mujoco.MjModel, data: Any, but: Sequence[str]) -> bool:
    """Whether every cube of another colour is still on the table."""
    heights = [position(model, data, cube(colour))[2] for colour in COLOURS if colour not in but]
    return max(heights, default=0.0) < CUBE + 0.01


def per_hand(side: int, point: Vector) -> Vector:
    """(6,) goal points when one arm has a job and the other rests."""
    points = np.array(REST)
    points[side] = point
    return points.ravel()
