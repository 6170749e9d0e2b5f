# SPDX-License-Identifier: Apache-2.0
"""Command vectors split by topic, type and name."""

from __future__ import annotations

import numpy as np
import pytest
from streams_support import robot

from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.streams.commands import CommandBuilder

POSITIONS, VELOCITIES = np.arange(1.0, 7.0), np.arange(1.0, 7.0) / 10


def test_each_topic_gets_its_own_columns_names_and_fields() -> None:
    left, hand, right = CommandBuilder(robot()).build(POSITIONS, VELOCITIES)
    assert (left.topic, left.type, left.names) == (
        "left/trajectory",
        "joint_trajectory",
        ("a", "b"),
    )
    assert left.positions == [1, 2] and left.velocities == [0.1, 0.2]
    assert left.time_from_start_s == pytest.approx(2 / 50)
    assert (hand.topic, hand.type, hand.names) == (
        "left/hand/commands",
        "float64_multi_array",
        ("finger",),
    )
    assert hand.positions == [3] and hand.velocities == [] and hand.time_from_start_s == 0
    assert (right.topic, right.type, right.names) == (
        "right/commands",
        "joint_state",
        ("a", "b", "g"),
    )
    assert right.positions == [4, 5, 6] and right.velocities == []


def test_values_are_plain_floats() -> None:
    for command in CommandBuilder(robot()).build(POSITIONS, VELOCITIES):
        assert all(type(value) is float for value in command.positions + command.velocities)


def test_trajectory_time_may_be_set() -> None:
    assert CommandBuilder(robot(), 0.1).build(POSITIONS, VELOCITIES)[0].time_from_start_s == 0.1


def test_another_width_is_our_bug() -> None:
    with pytest.raises(ValueError, match="command of 6 joints"):
        CommandBuilder(robot()).build(POSITIONS[:5], VELOCITIES)


@pytest.mark.parametrize("path", sorted(robots_dir().glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_robot_gets_every_joint_exactly_once(path: object) -> None:
    profile = load_profile(path)  # type: ignore[arg-type]
    width = len(profile.joint_ids)
    commands = CommandBuilder(profile).build(np.arange(float(width)), np.zeros(width))
    assert sorted(value for command in commands for value in command.positions) == list(
        range(width)
    )
    for command in commands:
        assert len(command.names) == len(command.positions)
        if "agilex" in path.stem and "gazebo" not in path.stem and "isaac" not in path.stem:  # type: ignore[attr-defined]
            assert command.velocities == []  # percent there


def test_interbotix_gripper_has_a_topic_of_its_own() -> None:
    profile = load_profile(robots_dir() / "interbotix_aloha.yaml")
    commands = CommandBuilder(profile).build(np.arange(14.0), np.zeros(14))
    assert [len(command.names) for command in commands] == [6, 1, 6, 1]
    assert commands[1].names == ("gripper",) and commands[1].positions == [6.0]
