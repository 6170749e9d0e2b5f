# SPDX-License-Identifier: Apache-2.0
"""Damped least squares inverse kinematics of one arm."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.robot import TIP, DualArm

Vector = NDArray[np.float64]
_ROTATION_WEIGHT = 0.3  # m per rad: how much turning counts against moving
_DAMPING = 1e-4
_MAX_STEP = 0.15  # rad per iteration


@dataclass(frozen=True)
class GripperPose:
    """Where a gripper should be: (3,) grasp centre, m; (3, 3) rotation, x forward, y across."""

    position: Vector
    rotation: Vector

    def raised(self, height: float) -> GripperPose:
        """The same pose, higher by ``height`` m."""
        return GripperPose(self.position + np.array([0.0, 0.0, height]), self.rotation)


def downward(position: Vector, yaw: float, pitch: float) -> GripperPose:
    """Fingers pointing to ``yaw`` and down by ``pitch`` (rad), opening horizontally."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    across = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    return GripperPose(position, np.stack([forward, across, np.cross(forward, across)], 1))


def solve_arm(
    model: mujoco.MjModel, robot: DualArm, side: int, pose: GripperPose, start: Vector
) -> tuple[Vector, float]:
    """Joints that bring one gripper to a pose.

    Args:
        side: 0 left, 1 right.
        start: (6,) where the search begins; the solution next to it is found.

    Returns:
        (6,) joints, remaining distance in m.
    """
    data = mujoco.MjData(model)
    first = 7 * side
    qpos, qvel = robot.qpos[first : first + 6], robot.qvel[first : first + 6]
    low, high = robot.limits()[first : first + 6].T
    body = robot.gripper_bodies[side]
    data.qpos[qpos] = start
    move, turn = np.zeros((3, model.nv)), np.zeros((3, model.nv))
    missing = np.inf
    for _ in range(300):
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        now = data.xmat[body].reshape(3, 3)
        tip = data.xpos[body] + now @ TIP
        offset = pose.position - tip
        relative = pose.rotation @ now.T
        twist = 0.5 * np.array(
            [
                relative[2, 1] - relative[1, 2],
                relative[0, 2] - relative[2, 0],
                relative[1, 0] - relative[0, 1],
            ]
        )
        missing = float(np.linalg.norm(offset))
        if missing < 5e-4 and np.linalg.norm(twist) < 5e-3:
            break
        mujoco.mj_jac(model, data, move, turn, tip, body)
        jacobian = np.vstack([move[:, qvel], _ROTATION_WEIGHT * turn[:, qvel]])
        error = np.concatenate([offset, _ROTATION_WEIGHT * twist])
        square = jacobian @ jacobian.T + _DAMPING * np.eye(6)
        change = jacobian.T @ np.linalg.solve(square, error)
        data.qpos[qpos] = np.clip(
            data.qpos[qpos] + np.clip(change, -_MAX_STEP, _MAX_STEP), low, high
        )
    return data.qpos[qpos].copy(), missing
