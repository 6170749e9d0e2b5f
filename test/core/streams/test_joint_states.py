# SPDX-License-Identifier: Apache-2.0
"""Joint states by name in any order; a missing joint is an error and never 0."""

from __future__ import annotations

import numpy as np
import pytest
from streams_support import MS, SECOND, joint_state, robot

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile import RobotProfile, StateSource
from adamoe_ros.contract.topics import StateTopic
from adamoe_ros.streams.joint_states import JointStateDecoder, JointStateReader


def decoder(match: str = "name") -> JointStateDecoder:
    source = StateSource(topic="arm", match=match)  # type: ignore[arg-type]
    return JointStateDecoder(StateTopic(source, ("a", "b", "g"), (0, 1, 2)))


def test_order_and_extra_names_do_not_matter() -> None:
    decode = decoder().decode
    for names, positions in (
        (["a", "b", "g"], [1.0, 2.0, 3.0]),
        (["x", "g", "b", "a"], [9.0, 3.0, 2.0, 1.0]),
        (["g", "a", "b"], [3.0, 1.0, 2.0]),
    ):
        part = decode(joint_state(names, positions))
        assert part.columns == (0, 1, 2)
        np.testing.assert_array_equal(part.values, [1.0, 2.0, 3.0])


def test_the_order_may_change_between_messages() -> None:
    decode = decoder().decode
    for names, values in ((["a", "b", "g"], [1, 2, 3]), (["g", "b", "a"], [3, 2, 1])):
        part = decode(joint_state(names, [1, 2, 3]))
        np.testing.assert_array_equal(part.values, values)


@pytest.mark.parametrize(
    ("names", "positions", "words"),
    [
        (["a", "b", "g"], [1.0, 2.0], "expected 3 positions, got 2"),
        (["a", "b", "g", "a"], [1.0, 2.0, 3.0, 4.0], "twice a"),
        (["a", "b", "g"], [1.0, np.nan, 3.0], "none of b"),
        (["a", "b", "g"], [np.inf, 1.0, -np.inf], "none of a, g"),
    ],
)
def test_bad_messages_are_one_line(names: list[str], positions: list[float], words: str) -> None:
    with pytest.raises(ContractError) as caught:
        decoder().decode(joint_state(names, positions))
    (line,) = caught.value.problems
    assert line.startswith("joint states on arm: ") and words in line


def test_by_index_ignores_names_and_needs_the_exact_count() -> None:
    decode = decoder("index").decode
    np.testing.assert_array_equal(decode(joint_state(["q", "w", "e"], [1, 2, 3])).values, [1, 2, 3])
    np.testing.assert_array_equal(decode(joint_state([], [1, 2, 3])).values, [1, 2, 3])
    with pytest.raises(ContractError, match="exactly 3 positions"):
        decode(joint_state(["a", "b", "g", "h"], [1, 2, 3, 4]))


def test_reader_joins_topics_into_the_profiles_order() -> None:
    reader = JointStateReader(robot())
    assert [topic.source.topic for topic in reader.topics] == [
        "left/joint_states",
        "left/hand",
        "right/joint_states",
    ]
    now = 5 * SECOND
    assert (
        reader.push("right/joint_states", joint_state(["g", "b", "a"], [6, 5, 4], now), now) is None
    )
    assert reader.push("left/hand", joint_state(["g"], [3], now - 30 * MS), now) is None
    (line,) = reader.problems(now)
    assert (
        line
        == "joint states on left/joint_states: expected a message, got none yet; start the driver"
    )
    sample = reader.push("left/joint_states", joint_state(["b", "a"], [2, 1], now), now)
    assert sample is not None and not reader.problems(now)
    np.testing.assert_array_equal(sample.positions, [1, 2, 3, 4, 5, 6])
    assert sample.stamp_ns == now - 30 * MS
    assert sample.valid_until_ns == now + 100 * MS  # the right arm times out first


def test_a_bad_message_leaves_the_state_before() -> None:
    reader = JointStateReader(robot())
    reader.push("left/joint_states", joint_state(["a", "b"], [1, 2]), SECOND)
    reader.push("left/hand", joint_state(["g"], [3]), SECOND)
    reader.push("right/joint_states", joint_state(["a", "b", "g"], [4, 5, 6]), SECOND)
    with pytest.raises(ContractError):
        reader.push("left/joint_states", joint_state(["a", "b"], [9, np.nan]), SECOND)
    assert reader.sample is not None
    np.testing.assert_array_equal(reader.sample.positions, [1, 2, 3, 4, 5, 6])


def test_an_empty_stamp_is_the_arrival() -> None:
    reader = JointStateReader(robot())
    stamp, _ = reader.decode("left/hand", joint_state(["g"], [3], 0), 7 * SECOND)
    assert stamp == 7 * SECOND


# --- joints in parts -----------------------------------------------------------------------------


def shared(**source: object) -> RobotProfile:
    """Two arms of two joints and a gripper each, everything on one topic."""
    document = robot().model_dump(exclude_unset=True)
    for side, arm in document["arms"].items():
        arm["state"] = {"topic": "joint_states", "timeout": 0.1, **source}
        arm["gripper"].pop("state", None)
        for joint in (*arm["joints"], arm["gripper"]):
            joint["name"] = f"{side}_{joint['name']}"
    return RobotProfile.model_validate(document)


LEFT, RIGHT, HANDS = ["left_a", "left_b"], ["right_b", "right_a"], ["right_g", "left_g"]


def test_parts_of_one_topic_are_merged_by_name() -> None:
    reader, now = JointStateReader(shared()), 5 * SECOND
    assert reader.push("joint_states", joint_state(LEFT, [1, 2], now), now) is None
    assert reader.push("joint_states", joint_state(["wheel"], [9], now), now) is None
    assert reader.push("joint_states", joint_state(RIGHT, [5, 4], now), now) is None
    (line,) = reader.problems(now)
    assert "left/left_g, right/right_g" in line and "right_a" not in line.split(", got")[1]
    sample = reader.push("joint_states", joint_state(HANDS, [6, 3], now - 20 * MS), now)
    assert sample is not None and reader.problems(now) == []
    np.testing.assert_array_equal(sample.positions, [1, 2, 3, 4, 5, 6])
    assert sample.stamp_ns == now - 20 * MS and sample.valid_until_ns == now + 80 * MS


def test_a_part_that_falls_silent_is_named_while_the_others_go_on() -> None:
    reader = JointStateReader(shared())
    for at in range(0, 500, 20):
        now = 5 * SECOND + at * MS
        reader.push("joint_states", joint_state(LEFT, [1, 2], now), now)
        reader.push("joint_states", joint_state(RIGHT, [5, 4], now), now)
        if at < 100:
            reader.push("joint_states", joint_state(HANDS, [6, 3], now), now)
    assert reader.sample is not None and reader.sample.valid_until_ns < now
    (line,) = reader.problems(now)
    assert "fresh stamps of left/left_g, right/right_g" in line and "0.40 s old" in line


def test_joints_of_others_alone_are_named() -> None:
    reader = JointStateReader(shared())
    names = [f"leg_{number}" for number in range(40)]
    reader.push("joint_states", joint_state(names, [0.0] * 40), SECOND)
    (line,) = reader.problems(SECOND)
    assert "leg_0" in line and "and 28 more" in line and "correct the names" in line


def test_a_message_without_positions_says_nothing() -> None:
    """A driver of velocities or efforts on the same topic: all names, no position."""
    reader = JointStateReader(shared())
    for names, values in ((LEFT, [1, 2]), (RIGHT, [5, 4]), (HANDS, [6, 3])):
        reader.push("joint_states", joint_state(names, values), SECOND)
    sample = reader.push("joint_states", joint_state(LEFT + RIGHT, []), SECOND)
    assert sample is not None
    np.testing.assert_array_equal(sample.positions, [1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize("off_s", [-10800.0, 10800.0, 3.0])
def test_a_driver_on_another_clock_is_refused_with_figures(off_s: float) -> None:
    now, stamp = 50_000 * SECOND, round((50_000 + off_s) * SECOND)
    reader = JointStateReader(shared())
    with pytest.raises(ContractError, match=f"{abs(off_s):.1f} s (behind|ahead of) their arrival"):
        reader.push("joint_states", joint_state(LEFT, [1, 2], stamp), now)
    (line,) = reader.problems(now)
    assert "stamp: arrival" in line
    reader = JointStateReader(shared(stamp="arrival"))
    for names, values in ((LEFT, [1, 2]), (RIGHT, [5, 4]), (HANDS, [6, 3])):
        reader.push("joint_states", joint_state(names, values, stamp), now)
    assert reader.sample is not None and reader.sample.stamp_ns == now


def test_a_stamp_ahead_does_not_make_a_joint_valid_for_longer() -> None:
    reader, now = JointStateReader(shared()), 50 * SECOND
    for names, values in ((LEFT, [1, 2]), (RIGHT, [5, 4]), (HANDS, [6, 3])):
        reader.push("joint_states", joint_state(names, values, now + SECOND), now)
    assert reader.sample is not None and reader.sample.valid_until_ns == now + 100 * MS
