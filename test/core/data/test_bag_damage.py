# SPDX-License-Identifier: Apache-2.0
"""Damaged bags: what can be read is read, and one line says what is missing."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from bag_support import (
    IMAGE,
    STORE,
    motion,
    raw_image,
    simulated_robot,
    write_humble_sqlite,
    write_mcap,
    write_rosbags,
)

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.data.bag.bag_entry import TopicEntry
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.bag.types import TypeReader

FOREIGN = Path(__file__).parents[2] / "fixtures" / "bags" / "topics_and_services"
WRONG = b"RIHS01_" + b"0" * 64
RECORDS = list(motion(simulated_robot(), seconds=1.0))


def counted(path: Path) -> tuple[int, Bag]:
    bag = Bag(path)
    with bag:
        return sum(1 for _ in bag.messages(bag.topics)), bag


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_mcap_is_read_up_to_its_end(
    tmp_path: Path, share: float, compress: bool
) -> None:
    folder = write_mcap(tmp_path / "bag", RECORDS, compress)
    file = folder / "bag.mcap"
    content = file.read_bytes()
    file.write_bytes(content[: round(len(content) * share)])
    found, bag = counted(folder)
    assert bag.state == "partial"
    assert "the recorder was killed, or the file is cut" in bag.problems[0]
    least = 0.85 if not compress else 0.5  # a cut chunk of zstd gives whole blocks only
    assert share * least * len(RECORDS) <= found <= len(RECORDS)


def test_a_killed_recorder_leaves_a_readable_bag(tmp_path: Path) -> None:
    from adamoe_ros.data.bag.writer import BagWriter

    writer = BagWriter(tmp_path / "bag", flush_s=0.0)  # nothing calls close
    for time_ns, topic, kind, message in RECORDS:
        writer.add_topic(topic, kind)
        writer.write(topic, time_ns, STORE.serialize_cdr(message, kind))
    shutil.copytree(tmp_path / "bag", tmp_path / "copy")  # as the disk has it now
    found, bag = counted(tmp_path / "copy")
    assert found == len(RECORDS)
    assert bag.state == "partial"
    writer.close()


def test_a_broken_chunk_is_left_out_and_the_rest_read(tmp_path: Path) -> None:
    folder = write_mcap(tmp_path / "bag", RECORDS, compress=True)
    file = folder / "bag.mcap"
    content = bytearray(file.read_bytes())
    middle = content.index(b"zstd", len(content) // 3) + 60
    content[middle : middle + 400] = bytes(400)
    file.write_bytes(content)
    found, bag = counted(folder)
    assert 0.5 * len(RECORDS) < found < len(RECORDS)
    assert bag.state == "partial"


@pytest.mark.parametrize("content", [b"", b"not a bag at all", b"\x89MCAP0\r\n"])
def test_a_file_that_is_no_bag(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mcap").write_bytes(content)
    if content.startswith(b"\x89"):
        found, bag = counted(tmp_path / "x.mcap")
        assert found == 0 and bag.state == "partial"
        return
    with pytest.raises(ContractError, match="expected an MCAP file"):
        Bag(tmp_path / "x.mcap")


def test_sqlite_without_metadata(tmp_path: Path) -> None:
    folder = write_rosbags(tmp_path / "bag", RECORDS)
    (folder / "metadata.yaml").unlink()
    found, bag = counted(folder)
    assert found == len(RECORDS)
    assert bag.problems == ["metadata.yaml: not there; the recording may have ended early"]


@pytest.mark.parametrize("text", ["", "a: [", "other: 1", "\0"])
def test_metadata_that_is_no_metadata(tmp_path: Path, text: str) -> None:
    folder = write_mcap(tmp_path / "bag", RECORDS)
    (folder / "metadata.yaml").write_text(text)
    found, bag = counted(folder)
    assert found == len(RECORDS)
    assert bag.problems[0].startswith("metadata.yaml: no")


def test_sqlite_without_its_index_of_time(tmp_path: Path) -> None:
    folder = write_humble_sqlite(
        tmp_path / "bag", RECORDS, lambda connection: connection.execute("DROP INDEX timestamp_idx")
    )
    found, _ = counted(folder)
    assert found == len(RECORDS)


def test_sqlite_with_broken_pages(tmp_path: Path) -> None:
    folder = write_humble_sqlite(tmp_path / "bag", RECORDS)
    file = folder / "bag_0.db3"
    content = file.read_bytes()
    file.write_bytes(content[: round(len(content) * 0.6)])
    found, bag = counted(folder)
    assert 0.3 * len(RECORDS) < found < len(RECORDS)
    assert any("messages are missing" in line for line in bag.problems)


def test_a_write_ahead_log_of_a_killed_recorder_is_read(tmp_path: Path) -> None:
    folder = write_humble_sqlite(tmp_path / "bag", RECORDS[:100])
    connection = sqlite3.connect(folder / "bag_0.db3")
    connection.execute("PRAGMA journal_mode=WAL")
    row = connection.execute("SELECT topic_id, timestamp, data FROM messages LIMIT 1").fetchone()
    connection.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", row)
    connection.commit()
    shutil.copytree(folder, tmp_path / "killed", ignore=shutil.ignore_patterns("*-shm"))
    connection.close()
    before = (tmp_path / "killed" / "bag_0.db3").read_bytes()
    found, bag = counted(tmp_path / "killed")
    assert found == 101
    assert any("-wal" in line for line in bag.problems)
    assert (tmp_path / "killed" / "bag_0.db3").read_bytes() == before


def test_a_compressed_file_that_ends_early(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    records = [(t, "/image", IMAGE, raw_image(noise ^ (t % 255), t)) for t in range(1, 400)]
    folder = write_rosbags(tmp_path / "bag", records, storage="MCAP", mode="FILE")
    file = folder / "bag.mcap.zstd"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    found, bag = counted(folder)
    assert 0 < found < len(records)
    assert any("end early" in line for line in bag.problems)


def test_a_wrong_hash_is_told_and_read_with_the_definition_that_is_there() -> None:
    kind = "std_msgs/msg/String"
    definition, _ = STORE.generate_msgdef(kind, ros_version=2)
    entry = TopicEntry("/x", kind, 1, definition, digest="RIHS01_" + "0" * 64)
    reader = TypeReader(entry)
    assert reader.problem is not None and "RIHS01_00000000" in reader.problem
    data = STORE.serialize_cdr(STORE.types[kind]("hello"), kind)
    assert reader.read(bytes(data)).data == "hello"


def test_a_wrong_hash_in_the_metadata(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "bag", RECORDS)
    digest = STORE.hash_rihs01(IMAGE)
    metadata = path / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace(digest, "RIHS01_" + "0" * 64))
    found, bag = counted(path)
    assert found == len(RECORDS) and bag.state == "partial"
    assert len(bag.problems) == 3 and all("RIHS01_00000000" in line for line in bag.problems)


def test_a_wrong_hash_in_the_channels_of_a_file_by_rosbag2(tmp_path: Path) -> None:
    topic, kind = "/events/write_split", "rosbag2_interfaces/msg/WriteSplitEvent"
    content = (FOREIGN / "bag_with_topics_and_service_events.mcap").read_bytes()
    with Bag(FOREIGN / "bag_with_topics_and_service_events.mcap") as bag:
        digest = bag.topics[topic].digest.encode()  # there is no metadata.yaml beside the copies
    assert content.count(digest) > 1
    for name, written in (("right", content), ("wrong", content.replace(digest, WRONG))):
        file = tmp_path / f"{name}.mcap"
        file.write_bytes(written[:-12] + bytes(4) + written[-8:])  # no checksum of the summary
        with Bag(file) as bag:
            list(bag.messages([topic]))
            told = [kind in line and "RIHS01_00000000" in line for line in bag.problems]
            assert any(told) == (name == "wrong")


def test_a_hash_of_a_type_with_a_char_is_not_judged() -> None:
    entry = TopicEntry("/x", "some/msg/Letter", 1, "char letter", digest="RIHS01_" + "0" * 64)
    assert TypeReader(entry).problem is None


def test_a_type_nobody_knows() -> None:
    with pytest.raises(ContractError, match="nobody/msg/Knows: expected a definition"):
        TypeReader(TopicEntry("/x", "nobody/msg/Knows", 1))


def test_types_of_this_package_are_known_without_a_definition() -> None:
    reader = TypeReader(TopicEntry("/policy_status", "adamoe_ros/msg/PolicyStatus", 1))
    assert {"adamoe_ros/msg/PolicyStatus", "adamoe_ros/msg/ExpertLoad"} <= set(reader.store.types)


def test_messages_of_another_type_are_counted(tmp_path: Path) -> None:
    folder = write_humble_sqlite(
        tmp_path / "bag",
        RECORDS[:40],
        lambda connection: connection.execute(
            "UPDATE messages SET data = x'00010000ff' WHERE id < 4"
        ),
    )
    found, bag = counted(folder)
    assert found == 37
    assert sum(bag.unreadable.values()) == 3
    assert bag.state == "partial"


def test_an_empty_bag(tmp_path: Path) -> None:
    folder = write_mcap(tmp_path / "bag", [])
    found, bag = counted(folder)
    assert (found, bag.topics) == (0, {})
