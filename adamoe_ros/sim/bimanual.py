# SPDX-License-Identifier: Apache-2.0
"""The simulated robot with one task: set targets, advance, measure, judge, copy the state.

Vectors are (14,) in the order and units of config/robots/aloha_sim.yaml.
"""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.sim.randomisation import DomainRandomisation, RandomisationSettings
from adamoe_ros.sim.robot import HOME, DualArm
from adamoe_ros.sim.scene import base_spec
from adamoe_ros.sim.tasks import make_task

Vector = NDArray[np.float64]
TIMESTEP = 0.002  # s
CONTROL_RATE = 50.0  # Hz
SUBSTEPS = round(1 / CONTROL_RATE / TIMESTEP)


class BimanualSim:
    """Two arms and the objects of a task.

    Args:
        task: name in the registry.
        instruction: sentence of every episode; None: drawn from the episode's seed.
        randomisation: of lights and cameras; None: none.

    Attributes:
        instruction: sentence of the present episode.
        targets: (14,) the targets of the actuators; written by ``set_targets``.
        model, data: MuJoCo's own.
    """

    def __init__(
        self,
        task: str = "lift_bar",
        instruction: str | None = None,
        randomisation: RandomisationSettings | None = None,
    ) -> None:
        self.task = make_task(task)
        self._given = instruction or None
        self.instruction = instruction or self.task.instructions[0]
        self._begin(self.instruction)
        spec = base_spec()
        self.task.add_objects(spec)
        self.model = spec.compile()
        self.model.opt.timestep = TIMESTEP
        self.data = mujoco.MjData(self.model)
        self.robot = DualArm(self.model)
        self._limits = self.robot.limits()
        self._randomisation = DomainRandomisation(
            self.model, randomisation or RandomisationSettings()
        )
        self.targets = HOME.copy()
        self.seed = -1

    def reset(self, seed: int, instruction: str | None = None) -> None:
        """A new episode; everything follows from the seed, the arms are at home.

        Args:
            instruction: sentence of this episode; None: the one given at the start, or else the
                usual sentence of a meaning drawn from the seed. The scene is the same either way.

        Raises:
            ContractError: the sentence is none of the task's; the episode before goes on.
        """
        self._begin(instruction or self._given or self._drawn(seed))
        self.seed = seed
        mujoco.mj_resetData(self.model, self.data)
        self.robot.place(self.data, HOME)
        self.task.place(self.model, self.data, np.random.default_rng(seed))
        self._randomisation.draw(np.random.default_rng((seed, 3)))
        self.set_targets(HOME)
        self.advance(SUBSTEPS)  # objects touch the table, forces settle

    def ask(self, instruction: str) -> None:
        """Another sentence from now on, in the same scene; the judgement's memory begins anew.

        Raises:
            ContractError: the sentence is none of the task's; nothing changes.
        """
        self._begin(instruction)

    def _drawn(self, seed: int) -> str:
        meanings = self.task.language.meanings
        drawn = int(np.random.default_rng((seed, 2)).integers(len(meanings)))
        return self.task.language.sentences(meanings[drawn])[0]

    def _begin(self, instruction: str) -> None:
        meaning = self.task.language.meaning_of(instruction)
        if meaning is None:
            usual = " | ".join(self.task.language.phrasings)
            raise ContractError(
                problem(f"instruction of {self.task.name}", usual, repr(instruction), "choose one")
            )
        self.task.begin(meaning)
        self.instruction = instruction

    def phrasings(self, unseen: bool = False) -> tuple[str, ...]:
        """Every way to say what the present episode asks for, the usual one first."""
        return self.task.language.sentences(self.task.meaning, unseen)

    def set_targets(self, targets: Vector) -> None:
        """Take (14,) targets, clipped to the joints' limits; held until the next ones."""
        self.targets = np.clip(targets, self._limits[:, 0], self._limits[:, 1])
        self.robot.command(self.data, self.targets)

    def advance(self, substeps: int = SUBSTEPS) -> None:
        """Physics steps of 2 ms."""
        mujoco.mj_step(self.model, self.data, substeps)
        self.task.watch(self.model, self.data)

    def measured(self) -> tuple[Vector, Vector]:
        """(14,) positions and (14,) velocities."""
        return self.robot.measured(self.data)

    def goal_points(self) -> Vector:
        """The task's auxiliary target, m; training data only, never for a policy."""
        mujoco.mj_kinematics(self.model, self.data)
        return self.task.goal_points(self.model, self.data)

    def success(self) -> bool:
        """Judgement of the task, now."""
        return self.task.success(self.model, self.data)

    def plan(self) -> Vector:
        """(T, 14) targets of the scripted expert, from the present state."""
        mujoco.mj_kinematics(self.model, self.data)
        return self.task.plan(self.model, self.data, self.robot)

    def state(self) -> Vector:
        """(N,) copy of every generalised position, for pictures and replay."""
        return np.array(self.data.qpos)

    def set_state(self, state: Vector) -> None:
        """Put back what ``state`` gave; velocities 0."""
        self.data.qpos[:] = state
        self.data.qvel[:] = 0
        mujoco.mj_forward(self.model, self.data)
