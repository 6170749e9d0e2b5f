# SPDX-License-Identifier: Apache-2.0
"""Domain randomisation: random lights and slightly misplaced cameras, so that a policy learns not to rely on either."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from adamoe_ros.sim.scene import CAMERAS


@dataclass(frozen=True)
class RandomisationSettings:
    """What is random from episode to episode; 0 switches one off.

    Attributes:
        light: brightness of every lamp within 1 +- this factor, and their place within this many m.
        camera_shift: cameras' places, +- m each way.
        camera_turn: cameras' directions, +- rad about each axis.
    """

    light: float = 0.0
    camera_shift: float = 0.0
    camera_turn: float = 0.0


VARIED = RandomisationSettings(
    light=0.3, camera_shift=0.008, camera_turn=0.03
)  # what training may ask for


class DomainRandomisation:
    """Changes a model's lights and cameras, always starting from how it was compiled."""

    def __init__(self, model: mujoco.MjModel, settings: RandomisationSettings) -> None:
        self._model, self._settings = model, settings
        self._cameras = [model.camera(name).id for name in CAMERAS.values()]
        self._lamps = (model.light_diffuse.copy(), model.light_pos.copy(), model.light_dir.copy())
        self._headlight = np.array(model.vis.headlight.ambient)
        if settings.camera_shift or settings.camera_turn:
            self._free_cameras()
        self._places, self._turns = model.cam_pos.copy(), model.cam_quat.copy()

    def _free_cameras(self) -> None:
        """Keep the direction of cameras that follow a target: from straight above, as cam_high
        sees it, the smallest shift would spin the picture."""
        data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, data)
        for camera in self._cameras:
            if self._model.cam_mode[camera] != mujoco.mjtCamLight.mjCAMLIGHT_FIXED:
                mujoco.mju_mat2Quat(self._model.cam_quat[camera], data.cam_xmat[camera])
                self._model.cam_mode[camera] = mujoco.mjtCamLight.mjCAMLIGHT_FIXED

    def draw(self, rng: np.random.Generator) -> None:
        """New lights and camera poses."""
        if self._settings.light:
            self._draw_lights(rng, self._settings.light)
        for camera in self._cameras:
            shift = rng.uniform(-1, 1, 3) * self._settings.camera_shift
            turn = rng.uniform(-1, 1, 3) * self._settings.camera_turn
            self._move(camera, shift, turn)

    def _draw_lights(self, rng: np.random.Generator, size: float) -> None:
        model = self._model
        diffuse, place, direction = self._lamps
        model.light_diffuse[:] = diffuse * rng.uniform(1 - size, 1 + size, (len(diffuse), 1))
        model.light_pos[:] = place + rng.uniform(-size, size, place.shape)
        tilted = direction + rng.uniform(-size, size, direction.shape)
        model.light_dir[:] = tilted / np.linalg.norm(tilted, axis=1, keepdims=True)
        model.vis.headlight.ambient[:] = self._headlight * rng.uniform(1 - size, 1 + size)

    def _move(self, camera: int, shift: np.ndarray, turn: np.ndarray) -> None:
        if not shift.any() and not turn.any():
            return
        model = self._model
        model.cam_pos[camera] = self._places[camera] + shift
        quaternion, rotation = np.zeros(4), np.zeros(4)
        angle = float(np.linalg.norm(turn))
        mujoco.mju_axisAngle2Quat(rotation, turn / max(angle, 1e-12), angle)
        mujoco.mju_mulQuat(quaternion, self._turns[camera], rotation)
        model.cam_quat[camera] = quaternion
