# SPDX-License-Identifier: Apache-2.0
"""Bags without definitions of their own: the types are those of the distribution that recorded them.

``sensor_msgs/Range`` has one more field since Jazzy, ``nav_msgs/Goals`` exists since Kilted: with the
wrong set the first is misread and the second not known.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from bag_support import HUMBLE_TABLES, SECOND, motion, simulated_robot, write_mcap

from adamoe_ros.data.bag.bag_entry import TopicEntry
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.bag.types import TypeReader, distro_store

RANGE, GOALS, JOINTS = "sensor_msgs/msg/Range", "nav_msgs/msg/Goals", "sensor_msgs/msg/JointState"
DISTROS = ("humble", "jazzy", "kilted")


def header(store: Any) -> Any:
    time = store.types["builtin_interfaces/msg/Time"](7, 8)
    return store.types["std_msgs/msg/Header"](time, "sonar")


def written(distro: str, kind: str) -> bytes:
    """A message as a distribution's own publisher serialises it."""
    store = distro_store(distro)
    made = store.types[kind]
    if kind == GOALS:
        message = made(header(store), [])
    else:
        newer = () if distro == "humble" else (0.125,)
        message = made(header(store), 1, 0.5, 0.1, 4.0, 2.5, *newer)
    return bytes(store.serialize_cdr(message, kind))


def database(
    folder: Path, kind: str, data: bytes, said: str | None, metadata: dict[str, Any] | None
) -> Path:
    """A .db3 without definitions; ``said``: distribution in its own table, None: no such table."""
    folder.mkdir()
    connection = sqlite3.connect(folder / "bag_0.db3")
    connection.executescript(HUMBLE_TABLES)
    if said is None:
        connection.execute("DROP TABLE schema")
    else:
        connection.execute("UPDATE schema SET ros_distro = ?", (said,))
    connection.execute("INSERT INTO topics VALUES (1, '/topic', ?, 'cdr', '')", (kind,))
    connection.execute("INSERT INTO messages VALUES (1, 1, ?, ?)", (SECOND, data))
    connection.commit()
    connection.close()
    if metadata is not None:
        entry = {
            "topic_metadata": {
                "name": "/topic",
                "type": kind,
                "serialization_format": "cdr",
                "offered_qos_profiles": "",
            },
            "message_count": 1,
        }
        document = {
            "version": 5,
            "storage_identifier": "sqlite3",
            "relative_file_paths": ["bag_0.db3"],
            "duration": {"nanoseconds": 0},
            "starting_time": {"nanoseconds_since_epoch": SECOND},
            "message_count": 1,
            "topics_with_message_count": [entry],
            "compression_format": "",
            "compression_mode": "",
            **metadata,
        }
        text = yaml.safe_dump({"rosbag2_bagfile_information": document})
        (folder / "metadata.yaml").write_text(text)
    return folder


def only(path: Path) -> tuple[Any, Bag]:
    with Bag(path) as bag:
        messages = [item.message for item in bag.messages(["/topic"])]
    return (messages[0] if messages else None), bag


def check_range(message: Any, distro: str) -> None:
    assert message.header.stamp.sec == 7 and message.header.frame_id == "sonar"
    assert (message.radiation_type, message.range) == (1, 2.5)
    assert getattr(message, "variance", None) == (None if distro == "humble" else 0.125)


@pytest.mark.parametrize("distro", DISTROS)
def test_the_distribution_that_the_database_names(distro: str, tmp_path: Path) -> None:
    path = database(tmp_path / "bag", RANGE, written(distro, RANGE), distro, None)
    message, bag = only(path)
    assert bag.distro == distro and not bag.unreadable
    check_range(message, distro)


@pytest.mark.parametrize("distro", DISTROS)
def test_the_distribution_that_the_metadata_name_comes_first(distro: str, tmp_path: Path) -> None:
    other = {"version": 8, "ros_distro": distro}
    path = database(tmp_path / "bag", RANGE, written(distro, RANGE), "", other)
    message, bag = only(path)
    assert bag.state == "whole" and bag.distro == distro
    check_range(message, distro)


@pytest.mark.parametrize("said", [None, ""])
def test_a_database_that_names_none_is_of_humble_or_before(
    said: str | None, tmp_path: Path
) -> None:
    message, bag = only(database(tmp_path / "bag", RANGE, written("humble", RANGE), said, {}))
    assert bag.state == "whole", bag.problems
    check_range(message, "humble")


def test_a_type_that_only_kilted_has(tmp_path: Path) -> None:
    data = written("kilted", GOALS)
    message, _ = only(database(tmp_path / "kilted", GOALS, data, "kilted", None))
    assert list(message.goals) == [] and message.header.stamp.nanosec == 8
    message, bag = only(database(tmp_path / "jazzy", GOALS, data, "jazzy", None))
    assert message is None and bag.unreadable["/topic"] == 1
    assert any(f"{GOALS}: expected a definition" in line for line in bag.problems)


@pytest.mark.parametrize("distro", [*DISTROS, "nobody"])
def test_robot_messages_are_the_same_in_every_set(distro: str, tmp_path: Path) -> None:
    """Joint states, pictures and sentences of a bag whose metadata name that distribution."""
    records = list(motion(simulated_robot(), seconds=0.1))
    folder = write_mcap(tmp_path / "bag", records)
    path = folder / "metadata.yaml"
    path.write_text(path.read_text().replace("rosbags", distro))
    with Bag(folder) as bag:
        assert bag.distro == distro
        assert sum(1 for _ in bag.messages(bag.topics)) == len(records)
        assert bag.state == "whole"


def test_topics_share_a_definition_and_two_of_one_name_stay_apart() -> None:
    def of(topic: str, definition: str) -> TypeReader:
        return TypeReader(TopicEntry(topic, "some/msg/Level", 1, definition))

    one, same, other = (
        of("/a", "int32 level"),
        of("/b", "int32 level\r\n"),
        of("/c", "float32 level"),
    )
    assert one.store is same.store
    data = b"\x00\x01\x00\x00\x00\x00\x80\x3f"
    assert [reader.read(data).level for reader in (one, same, other)] == [0x3F800000] * 2 + [1.0]
