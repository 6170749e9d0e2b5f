# SPDX-License-Identifier: Apache-2.0
"""What a task is: objects, their random placement, sentence, judgement, and an expert's plan.

May import: mujoco, numpy.
"""

from __future__ import annotations

from typing import Any, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.robot import DualArm

Vector = NDArray[np.float64]


class Task(Protocol):
    """One task of the suite.

    Attributes:
        name: in the registry.
        instructions: sentences it is known by; the first one is the usual one.
        goals: number of 3-D points an expert's hands go to.
    """

    name: str
    instructions: tuple[str, ...]
    goals: int

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """Put the task's bodies into the scene."""

    def place(self, model: mujoco.MjModel, data: Any, rng: np.random.Generator) -> None:
        """Random start positions."""

    def goal_points(self, model: mujoco.MjModel, data: Any) -> Vector:
        """(3 * goals,) where the hands have to go, m in the world; training's auxiliary target."""

    def success(self, model: mujoco.MjModel, data: Any) -> bool:
        """Judgement of the present state."""

    def plan(self, model: mujoco.MjModel, data: Any, robot: DualArm) -> Vector:
        """(T, 14) targets at 50 Hz of the scripted expert from the home pose."""
