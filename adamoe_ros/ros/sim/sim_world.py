# SPDX-License-Identifier: Apache-2.0
"""The embedded simulator as ``SimLoop`` drives it: one episode after another, pictures apart.

Physics and pictures have a state of their own each, so that rendering needs no lock.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.data.sim_trace import TraceInfo
from adamoe_ros.sim.bimanual import CONTROL_RATE, TIMESTEP, BimanualSim
from adamoe_ros.sim.demonstrations import rejoined
from adamoe_ros.sim.render import CameraRenderer
from adamoe_ros.sim.robot import HOME

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Snapshot:
    """A moment: the simulation it belongs to (a new task is a new one) and its state."""

    sim: BimanualSim
    state: Vector


class SimWorld:
    """A ``sim_loop.World``.

    Args:
        task, instruction, seed: of the first episode; an empty sentence is the task's own.

    Raises:
        ContractError: no such task, or the sentence does not belong to it.

    Attributes:
        targets: (14,) what the arms are told, in the driver's units; written in place.
        control_rate: Hz at which joints are reported.
    """

    control_rate = CONTROL_RATE

    def __init__(self, task: str, instruction: str, seed: int) -> None:
        self._sim = BimanualSim(task, instruction or None)
        self._sentence = instruction
        self._left_over = 0.0  # s that were not a whole physics step
        self._renderer: CameraRenderer | None = None
        self._pictured: mujoco.MjModel | None = None
        self._scene: mujoco.MjData | None = None
        self._sim.reset(seed)
        self.targets = HOME.copy()

    @property
    def task(self) -> str:
        """Registry name."""
        return self._sim.task.name

    @property
    def instruction(self) -> str:
        """Sentence of the episode."""
        return self._sim.instruction

    @property
    def seed(self) -> int:
        """Of the episode."""
        return self._sim.seed

    def episode(self) -> TraceInfo:
        """What sets this episode up."""
        return TraceInfo(self.task, self.instruction, self.seed)

    def reset(self, task: str, instruction: str, seed: int) -> None:
        """Begin another episode with the arms at home.

        Raises:
            ContractError: as at the beginning; the running episode goes on then.
        """
        if task != self.task or instruction != self._sentence:
            self._sim = BimanualSim(task, instruction or None)
            self._sentence = instruction
        self._sim.reset(seed)
        self.targets[:] = HOME
        self._left_over = 0.0

    def ask(self, instruction: str) -> None:
        """Another sentence from now on, in the same scene.

        Raises:
            ContractError: the sentence is none of the task's; nothing changes.
        """
        self._sim.ask(instruction)

    def plan(self) -> Vector:
        """(T, 14) the expert's targets from the present targets and scene on, one a control period."""
        return rejoined(self._sim.plan(), self.targets)

    def measured(self) -> tuple[Vector, Vector]:
        """(14,) positions and (14,) velocities."""
        return self._sim.measured()

    def state(self) -> Vector:
        """(N,) generalised positions."""
        return self._sim.state()

    def judge(self) -> bool:
        """See ``World``."""
        return self._sim.success()

    def advance(self, seconds: float) -> None:
        """See ``World``."""
        self._sim.set_targets(self.targets)
        steps = round((seconds + self._left_over) / TIMESTEP)
        self._left_over += seconds - steps * TIMESTEP
        self._sim.advance(steps)

    def snapshot(self) -> Snapshot:
        """See ``World``."""
        return Snapshot(self._sim, self._sim.state())

    def take_pictures(self, snapshot: Snapshot) -> dict[str, NDArray[np.uint8]]:
        """Camera slot -> picture; see ``World``."""
        model = snapshot.sim.model
        if self._renderer is None or model is not self._pictured:
            self.close_renderer()
            self._renderer, self._scene = CameraRenderer(model), mujoco.MjData(model)
            self._pictured = model
        assert self._scene is not None
        self._scene.qpos[:] = snapshot.state
        mujoco.mj_forward(model, self._scene)
        return self._renderer.slots(self._scene)

    def open_renderer(self) -> None:
        """See ``World``: a machine without OpenGL says so now, not at the first picture."""
        self.take_pictures(self.snapshot())

    def close_renderer(self) -> None:
        """See ``World``."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = self._pictured = self._scene = None
