# SPDX-License-Identifier: Apache-2.0
"""What became of an episode: the scene's own task, and the one that the policy was instructed to do;
and how far it has come, read from the simulator's state alone, the same for every task:

reach     no hand is at its goal
contact   a hand is at its goal, or holds something that still lies on the table
carry     something is held in the air
done      the task's judgement
"""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.data.sim_trace import Trace, TraceInfo
from adamoe_ros.evaluation.cases import Instructions
from adamoe_ros.sim.bimanual import CONTROL_RATE, BimanualSim
from adamoe_ros.sim.robot import TIP
from adamoe_ros.sim.tasks import make_task, task_of
from adamoe_ros.sim.tasks.base import REST, Task
from adamoe_ros.sim.tasks.grasping import holders, position

PHASES = ("reach", "contact", "carry", "done")
REACH, CONTACT, CARRY, DONE = range(len(PHASES))
_NEAR = 0.06  # m from a hand's grasp centre to its goal
_RAISED = 0.015  # m above where it lay
_EVERY = 2  # ticks between the states that are kept for videos: 25 Hz


class EpisodeWatch:
    """Follows one episode in the simulator, tick by tick.

    Args:
        sim: just reset.
        instructions: of the episode.
        settle_s: how long a judgement must hold without a break.

    Attributes:
        phase: watches ``PHASES``.
    """

    def __init__(self, sim: BimanualSim, instructions: Instructions, settle_s: float = 0.5) -> None:
        self._sim, self._instructions = sim, instructions
        self._needed = max(1, round(settle_s * CONTROL_RATE))
        self._other = other_task(sim, instructions)
        self._own_held = self._other_held = self._tick = 0
        self._rows: list[tuple[float, NDArray[np.float64], bool]] = []
        self.phase = PhaseWatch(sim)

    def __call__(self) -> bool:
        """One tick has passed; whether either task is fulfilled now."""
        own, other = self._sim.success(), False
        if self._other is not None:
            self._other.watch(self._sim.model, self._sim.data)
            other = bool(self._other.success(self._sim.model, self._sim.data))
        self._own_held = self._own_held + 1 if own else 0
        self._other_held = self._other_held + 1 if other else 0
        if self._tick % _EVERY == 0:
            self._rows.append((self._tick / CONTROL_RATE, self._sim.state(), own))
        self._tick += 1
        return own or other

    @property
    def success(self) -> bool:
        """Whether the scene's own task is done for good."""
        return self._own_held >= self._needed

    @property
    def followed(self) -> bool | None:
        """Whether the policy's instruction is done for good; None: this scene lacks its objects."""
        if self._instructions.instruction == self._instructions.scene or self._same_meaning():
            return self.success
        return None if self._other is None else self._other_held >= self._needed

    def _same_meaning(self) -> bool:
        return (
            self._sim.task.language.meaning_of(self._instructions.instruction)
            == self._sim.task.meaning
        )

    def trace(self) -> Trace:
        """States at 25 Hz, for videos."""
        times, states, success = zip(*self._rows, strict=True)
        info = TraceInfo(self._sim.task.name, self._instructions.scene, self._sim.seed)
        return Trace(info, np.array(times), np.stack(states), np.array(success))


def other_task(sim: BimanualSim, instructions: Instructions) -> Task | None:
    """The task of the policy's instruction, where it is another and this scene has its objects."""
    found = task_of(instructions.instruction)
    if found is None or (found[0] == sim.task.name and found[1] == sim.task.meaning):
        return None
    task = make_task(found[0])
    task.begin(found[1])
    try:
        task.watch(sim.model, sim.data)
        task.success(sim.model, sim.data)
    except KeyError:  # MuJoCo's answer for a name that the scene does not have
        return None
    return task


def judge_trace(
    trace: Trace, instruction: str, settle_s: float = 0.5
) -> tuple[EpisodeWatch, list[int]]:
    """Judge recorded states, e.g. of ``sim_node``, as if they were seen now.

    Returns:
        The watch at the end, and the phase at each of the trace's times.
    """
    sim = BimanualSim(trace.info.task)
    sim.reset(trace.info.seed, trace.info.instruction)
    rate = (len(trace.times) - 1) / max(float(trace.times[-1] - trace.times[0]), 1e-9)
    watch = EpisodeWatch(
        sim, Instructions(sim.instruction, instruction), settle_s * rate / CONTROL_RATE
    )
    phases = []
    for state in trace.states:
        sim.set_state(state)
        sim.task.watch(sim.model, sim.data)
        watch()
        phases.append(watch.phase())
    return watch, phases


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
