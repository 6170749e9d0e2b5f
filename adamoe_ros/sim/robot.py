# SPDX-License-Identifier: Apache-2.0
"""Joints of the two simulated arms in the profile's order: six joints and a gripper, left first.

Values are rad, and m of the left finger (0.021 closed, 0.057 open).
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.scene import SIDES

Vector = NDArray[np.float64]
ARM_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
OPEN, CLOSED = 0.057, 0.021
HOME_ARM = (0.0, -0.96, 1.16, 0.0, -0.3, 0.0)
HOME: Vector = np.array([*HOME_ARM, OPEN] * 2)
TIP = np.array([0.13, 0.0, 0.0])  # grasp centre between the finger tips, in the gripper's frame


class DualArm:
    """Index arithmetic of one compiled scene.

    Attributes:
        qpos, qvel: (14,) addresses of the joints.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        names = [f"vx300s_{s}/{j}" for s in SIDES for j in (*ARM_JOINTS, "left_finger")]
        joints = [model.joint(name) for name in names]
        self.qpos = np.array([int(joint.qposadr[0]) for joint in joints])
        self.qvel = np.array([int(joint.dofadr[0]) for joint in joints])
        self._right_fingers = np.array(
            [int(model.joint(f"vx300s_{side}/right_finger").qposadr[0]) for side in SIDES]
        )
        self.gripper_bodies = tuple(model.body(f"vx300s_{s}/gripper_link").id for s in SIDES)

    def place(self, data: Any, positions: Vector) -> None:
        """Set (14,) positions without motion."""
        data.qpos[self.qpos] = positions
        data.qpos[self._right_fingers] = -positions[[6, 13]]
        self.command(data, positions)

    @staticmethod
    def command(data: Any, targets: Vector) -> None:
        """Give (14,) targets to the position actuators (eight per arm: two fingers)."""
        for side in range(2):
            arm = targets[7 * side : 7 * side + 7]
            data.ctrl[8 * side : 8 * side + 7] = arm
            data.ctrl[8 * side + 7] = -arm[6]

    def measured(self, data: Any) -> tuple[Vector, Vector]:
        """(14,) positions and (14,) velocities."""
        return data.qpos[self.qpos].copy(), data.qvel[self.qvel].copy()

    def limits(self) -> Vector:
        """(14, 2) position limits of the joints."""
        joints = self._model.dof_jntid[self.qvel]
        return np.asarray(self._model.jnt_range[joints], dtype=np.float64)
