# SPDX-License-Identifier: Apache-2.0
"""One task of LIBERO; pictures are taken when they are asked for, which is a tenth of the cost of always.

State (8,) float64: position 3 in m, axis-angle 3 in rad, gripper fingers 2 in m. Action (7,): increments
-1 ... 1 of position (5 cm) and rotation (0.5 rad), gripper (-1 open, 1 closed), at 20 Hz.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from libero.libero import benchmark, get_libero_path
from libero.libero.envs import OffScreenRenderEnv
from numpy.typing import NDArray

from adamoe_ros.sim.libero import CAMERAS

Vector = NDArray[np.float64]
IDLE = np.array([0.0] * 6 + [-1.0])  # openpi's: things fall on the table first


class LiberoWorld:
    """A task.

    Args:
        suite: e.g. ``libero_object``.
        size: px, height and width of the pictures.

    Attributes:
        env: LIBERO's environment. steps: since ``begin``.
    """

    def __init__(self, suite: str, task: int, size: int = 256) -> None:
        tasks = benchmark.get_benchmark_dict()[suite]()
        found = tasks.get_task(task)
        self.sentence, self._size = str(found.language), size
        self._initial = np.asarray(tasks.get_task_init_states(task))
        path = os.path.join(get_libero_path("bddl_files"), found.problem_folder, found.bddl_file)
        self.env = OffScreenRenderEnv(
            bddl_file_name=path, use_camera_obs=False, camera_heights=size, camera_widths=size
        )
        self.steps = 0

    def begin(self, seed: int, initial: int | None = None, idle: int = 10) -> dict[str, Any]:
        """Set the scene up and wait.

        Args:
            seed: of what the initial state does not hold (fixtures); without one, of everything.
            initial: number of LIBERO's initial state.
            idle: steps until things lie still.
        """
        self.env.seed(seed)
        self.env.reset()
        if initial is not None:
            self.env.set_init_state(self._initial[initial])
        self.steps = 0
        for _ in range(idle):
            self.env.step(IDLE)
        return self.look()

    def step(self, actions: NDArray[np.floating[Any]], pictures: bool = True) -> dict[str, Any]:
        """Execute (N, 7) rows, ending at success.

        Returns: what ``look`` returns, with ``done``.
        """
        done = False
        for row in actions:
            done = self.act(row)
            if done:
                break
        return {**self.look(pictures and not done), "done": done}

    def act(self, action: NDArray[np.floating[Any]]) -> bool:
        """One row; LIBERO's judgement."""
        self.env.step(np.asarray(action, np.float64).tolist())
        self.steps += 1
        return bool(self.env.check_success())

    def look(self, pictures: bool = True) -> dict[str, Any]:
        """``state``, ``steps`` and, of each camera, a (size, size, 3) picture turned as in training."""
        shown = {name: self._picture(camera) for name, camera in CAMERAS.items() if pictures}
        return {"state": self.state(), "steps": self.steps, "pictures": shown}

    def _picture(self, camera: str) -> NDArray[np.uint8]:
        raw = self.env.sim.render(width=self._size, height=self._size, camera_name=camera)
        return np.ascontiguousarray(raw[::-1, ::-1])

    def state(self) -> Vector:
        """(8,), see above."""
        seen = self.env.env._get_observations()
        turn = axis_angle(seen["robot0_eef_quat"])
        return np.concatenate([seen["robot0_eef_pos"], turn, seen["robot0_gripper_qpos"]])

    @property
    def initial_states(self) -> int:
        """How many LIBERO has."""
        return len(self._initial)

    def snapshot(self) -> Vector:
        """The simulator's state, for ``show``."""
        return np.asarray(self.env.get_sim_state())

    def show(self, snapshot: Vector) -> dict[str, NDArray[np.uint8]]:
        """Pictures of a moment before."""
        self.env.set_state(snapshot)
        self.env.sim.forward()
        return dict(self.look()["pictures"])

    def same_pictures(self, seed: int, initial: int) -> dict[str, bool]:
        """Whether ``look`` gives what LIBERO's own observation has, of each camera."""
        begin = self.begin(seed, initial)
        path, size = self.env.env.bddl_file_name, self._size
        other = OffScreenRenderEnv(bddl_file_name=path, camera_heights=size, camera_widths=size)
        try:
            other.seed(seed)
            other.reset()
            seen = other.set_init_state(self._initial[initial])
            for _ in range(10):
                seen = other.step(IDLE)[0]
            return {
                name: bool(
                    np.array_equal(seen[f"{camera}_image"][::-1, ::-1], begin["pictures"][name])
                )
                for name, camera in CAMERAS.items()
            }
        finally:
            other.close()

    def close(self) -> None:
        """Give the GL context back."""
        self.env.close()


def axis_angle(quaternion: Vector) -> Vector:
    """(3,) rad of (x, y, z, w), angle 0 ... 2 pi, as robosuite and openpi have it."""
    w = float(np.clip(quaternion[3], -1.0, 1.0))
    length = np.sqrt(1.0 - w * w)
    if length < 1e-9:
        return np.zeros(3)
    return np.asarray(quaternion[:3] * 2.0 * np.arccos(w) / length, np.float64)
