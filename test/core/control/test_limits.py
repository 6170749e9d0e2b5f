# SPDX-License-Identifier: Apache-2.0
"""Limits in command units: grippers converted, their distance to the measured pose unlimited."""

from __future__ import annotations

import numpy as np
import pytest
from control_support import HOME, HOME_COMMAND, LIMITS, ROBOT, robot

from adamoe_ros.contract.profile_io import known_profiles, load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.control.gate import Gate
from adamoe_ros.control.limits import joint_limits, measured_to_command


def test_gripper_limits_are_turned_round_and_scaled() -> None:
    """State 0 (closed) .. 0.08 (open) is command 1 .. 0: gain -12.5."""
    assert LIMITS.low[2] == pytest.approx(0.0) and LIMITS.high[2] == pytest.approx(1.0)
    assert LIMITS.velocity[2] == pytest.approx(0.2 * 12.5)
    assert LIMITS.acceleration[2] == pytest.approx(3.0 * 12.5)
    np.testing.assert_allclose(measured_to_command(ROBOT).apply(HOME), HOME_COMMAND)


def test_arm_limits_are_the_profiles() -> None:
    np.testing.assert_array_equal(LIMITS.low[:2], [-1.0, -0.2])
    np.testing.assert_array_equal(LIMITS.tracking[:2], [0.5, 0.5])
    np.testing.assert_array_equal(LIMITS.gripper, [False, False, True] * 2)


def test_gripper_distance_is_limited_only_where_asked() -> None:
    assert np.isinf(LIMITS.tracking[2]) and np.isinf(LIMITS.start[2])
    limits = joint_limits(robot(gate={"max_gripper_error": 0.02}))
    assert limits.tracking[2] == pytest.approx(0.25)


@pytest.mark.parametrize("name", known_profiles(robots_dir()))
def test_every_shipped_robot_can_be_gated_and_moved(name: str) -> None:
    """Home is inside in command units, and the gate goes to the middle of every joint."""
    profile = load_profile(profile_path(name, robots_dir()))
    limits = joint_limits(profile)
    home = np.array([value for _, arm in profile.ordered_arms for value in arm.home])
    pose = measured_to_command(profile).apply(home)
    assert ((pose >= limits.low - 1e-9) & (pose <= limits.high + 1e-9)).all()
    gate = Gate(limits, 1 / profile.command_rate)
    gate.start(pose)
    middle = (limits.low + limits.high) / 2
    for _ in range(int(20 * profile.command_rate)):
        gate.step(middle, np.zeros_like(middle))
    np.testing.assert_allclose(gate.position, middle, atol=1e-9)
