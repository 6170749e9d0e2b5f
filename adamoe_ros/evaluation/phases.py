# SPDX-License-Identifier: Apache-2.0
"""How far an episode has come, told from the simulator's state alone: the same for every task.

reach     no hand is at its goal
contact   a hand is at its goal, or holds something that still lies on the table
carry     something is held in the air
done      the task's judgement says so
"""

from __future__ import annotations

import mujoco
import numpy as np

from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.robot import TIP
from adamoe_ros.sim.tasks.base import REST
from adamoe_ros.sim.tasks.grasping import holders, position

PHASES = ("reach", "contact", "carry", "done")
REACH, CONTACT, CARRY, DONE = range(len(PHASES))
_NEAR = 0.06  # m from a hand's grasp centre to its goal
_RAISED = 0.015  # m above where it lay


class PhaseWatch:
    """Of one episode; made when its scene is set up."""

    def __init__(self, sim: BimanualSim) -> None:
        self._sim = sim
        self._bodies = tuple(_solid_bodies(sim.model))
        self._heights = {name: self._height(name) for name in self._bodies}

    def _height(self, body: str) -> float:
        return float(position(self._sim.model, self._sim.data, body)[2])

    def __call__(self) -> int:
        """Number in ``PHASES``, now."""
        sim = self._sim
        if sim.success():
            return DONE
        held = [name for name in self._bodies if holders(sim.model, sim.data, name)]
        if any(self._height(name) > self._heights[name] + _RAISED for name in held):
            return CARRY
        return CONTACT if held or self._near() else REACH

    def _near(self) -> bool:
        goals = self._sim.task.goal_points(self._sim.model, self._sim.data).reshape(-1, 3)
        data = self._sim.data
        for side, body in enumerate(self._sim.robot.gripper_bodies):
            centre = data.xpos[body] + data.xmat[body].reshape(3, 3) @ TIP
            at_rest = np.allclose(goals[side], REST[side])
            if not at_rest and np.linalg.norm(centre - goals[side]) < _NEAR:
                return True
        return False


def _solid_bodies(model: mujoco.MjModel) -> list[str]:
    """Free bodies that can be touched: marks on the table cannot."""
    found = []
    for joint in range(model.njnt):
        if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE:
            continue
        body = int(model.jnt_bodyid[joint])
        first, count = int(model.body_geomadr[body]), int(model.body_geomnum[body])
        if count and model.geom_contype[first : first + count].any():
            found.append(model.body(body).name)
    return found
