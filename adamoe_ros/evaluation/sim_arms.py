# SPDX-License-Identifier: Apache-2.0
"""The embedded simulator as the robot of a ``ClosedLoop``: driver's units, pictures on demand.

May import: contract, sim, mujoco, numpy.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.render import CameraRenderer

Vector = NDArray[np.float64]


class SimArms:
    """See ``evaluation.closed_loop.Robot``.

    Args:
        sim: with its task; reset before each episode.
        camera: of another of the same task, which is cheaper than one's own; None: one's own.
    """

    def __init__(self, sim: BimanualSim, camera: CameraRenderer | None = None) -> None:
        self.sim = sim
        self.camera = camera or CameraRenderer(sim.model)
        self._shown = mujoco.MjData(sim.model)

    def measured(self) -> Vector:
        """(14,) positions."""
        return self.sim.measured()[0]

    def look(self) -> Vector:
        """Every generalised position."""
        return self.sim.state()

    def pictures(self, moment: Vector) -> Mapping[str, NDArray[np.uint8]]:
        """Camera slot -> (480, 640, 3), as the camera topics have them."""
        self._shown.qpos[:] = moment
        mujoco.mj_forward(self.sim.model, self._shown)
        return self.camera.slots(self._shown)

    def follow(self, command: Vector) -> None:
        """One control period towards (14,) targets."""
        self.sim.set_targets(command)
        self.sim.advance()

    def close(self) -> None:
        """Give the GL context back."""
        self.camera.close()
