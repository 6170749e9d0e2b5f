# SPDX-License-Identifier: Apache-2.0
"""Bags of every storage, compression and age; by rosbag2 itself, by rosbags, and by the format."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from bag_support import (
    STORE,
    motion,
    simulated_robot,
    write_humble_sqlite,
    write_mcap,
    write_rosbags,
)

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.data.bag.bag_files import bags_below
from adamoe_ros.data.bag.reader import Bag

FOREIGN = Path(__file__).parents[2] / "fixtures" / "bags"


def texts(path: Path, topic: str) -> list[str]:
    with Bag(path) as bag:
        return [item.message.data for item in bag.messages([topic])]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_of_rosbag2_is_read_though_its_two_lists_of_topics_differ(storage: str) -> None:
    found = texts(FOREIGN / f"talker_{storage}", "/topic")
    assert found == [f"Hello, world! {number}" for number in range(10)]


def test_a_split_bag_without_metadata_is_read_in_order() -> None:
    with Bag(FOREIGN / "split") as bag:
        times = [item.time_ns for item in bag.messages(["/chatter"])]
        assert bag.topics["/chatter"].count == len(times) == 1324 + 529
        assert times == sorted(times)
        assert bag.state == "partial"
        assert "metadata.yaml" in bag.problems[0]


def test_old_type_names_and_messages_outside_of_chunks() -> None:
    with Bag(FOREIGN / "seek") as bag:
        assert bag.topics["topic1"].type == "test_msgs/msg/BasicTypes"
        times = [item.time_ns for item in bag.messages(["topic1"])]
    assert len(times) == 5


def test_metadata_of_version_9_with_hashes_and_service_events() -> None:
    with Bag(FOREIGN / "topics_and_services") as bag:
        found = [item.message.string_value for item in bag.messages(["/test_topic1"])]
        assert len(found) == 1
        assert bag.problems == []  # what nobody asked for is no problem
        list(bag.messages(["/test_service1/_service_event"]))
        assert "test_msgs/srv/BasicTypes_Event" in bag.problems[0]
        assert bag.unreadable["/test_service1/_service_event"] == 4


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_files_of_the_mcap_library(compression: str) -> None:
    with Bag(FOREIGN / f"foxglove_{compression}.mcap") as bag:
        states = list(bag.messages(["/arm/joint_states"]))
        pictures = [item.message for item in bag.messages(["/cam/compressed"])]
        assert bag.state == "whole" and not bag.unreadable
    assert [item.time_ns for item in states] == [
        1_700_000_000_001_000_000 + 20_000_000 * number for number in range(40)
    ]
    positions = np.array([item.message.position for item in states])
    expected = np.arange(40)
    np.testing.assert_array_equal(positions[:, 0], 0.01 * expected)
    np.testing.assert_allclose(positions[:, 1], np.sin(0.1 * expected), atol=1e-15)
    assert list(states[0].message.name) == ["a", "b"]
    assert [(item.format, item.data[:2].tobytes()) for item in pictures] == [
        ("jpeg", b"\xff\xd8")
    ] * 4


def test_another_serialisation_is_told() -> None:
    with Bag(FOREIGN / "wrong_rmw") as bag:
        assert list(bag.messages(bag.topics)) == []
        assert "expected CDR messages, got wrong_format" in bag.problems[0]


WAYS = {
    "mcap": {"storage": "MCAP", "version": 9},
    "mcap, version 8": {"storage": "MCAP", "version": 8},
    "mcap, zstd inside": {"storage": "MCAP", "mode": "STORAGE"},
    "mcap, zstd by file": {"storage": "MCAP", "mode": "FILE"},
    "mcap, zstd by message": {"storage": "MCAP", "mode": "MESSAGE"},
    "sqlite3": {},
    "sqlite3, version 8": {"version": 8},
    "sqlite3, zstd by file": {"mode": "FILE"},
    "sqlite3, zstd by message": {"mode": "MESSAGE"},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_storage_gives_the_same_messages(way: str, tmp_path: Path) -> None:
    records = list(motion(simulated_robot(), seconds=0.2))
    folder = write_rosbags(tmp_path / "bag", records, **WAYS[way])
    expected = [
        (time_ns, topic, bytes(STORE.serialize_cdr(m, k))) for time_ns, topic, k, m in records
    ]
    for path in (folder, *(item for item in folder.iterdir() if item.suffix != ".yaml")):
        with Bag(path) as bag:
            topics = set(bag.topics)
            found = [(item.time_ns, item.topic, bytes(item.data)) for item in bag.raw(topics)]
            assert bag.state == "whole"
            assert sum(1 for _ in bag.messages(topics)) == len(records)
        assert sorted(found) == sorted(expected)


def test_a_humble_database_has_no_definitions_and_is_read(tmp_path: Path) -> None:
    records = list(motion(simulated_robot(), seconds=0.1))
    folder = write_humble_sqlite(tmp_path / "humble", records)
    with Bag(folder) as bag:
        found = [m.message for m in bag.messages(["/follower_left/joint_states"])]
        images = [m.message for m in bag.messages(["/cam_high/image_raw"])]
        assert not bag.unreadable
    expected = [m for _, topic, _, m in records if topic == "/follower_left/joint_states"]
    assert [list(item.position) for item in found] == [list(item.position) for item in expected]
    assert np.array_equal(
        images[0].data, next(r[3] for r in records if r[2].endswith("Image")).data
    )


def test_folders_of_bags_are_found_by_name_and_natural_order(tmp_path: Path) -> None:
    records = list(motion(simulated_robot(), seconds=0.02))
    for number in (10, 9, 1):
        write_mcap(tmp_path / "day" / f"episode_{number}", records)
    loose = tmp_path / "loose"
    loose.mkdir()
    for name in ("a", "b"):
        shutil.copyfile(tmp_path / "day/episode_1/episode_1.mcap", loose / f"{name}.mcap")
    names = [path.name for path in bags_below(tmp_path)]
    assert names == ["episode_1", "episode_9", "episode_10", "a.mcap", "b.mcap"]
    assert bags_below(tmp_path / "day/episode_9") == [tmp_path / "day/episode_9"]
    assert len(bags_below(FOREIGN / "split")) == 1


def test_no_bag_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ContractError, match="expected a rosbag2 bag"):
            bags_below(path)
    with pytest.raises(ContractError, match="nothing there"):
        Bag(tmp_path / "nothing")
