# SPDX-License-Identifier: Apache-2.0
"""The embedded simulator as a ``Scene``: the checkpoint's units outside, the driver's inside.

May import: contract, sim, numpy.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.joint_map import JointMap
from adamoe_ros.sim.bimanual import CONTROL_RATE, BimanualSim
from adamoe_ros.sim.render import CameraRenderer

Vector = NDArray[np.float64]


class SimScene:
    """See ``evaluation.rollout.Scene``.

    Args:
        sim: with its task.
        joint_map: of the robot profile and the checkpoint.
    """

    rate_hz = CONTROL_RATE

    def __init__(self, sim: BimanualSim, joint_map: JointMap) -> None:
        self.sim, self.joint_map = sim, joint_map
        self._camera = CameraRenderer(sim.model)

    def reset(self, seed: int) -> str:
        """A new episode; returns its sentence."""
        self.sim.reset(seed)
        return self.sim.instruction

    def images(self) -> Mapping[str, NDArray[np.uint8]]:
        """Camera slot -> (480, 640, 3)."""
        return self._camera.slots(self.sim.data)

    def state(self) -> Vector:
        """(14,) measured positions in the checkpoint's units."""
        return self.joint_map.model_from_state(self.sim.measured()[0])

    def advance(self, command: Vector) -> None:
        """One control tick with (14,) targets in the checkpoint's units."""
        self.sim.set_targets(self.joint_map.command_from_model(command))
        self.sim.advance()

    def success(self) -> bool:
        """The task's judgement."""
        return self.sim.success()

    def close(self) -> None:
        """Give the GL context back."""
        self._camera.close()
