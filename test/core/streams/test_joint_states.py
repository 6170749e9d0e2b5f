# SPDX-License-Identifier: Apache-2.0
"""Joint states by name in any order; a missing joint is an error and never 0."""

from __future__ import annotations

import numpy as np
import pytest
from streams_support import MS, SECOND, joint_state, robot

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile import StateSource
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
        np.testing.assert_array_equal(decode(joint_state(names, positions)), [1.0, 2.0, 3.0])


def test_the_order_may_change_between_messages() -> None:
    decode = decoder().decode
    np.testing.assert_array_equal(decode(joint_state(["a", "b", "g"], [1, 2, 3])), [1, 2, 3])
    np.testing.assert_array_equal(decode(joint_state(["g", "b", "a"], [1, 2, 3])), [3, 2, 1])


@pytest.mark.parametrize(
    ("names", "positions", "words"),
    [
        (["a", "b"], [1.0, 2.0], "expected the joints g, got a, b"),
        ([], [], "expected the joints a, b, g, got no names"),
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
    np.testing.assert_array_equal(decode(joint_state(["q", "w", "e"], [1, 2, 3])), [1, 2, 3])
    np.testing.assert_array_equal(decode(joint_state([], [1, 2, 3])), [1, 2, 3])
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
    assert reader.missing() == ["left/joint_states"]
    sample = reader.push("left/joint_states", joint_state(["b", "a"], [2, 1], now), now)
    assert sample is not None and not reader.missing()
    np.testing.assert_array_equal(sample.positions, [1, 2, 3, 4, 5, 6])
    assert sample.stamp_ns == now - 30 * MS
    assert sample.valid_until_ns == now + 100 * MS  # the right arm times out first


def test_a_bad_message_leaves_the_state_before() -> None:
    reader = JointStateReader(robot())
    reader.push("left/joint_states", joint_state(["a", "b"], [1, 2]), SECOND)
    reader.push("left/hand", joint_state(["g"], [3]), SECOND)
    reader.push("right/joint_states", joint_state(["a", "b", "g"], [4, 5, 6]), SECOND)
    with pytest.raises(ContractError):
        reader.push("left/joint_states", joint_state(["a"], [9]), SECOND)
    assert reader.sample is not None
    np.testing.assert_array_equal(reader.sample.positions, [1, 2, 3, 4, 5, 6])


def test_an_empty_stamp_is_the_arrival() -> None:
    reader = JointStateReader(robot())
    stamp, _ = reader.decode("left/hand", joint_state(["g"], [3], 0), 7 * SECOND)
    assert stamp == 7 * SECOND
