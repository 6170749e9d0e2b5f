# SPDX-License-Identifier: Apache-2.0
"""Command vectors as messages and back, by topic, type and name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from streams_support import SECOND, joint_state, robot

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import command_topics
from adamoe_ros.data.to_bag import MessageMaker
from adamoe_ros.streams.command_codecs import CODECS, JointCommand, command_codec
from adamoe_ros.streams.commands import CommandDecoder, CommandEncoder

POSITIONS, VELOCITIES = np.arange(1.0, 7.0), np.arange(1.0, 7.0) / 10
NOW = 100 * SECOND


def encoded(profile: RobotProfile, positions: Any = POSITIONS, time_s: float = 0.0) -> list[Any]:
    encoder = CommandEncoder(profile, time_s)
    velocities = np.asarray(positions) / 10
    make = MessageMaker(encoder.definitions).make
    return encoder.encode(np.asarray(positions), velocities, NOW, make)


def commanded(decoder: CommandDecoder) -> list[float]:
    """What every joint is commanded now, by column; those without a command are left out."""
    values: dict[int, float] = {}
    for motion in decoder.motions:
        values |= dict(zip(motion.columns, motion.at(NOW).tolist(), strict=True))
    return [values[column] for column in sorted(values)]


def test_each_topic_gets_its_own_columns_names_and_fields() -> None:
    left, hand, right = encoded(robot())
    (point,) = left.points
    assert left.joint_names == ["a", "b"] and left.header.stamp.sec == 0
    assert list(point.positions) == [1, 2] and list(point.velocities) == [0.1, 0.2]
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == (0, 40_000_000)
    assert list(hand.data) == [3]
    assert right.name == ["a", "b", "g"] and list(right.position) == [4, 5, 6]
    assert list(right.velocity) == [] and right.header.stamp.sec == 100


def test_trajectory_time_may_be_set() -> None:
    (point,) = encoded(robot(), time_s=0.1)[0].points
    assert point.time_from_start.nanosec == 100_000_000


def test_another_width_is_our_bug() -> None:
    with pytest.raises(ValueError, match="command of 6 joints"):
        encoded(robot(), POSITIONS[:5])


@pytest.mark.parametrize("path", sorted(robots_dir().glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_robot_reads_back_what_it_is_sent(path: Any) -> None:
    profile = load_profile(path)
    values = np.arange(float(len(profile.joint_ids))) / 8  # exact as float32, too
    encoder, decoder = CommandEncoder(profile), CommandDecoder(command_topics(profile))
    for topic, message in zip(encoder.topics, encoded(profile, values), strict=True):
        motion = decoder.push(topic.target.topic, message, NOW)
        assert motion is not None and motion.columns == topic.columns
        if "agilex" in path.stem and "gazebo" not in path.stem and "isaac" not in path.stem:
            assert list(message.velocity) == []  # percent there
    np.testing.assert_array_equal(commanded(decoder), values)


def test_interbotix_gripper_has_a_topic_of_its_own() -> None:
    profile = load_profile(robots_dir() / "interbotix_aloha.yaml")
    messages = encoded(profile, np.arange(14.0))
    assert [np.size(message.cmd) for message in messages] == [6, 1, 6, 1]
    assert messages[1].name == "gripper" and messages[1].cmd == 6.0


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("joints", [1, 3])
def test_a_codec_decodes_what_it_encodes(name: str, joints: int) -> None:
    codec, names = CODECS[name], ("a", "b", "c")[:joints]
    command = JointCommand(names, np.arange(1.0, joints + 1)[None], None, (0.5,))
    message = codec.encode(command, MessageMaker(codec.definitions).make)
    assert message.__msgtype__ == codec.message_type(joints)
    again = codec.decode(message, names)
    assert again.names in ((), names)
    np.testing.assert_array_equal(again.positions, command.positions)


# --- what others send ----------------------------------------------------------------------------


def test_joints_that_are_not_the_profiles_are_left_out_and_named() -> None:
    decoder = CommandDecoder(command_topics(robot()))
    message = joint_state(["lift", "g", "b", "a", "head"], [np.nan, 6, 5, 4, 0.1], NOW)
    motion = decoder.push("right/commands", message, NOW)
    assert motion is not None and sorted(motion.columns) == [3, 4, 5]
    assert dict(zip(motion.columns, motion.at(NOW), strict=True)) == {3: 4.0, 4: 5.0, 5: 6.0}
    assert decoder.others == {"right/commands": ("lift", "head")}
    assert decoder.push("right/commands", joint_state(["lift"], [1.0], NOW), NOW) is None


def test_a_joint_that_a_message_leaves_out_keeps_its_command() -> None:
    decoder = CommandDecoder(command_topics(robot()))
    for topic, message in zip(CommandEncoder(robot()).topics, encoded(robot()), strict=True):
        decoder.push(topic.target.topic, message, NOW)
    decoder.push("right/commands", joint_state(["b"], [9.0], NOW), NOW)
    np.testing.assert_array_equal(commanded(decoder), [1, 2, 3, 4, 9, 6])
    decoder.push("right/commands", joint_state(["a", "b"], [7.0, 8.0], NOW), NOW)
    np.testing.assert_array_equal(commanded(decoder), [1, 2, 3, 7, 8, 6])


@pytest.mark.parametrize(
    ("names", "values", "words"),
    [
        (["a", "b"], [1.0], "expected 2 positions, got 1 positions"),
        (["a", "b", "a"], [1.0, 2.0, 3.0], "each joint once"),
        (["a", "b"], [1.0, np.nan], "expected finite positions"),
    ],
)
def test_bad_commands_are_one_line(names: list[str], values: list[float], words: str) -> None:
    decoder = CommandDecoder(command_topics(robot()))
    with pytest.raises(ContractError, match=words) as caught:
        decoder.push("right/commands", joint_state(names, values, NOW), NOW)
    assert len(caught.value.problems) == 1 and "right/commands" in str(caught.value)
    assert commanded(decoder) == []


def trajectory(points: list[tuple[float, list[float]]], stamp_ns: int = 0) -> Any:
    make = MessageMaker().make
    header = MessageMaker().header(stamp_ns)
    made = []
    for time_s, positions in points:
        sec, nanosec = divmod(round(time_s * 1e9), SECOND)
        duration = make("builtin_interfaces/msg/Duration", sec=sec, nanosec=nanosec)
        point = "trajectory_msgs/msg/JointTrajectoryPoint"
        made.append(make(point, positions=np.array(positions), time_from_start=duration))
    names = ["b", "a"]
    kind = "trajectory_msgs/msg/JointTrajectory"
    return make(kind, header=header, joint_names=names, points=made)


def test_a_trajectory_of_several_points_is_commanded_as_time_goes_on() -> None:
    decoder = CommandDecoder(command_topics(robot()))
    points = [(0.5, [1.0, 10.0]), (1.0, [2.0, 20.0]), (2.0, [4.0, 10.0])]
    motion = decoder.push("left/trajectory", trajectory(points), NOW)
    assert motion is not None and motion.columns == (1, 0) and motion.stamp_ns == NOW
    for after_s, expected in ((0.0, [1, 10]), (0.5, [1, 10]), (0.75, [1.5, 15]), (1.5, [3, 15])):
        np.testing.assert_allclose(motion.at(NOW + round(after_s * SECOND)), expected)
    np.testing.assert_allclose(motion.at(NOW + 60 * SECOND), [4, 10])


def test_a_trajectory_starts_at_its_stamp() -> None:
    message = trajectory([(0.0, [0.0, 0.0]), (1.0, [1.0, 2.0])], NOW + SECOND // 2)
    motion = CommandDecoder(command_topics(robot())).push("left/trajectory", message, NOW)
    assert motion is not None
    np.testing.assert_allclose(motion.at(NOW), [0, 0])
    np.testing.assert_allclose(motion.at(NOW + SECOND), [0.5, 1])


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([], "at least one point"),
        ([(0.1, [1.0, 2.0]), (0.1, [1.0, 2.0])], "rising times"),
        ([(0.1, [1.0, 2.0]), (0.2, [1.0])], "positions for every joint"),
        ([(0.1, [])], "positions for every joint"),
    ],
)
def test_trajectories_that_say_nothing_are_refused(points: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        CommandDecoder(command_topics(robot())).push("left/trajectory", trajectory(points), NOW)


def test_a_message_of_another_type_is_one_line() -> None:
    for topic in ("left/trajectory", "left/hand/commands", "right/commands"):
        with pytest.raises(ContractError, match="check the publisher and the profile's type"):
            CommandDecoder(command_topics(robot())).push(topic, SimpleNamespace(cmd=[1.0]), NOW)


def test_commands_stamped_by_another_clock_are_refused_or_taken_by_arrival() -> None:
    late = joint_state(["a", "b", "g"], [1.0, 2.0, 0.01], NOW - 10_800 * SECOND)
    late.header.stamp.sec = 42
    with pytest.raises(ContractError, match=r"58\.0 s behind their arrival.*stamp: arrival"):
        CommandDecoder(command_topics(robot())).push("right/commands", late, NOW)
    document = robot().model_dump(exclude_unset=True)
    document["arms"]["right"]["command"]["stamp"] = "arrival"
    motion = CommandDecoder(command_topics(RobotProfile.model_validate(document))).push(
        "right/commands", late, NOW
    )
    assert motion is not None and motion.stamp_ns == NOW


# --- codecs of the user's own --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        ("joint_trajectroy", "expected one of joint_state, joint_trajectory, "),
        ("no_such_module:Codec", "No module named"),
        ("math:nothing", "no attribute"),
        ("math:pi", "a float; derive it from CommandCodec"),
        ("collections:OrderedDict", "derive it from CommandCodec"),
    ],
)
def test_a_codec_that_does_not_exist_is_one_line(type_: str, words: str) -> None:
    with pytest.raises(ContractError, match=words) as caught:
        command_codec(type_, "type of command topic x")
    assert len(caught.value.problems) == 1
