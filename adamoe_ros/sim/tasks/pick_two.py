# SPDX-License-Identifier: Apache-2.0
"""Both arms pick up one named cube each: who takes which follows from where they lie."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.robot import DualArm
from adamoe_ros.sim.script import LEFT, RIGHT, Script
from adamoe_ros.sim.tasks.base import Language, ordered_pairs
from adamoe_ros.sim.tasks.cubes import LIFTED, CubesTask, cube, others_on_table
from adamoe_ros.sim.tasks.grasping import grasp_from_above, holders, position, take
from adamoe_ros.sim.tasks.objects import COLOURS, Points

Vector = NDArray[np.float64]
_COLUMNS = np.array([-0.15, 0.0, 0.15])  # m: neighbours leave room for two grippers


class PickTwo(CubesTask):
    """See ``sim.tasks.base.Task``."""

    name = "pick_two"
    language = Language(
        ordered_pairs("a", "b", COLOURS),
        phrasings=(
            "pick up the {a} cube and the {b} cube with both arms",
            "lift the {a} and the {b} cube at the same time, one in each hand",
            "take the {a} cube and the {b} cube, one with each arm",
        ),
        unseen=(
            "grasp the {a} and the {b} block with both hands",
            "raise both the {a} cube and the {b} cube",
        ),
    )

    def cube_places(self, rng: np.random.Generator) -> Points:
        """One cube per column, so that the arms never have to cross."""
        columns = _COLUMNS[rng.permutation(3)] + rng.uniform(-0.02, 0.02, 3)
        return np.stack([columns, rng.uniform(0.42, 0.58, 3)], 1)

    def _by_side(self, model: mujoco.MjModel, data: Any) -> dict[int, str]:
        """The left one of the two cubes is the left arm's."""
        named = [cube(self.meaning["a"]), cube(self.meaning["b"])]
        left, right = sorted(named, key=lambda body: float(position(model, data, body)[0]))
        return {LEFT: left, RIGHT: right}

    def goal_points(self, model: mujoco.MjModel, data: Any) -> Vector:
        """Each hand's cube."""
        bodies = self._by_side(model, data)
        return np.concatenate([position(model, data, bodies[side]) for side in (LEFT, RIGHT)])

    def success(self, model: mujoco.MjModel, data: Any) -> bool:
        """Both are in the air, each in one hand; the third is on the table."""
        named = [self.meaning["a"], self.meaning["b"]]
        bodies = [cube(colour) for colour in named]
        held = [holders(model, data, body) for body in bodies]
        return bool(
            min(position(model, data, body)[2] for body in bodies) > LIFTED
            and sorted(map(len, held)) == [1, 1]
            and held[0] != held[1]
            and others_on_table(model, data, named)
        )

    def plan(self, model: mujoco.MjModel, data: Any, robot: DualArm) -> Vector:
        """Both at once: above, down, close, up."""
        bodies = self._by_side(model, data)
        grasps = {side: grasp_from_above(model, data, body, side) for side, body in bodies.items()}
        script = Script(model, robot)
        take(script, grasps, lift=0.12)
        script.wait(50)
        return script.rows()
