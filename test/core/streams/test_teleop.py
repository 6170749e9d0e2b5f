# SPDX-License-Identifier: Apache-2.0
"""Leader arms and dead-man switches as messages; which of a profile's ``teleop`` are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from control_support import SECOND, robot

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile import Deadman, RobotProfile
from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.streams.teleop import DEADMEN, LeaderReader, deadman_held

NOW = 100 * SECOND
DEADMAN = {"topic": "deadman"}


def joints(names: list[str], values: list[float], stamp_ns: int = NOW) -> Any:
    stamp = SimpleNamespace(sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
    header = SimpleNamespace(stamp=stamp)
    return SimpleNamespace(header=header, name=names, position=values)


def led(**arms: dict[str, Any]) -> RobotProfile:
    return robot(teleop={"arms": arms, "deadman": DEADMAN})


def test_by_name_with_other_names_and_grippers_of_their_own() -> None:
    leader = {"joints": ["j1", "j2", "trigger"], "gripper": {"closed": 0.9, "open": -0.1}}
    reader = LeaderReader(led(right={"topic": "leader", **leader}))
    message = joints(["trigger", "other", "j2", "j1"], [0.4, 9.0, 0.7, -0.3])
    sample = reader.push("leader", message, NOW)
    assert sample is not None and sample.valid_until_ns == NOW + SECOND // 5
    # half open; the robot's gripper is commanded from 1 (closed) to 0
    np.testing.assert_allclose(sample.positions[3:], [-0.3, 0.7, 0.5])
    assert not reader.silent(NOW) and "right/b" in reader.silent(NOW + SECOND)


def test_arms_in_parts_on_one_topic_are_joined_with_the_oldest_stamp() -> None:
    left = {"topic": "leader", "joints": ["la", "lb", "lg"]}
    reader = LeaderReader(led(left=left, right={"topic": "leader"}))
    assert len(reader.topics) == 1
    assert reader.push("leader", joints(["a", "b", "g"], [1.0, 1.0, 0.0]), NOW) is None
    later = NOW + SECOND // 10
    sample = reader.push("leader", joints(["la", "lb", "lg"], [0.0, 0.5, 1.0], later), later)
    assert sample is not None and sample.stamp_ns == NOW
    assert sample.valid_until_ns == NOW + SECOND // 5


def test_commands_of_a_teleop_node_by_a_codec() -> None:
    reader = LeaderReader(led(left={"topic": "wanted", "type": "float64_multi_array"}))
    sample = reader.push("wanted", SimpleNamespace(data=[0.1, 0.2, 0.3]), NOW)
    assert sample is not None
    np.testing.assert_array_equal(sample.positions[:3], [0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            joints(["a", "b", "g"], [0.0, np.nan, 0.0]),
            "leader on leader: expected finite positions",
        ),
        (joints(["a", "b"], [0.0, 0.0, 0.0]), "leader on leader: expected 2 positions"),
        (joints(["a", "a", "g"], [0.0, 0.0, 0.0]), "each joint once"),
        (joints(["a", "b", "g"], [0.0] * 3, NOW - 60 * SECOND), "stamps are 60.0 s behind"),
        (SimpleNamespace(data=[0.0]), "leader on leader: "),
    ],
)
def test_what_does_not_fit_is_one_line_and_what_was_heard_stays(message: Any, text: str) -> None:
    reader = LeaderReader(led(left={"topic": "leader"}))
    good = reader.push("leader", joints(["a", "b", "g"], [0.1, 0.2, 0.3]), NOW)
    with pytest.raises(ContractError, match=text) as refused:
        reader.push("leader", message, NOW)
    assert len(refused.value.problems) == 1
    again = reader.push("leader", joints(["g"], [0.3]), NOW)
    assert good is not None and again is not None
    np.testing.assert_array_equal(again.positions, good.positions)


def test_a_stamp_from_the_future_is_not_valid_for_longer() -> None:
    reader = LeaderReader(led(left={"topic": "leader"}))
    sample = reader.push("leader", joints(["a", "b", "g"], [0.0] * 3, NOW + SECOND), NOW)
    assert sample is not None and sample.valid_until_ns == NOW + SECOND // 5


def test_every_kind_of_dead_man() -> None:
    buttons = [0, 1, 2]
    said = {"bool": SimpleNamespace(data=True), "joy": SimpleNamespace(buttons=buttons)}
    assert set(said) == set(DEADMEN)
    for kind, message in said.items():
        assert deadman_held(Deadman(topic="d", type=kind, button=1), message) is True
    assert not deadman_held(Deadman(topic="d"), SimpleNamespace(data=False))
    for button in (0, 2, 3, 63):  # let go, no button's value, not there
        assert not deadman_held(Deadman(topic="d", type="joy", button=button), said["joy"])


@pytest.mark.parametrize(
    ("teleop", "text"),
    [
        ({"arms": {}}, "teleop.arms: "),
        ({"arms": {"left": {"topic": "l"}}, "deadman": None}, "teleop.deadman"),
        ({"arms": {"left": {"topic": "l", "joints": ["a", "b"]}}}, "left.joints with 7 names"),
        ({"arms": {"left": {"topic": "l", "joints": ["a"] * 7}}}, "left.joints with 7 names"),
        ({"arms": {"left": {"topic": "l", "joints": [*"abcdefgg"]}}}, "left.joints with 7 names"),
        ({"arms": {"left": {"topic": "l"}, "right": {"topic": "l"}}}, "leaders that share l"),
        ({"arms": {"left": {"topic": "l", "timeout": 1.5}}}, "less than or equal to 1"),
        ({"arms": {"left": {"topic": "l", "timeout": 0}}}, "greater than 0"),
        ({"arms": {"left": {"topic": "l", "timeout": float("nan")}}}, "timeout"),
        ({"arms": {"left": {"topic": "l", "gripper": {"closed": 1, "open": 1}}}}, "to differ"),
        ({"arms": {"left": {"topic": "follower_left/joint_commands"}}}, "topics of their own"),
        ({"arms": {"left": {"topic": "follower_left/joint_states"}}}, "topics of their own"),
        ({"arms": {"left": {"topic": "deadman"}}}, "a topic of its own for teleop.deadman"),
        ({"deadman": {"topic": "d", "type": "joy", "button": 64}}, "less than or equal to 63"),
        ({"deadman": {"topic": "d", "type": "pedal"}}, "'bool' or 'joy'"),
        ({"deadman": {"topic": "d", "buton": 3}}, "did you mean 'button'"),
    ],
)
def test_a_profile_that_does_not_fit_is_refused(
    tmp_path: Any, teleop: dict[str, Any], text: str
) -> None:
    document = yaml.safe_load((robots_dir() / "aloha_sim.yaml").read_text())
    document["teleop"] = {"arms": {"left": {"topic": "l"}}, "deadman": DEADMAN} | teleop
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ContractError) as refused:
        load_profile(path)
    lines = [line for line in refused.value.problems if text in line]
    assert lines and all("\n" not in line for line in refused.value.problems), refused.value


def test_an_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(ContractError, match=r"type of command topic l: expected one of"):
        LeaderReader(led(left={"topic": "l", "type": "telepathy"})).push("l", None, NOW)
