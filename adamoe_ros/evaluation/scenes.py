# SPDX-License-Identifier: Apache-2.0
"""Scenes of one task side by side, and the one camera that takes all their pictures.

A GL context per scene would cost memory and start-up time; but a scene's colours, lights and cameras
are its model's own, so they are lent to the camera's model for each picture.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.render import CameraRenderer
from adamoe_ros.sim.scene import CAMERAS

Vector = NDArray[np.float64]
Pictures = Mapping[str, NDArray[np.uint8]]
_APPEARANCE = (
    "geom_rgba", "mat_rgba", "cam_pos", "cam_quat", "cam_mode",
    "light_diffuse", "light_pos", "light_dir",
)  # fmt: skip
_PICTURE = (480, 640, 3)


class SharedCamera:
    """Takes pictures of any scene of a task."""

    def __init__(self, task: str) -> None:
        self._sim = BimanualSim(task)
        self._camera = CameraRenderer(self._sim.model)

    def pictures(self, sim: BimanualSim, state: Vector) -> Pictures:
        """Camera slot -> (480, 640, 3), as the camera topics have them.

        Args:
            sim: whose appearance it is. state: of ``BimanualSim.state``.
        """
        mine, theirs = self._sim.model, sim.model
        for name in _APPEARANCE:
            getattr(mine, name)[:] = getattr(theirs, name)
        mine.vis.headlight.ambient[:] = theirs.vis.headlight.ambient
        self._sim.set_state(state)
        return self._camera.slots(self._sim.data)

    def close(self) -> None:
        """Give the GL context back."""
        self._camera.close()


class SimulatedArms:
    """See ``evaluation.closed_loop.Robot``.

    Args:
        sim: reset before each episode.
        camera: None: every picture is black.
    """

    def __init__(self, sim: BimanualSim, camera: SharedCamera | None) -> None:
        self.sim, self._camera = sim, camera

    def measured(self) -> Vector:
        """(14,) positions."""
        return self.sim.measured()[0]

    def look(self) -> Vector:
        """Every generalised position."""
        return self.sim.state()

    def pictures(self, moment: Vector) -> Pictures:
        """Camera slot -> (480, 640, 3) of a moment."""
        if self._camera is None:
            return {slot: np.zeros(_PICTURE, np.uint8) for slot in CAMERAS}
        return self._camera.pictures(self.sim, moment)

    def follow(self, command: Vector) -> None:
        """One control period towards (14,) targets."""
        self.sim.set_targets(command)
        self.sim.advance()


class SceneStore:
    """Scenes that are kept from block to block, by task."""

    def __init__(self) -> None:
        self._sims: dict[str, list[BimanualSim]] = {}
        self._cameras: dict[str, SharedCamera] = {}

    def sims(self, task: str, count: int) -> list[BimanualSim]:
        """So many scenes of a task, each to be reset."""
        made = self._sims.setdefault(task, [])
        while len(made) < count:
            made.append(BimanualSim(task))
        return made[:count]

    def camera(self, task: str) -> SharedCamera:
        """The task's camera."""
        if task not in self._cameras:
            self._cameras[task] = SharedCamera(task)
        return self._cameras[task]

    def close(self) -> None:
        """Give every GL context back."""
        for camera in self._cameras.values():
            camera.close()
        self._cameras.clear()
