# SPDX-License-Identifier: Apache-2.0
"""The quick ways to read a bag give what rosbags gives: chunks by index, messages by layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_support import JOINTS, STORE, joints, motion, simulated_robot, write_rosbags
from rosbags.rosbag2 import Reader

from adamoe_ros.data.bag.bag_entry import TopicEntry
from adamoe_ros.data.bag.cdr_layout import Layout, LayoutMemory
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.bag.types import TypeReader

TRAJECTORY, ARRAY, STRING = (
    "trajectory_msgs/msg/JointTrajectory",
    "std_msgs/msg/Float64MultiArray",
    "std_msgs/msg/String",
)
NAMES = ("waist", "elbow", "gripper")


def trajectory(names: tuple[str, ...], points: int, rng: np.random.Generator) -> Any:
    types = STORE.types
    time = types["builtin_interfaces/msg/Time"]
    duration = types["builtin_interfaces/msg/Duration"]
    point = types["trajectory_msgs/msg/JointTrajectoryPoint"]
    header = types["std_msgs/msg/Header"](time(int(rng.integers(2**31)), 5), "base")
    rows = [
        point(
            rng.normal(size=len(names)),
            np.zeros(0),
            rng.normal(size=2),
            np.zeros(0),
            duration(1, 2),
        )
        for _ in range(points)
    ]
    return types[TRAJECTORY](header, list(names), rows)


def array(values: np.ndarray, label: str) -> Any:
    dimension = STORE.types["std_msgs/msg/MultiArrayDimension"](label, len(values), 1)
    layout = STORE.types["std_msgs/msg/MultiArrayLayout"]([dimension], 0)
    return STORE.types[ARRAY](layout, values)


def messages(kind: str) -> list[Any]:
    """Of one type: the same layout again and again, now and then another."""
    rng = np.random.default_rng(3)
    if kind == JOINTS:
        several = [NAMES] * 5 + [NAMES[:2]] + [NAMES] * 2 + [()] + [("a", "elbow", "gripper")]
        return [joints(n, rng.normal(size=len(n)), int(rng.integers(2**60))) for n in several]
    if kind == TRAJECTORY:
        counts = [1, 1, 1, 2, 1, 0, 1]
        return [trajectory(NAMES, count, rng) for count in counts]
    if kind == ARRAY:
        return [
            array(rng.normal(size=n), label) for n, label in [(3, "x")] * 4 + [(2, "x"), (3, "y")]
        ]
    return [STORE.types[STRING](text) for text in ("one", "one", "two", "", "long one")]


@pytest.mark.parametrize("little_endian", [True, False])
@pytest.mark.parametrize("kind", [JOINTS, TRAJECTORY, ARRAY, STRING])
def test_messages_read_by_layout_are_those_that_rosbags_reads(
    kind: str, little_endian: bool
) -> None:
    reader = TypeReader(TopicEntry("/x", kind, 1))
    for message in messages(kind):
        wire = bytes(STORE.serialize_cdr(message, kind, little_endian=little_endian))
        again = reader.store.serialize_cdr(reader.read(wire), kind, little_endian=little_endian)
        assert bytes(again) == wire


def test_a_layout_is_used_for_repeated_names_and_for_nothing_else() -> None:
    def wire(names: tuple[str, ...], value: float, stamp_ns: int) -> bytes:
        message = joints(names, np.full(len(names), value), stamp_ns)
        return bytes(STORE.serialize_cdr(message, JOINTS))

    layout = Layout(STORE, JOINTS, wire(NAMES, 1.0, 7))
    found = layout.read(wire(NAMES, 2.5, 3_000_000_009))
    assert found is not None
    assert (found.header.stamp.sec, found.header.stamp.nanosec) == (3, 9)
    assert found.name == list(NAMES)
    np.testing.assert_array_equal(found.position, [2.5] * 3)
    assert layout.read(wire(("waist", "elbow", "grippex"), 2.5, 1)) is None
    assert layout.read(wire(NAMES[:2], 2.5, 1)) is None
    assert layout.read(wire(NAMES, 2.5, 1)[:-1]) is None


def test_strings_that_always_change_are_soon_left_to_rosbags() -> None:
    memory = LayoutMemory(STORE, STRING)
    for number in range(40):
        message = STORE.types[STRING](f"message {number:02d}")
        wire = bytes(STORE.serialize_cdr(message, STRING))
        assert memory.read(wire) is None
        memory.learn(wire, message)
    assert memory.read(wire) is None


def test_a_bag_is_read_in_the_order_of_rosbags(tmp_path: Path) -> None:
    folder = write_rosbags(
        tmp_path / "bag", list(motion(simulated_robot(), seconds=0.5)), storage="MCAP"
    )
    with Reader(folder) as reader:
        expected = [(time, item.topic, bytes(data)) for item, time, data in reader.messages()]
    with Bag(folder) as bag:
        assert [tuple(item) for item in bag.raw(bag.topics)] == expected
