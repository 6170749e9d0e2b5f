# SPDX-License-Identifier: Apache-2.0
"""A profile's limits as vectors in command units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.joint_map import Affine, state_to_command
from adamoe_ros.contract.profile import RobotProfile

Vector = NDArray[np.float64]
UNLIMITED = np.inf


@dataclass(frozen=True)
class JointLimits:
    """Bounds per joint, (J,) float64, driver's command units (rad, or the gripper's).

    Attributes:
        low, high: position.
        velocity: largest magnitude, unit/s.
        acceleration: largest magnitude, unit/s^2.
        tracking: command to measured pose.
        start: first row of a motion to measured pose.
        hard: how far beyond a position limit a chunk may reach before it is refused whole.
        gripper: (J,) bool.
    """

    low: Vector
    high: Vector
    velocity: Vector
    acceleration: Vector
    tracking: Vector
    start: Vector
    hard: Vector
    gripper: NDArray[np.bool_]

    @property
    def joints(self) -> int:
        """Number of joints J."""
        return len(self.low)


def joint_limits(profile: RobotProfile) -> JointLimits:
    """Limits of every joint in the order of ``profile.joint_ids``.

    Grippers are converted from state to command units. Their distance to the measured pose is
    limited only where the profile says so: a closed gripper that holds something never arrives.
    """
    to_command = state_to_command(profile)
    limits = [limit for _, arm in profile.ordered_arms for limit in arm.limits]
    ends = np.array([limit.position for limit in limits]).T
    ends = np.sort(np.stack([to_command.apply(ends[0]), to_command.apply(ends[1])]), axis=0)
    gain = np.abs(to_command.gain)
    gripper = gripper_columns(profile)
    gate = profile.gate
    held = UNLIMITED if gate.max_gripper_error is None else gate.max_gripper_error
    span = ends[1] - ends[0]
    return JointLimits(
        low=ends[0],
        high=ends[1],
        velocity=np.array([limit.velocity for limit in limits]) * gain,
        acceleration=np.array([limit.acceleration for limit in limits]) * gain,
        tracking=np.where(gripper, held, gate.max_tracking_error) * gain,
        start=np.where(gripper, held, gate.max_start_distance) * gain,
        hard=np.where(gripper, span, gate.hard_bound),
        gripper=gripper,
    )


def gripper_columns(profile: RobotProfile) -> NDArray[np.bool_]:
    """(J,) True where the joint is a gripper."""
    flags = [
        flag
        for _, arm in profile.ordered_arms
        for flag in [False] * len(arm.joints) + [True] * bool(arm.gripper)
    ]
    return np.array(flags)


def measured_to_command(profile: RobotProfile) -> Affine:
    """Driver's state units -> command units, for comparing the two."""
    return state_to_command(profile)
