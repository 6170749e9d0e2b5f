# SPDX-License-Identifier: Apache-2.0
"""Bags of any writer: what MCAP makes optional, files side by side, definitions and types as they come."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bag_support import (
    COMPRESSED,
    IMAGE,
    JOINTS,
    START,
    STORE,
    STRING,
    motion,
    simulated_robot,
    write_rosbags,
)
from mcap_forms import Form, record, write_form

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.data.bag.bag_files import bags_below
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.observations import BagStream

ROBOT = simulated_robot()
RECORDS = list(motion(ROBOT, seconds=0.4))
Row = tuple[int, str, bytes]


def wire(records: list[Any]) -> list[Row]:
    return [
        (time, topic, bytes(STORE.serialize_cdr(message, kind)))
        for time, topic, kind, message in records
    ]


EXPECTED = sorted(wire(RECORDS), key=lambda row: row[0])


def read(path: Path) -> tuple[list[Row], Bag]:
    with Bag(path) as bag:
        rows = [tuple(item) for item in bag.raw(bag.topics)]
        assert sum(entry.count for entry in bag.topics.values()) == len(rows)
        assert len(list(bag.messages(bag.topics))) == len(rows)
    return rows, bag  # type: ignore[return-value]


def by_time(rows: list[Row]) -> list[Row]:
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    return sorted(rows)


FORMS = {
    "as rosbag2": Form(),
    "no message index": Form(index=lambda chunk, channel: False),
    "an index in some chunks": Form(index=lambda chunk, channel: chunk % 2 == 0),
    "an index for some channels": Form(index=lambda chunk, channel: channel != 2),
    "an index of each channel somewhere": Form(index=lambda chunk, channel: chunk != channel),
    "no statistics": Form(statistics=False),
    "no statistics, some indexes": Form(statistics=False, index=lambda chunk, _: chunk == 1),
    "no chunk index": Form(chunk_index=lambda chunk: False),
    "a chunk index for some": Form(chunk_index=lambda chunk: chunk % 2 == 1),
    "no summary": Form(summary=False),
    "no schemas and channels in the summary": Form(repeat=False),
    "only statistics": Form(repeat=False, chunk_index=lambda chunk: False),
    "no chunks": Form(chunked=lambda number: False),
    "no chunks, no summary": Form(chunked=lambda number: False, summary=False),
    "some messages outside of chunks": Form(chunked=lambda number: number % 30 > 4),
    "the first ones outside, no statistics": Form(
        chunked=lambda number: number > 20, statistics=False
    ),
    "no checksums": Form(crc=False),
    "zstd without an index": Form(compression="zstd", index=lambda chunk, channel: False),
    "another profile": Form(profile=""),
    "no message encoding": Form(encoding=""),
    "private records, metadata and attachments": Form(
        extra=record(0x81, b"ours") + record(0x0C, b"\0" * 8) + record(0x09, b"\0" * 40)
    ),
    "one message a chunk": Form(chunk_bytes=1),
    "one chunk": Form(chunk_bytes=1 << 30),
}


@pytest.mark.parametrize("name", FORMS)
def test_whatever_mcap_makes_optional(tmp_path: Path, name: str) -> None:
    rows, bag = read(write_form(tmp_path / "bag.mcap", RECORDS, FORMS[name]))
    assert by_time(rows) == sorted(EXPECTED)
    assert bag.state == "whole", bag.problems


def test_a_lost_chunk_is_told(tmp_path: Path) -> None:
    content = bytearray(write_form(tmp_path / "bag.mcap", RECORDS, Form(crc=False)).read_bytes())
    path = tmp_path / "bag.mcap"
    with Bag(path) as bag:
        parts = bag._storages[0]._parts  # type: ignore[attr-defined]
        place = parts[1].start - 9
    content[place] = 0x85  # another record now: whoever reads it leaves it out
    path.write_bytes(content)
    rows, bag = read(path)
    assert 0 < len(rows) < len(EXPECTED)
    assert any("messages are not there any more" in line for line in bag.problems)


def test_two_recordings_in_one_file_are_told(tmp_path: Path) -> None:
    """Written one behind the other, by cat or by a recorder that opened the file again."""
    path = write_form(tmp_path / "bag.mcap", RECORDS)
    whole = path.read_bytes()
    path.write_bytes(2 * whole)
    with Bag(path) as bag:
        assert len(list(bag.raw(bag.topics))) == len(RECORDS)
        assert any(f"{len(whole)} bytes behind its end" in line for line in bag.problems)


def test_one_cause_in_many_chunks_is_not_told_for_each(tmp_path: Path) -> None:
    form = Form(chunk_bytes=500, compression="other")
    with Bag(write_form(tmp_path / "bag.mcap", RECORDS, form)) as bag:
        assert not list(bag.raw(bag.topics))
        assert len(bag.problems) <= 12
        assert any("such places more" in line for line in bag.problems)


@pytest.mark.parametrize("length", [1, 1 << 50])
def test_a_record_of_a_wrong_length_costs_no_later_chunk(tmp_path: Path, length: int) -> None:
    path = write_form(tmp_path / "bag.mcap", RECORDS)
    with Bag(path) as bag:
        parts = bag._storages[0]._parts  # type: ignore[attr-defined]
    content = bytearray(path.read_bytes())
    content[parts[1].start - 8 : parts[1].start] = length.to_bytes(8, "little")
    path.write_bytes(content)
    rows, bag = read(path)
    assert bag.state == "partial"
    one = len(EXPECTED) // len(parts)
    assert len(rows) >= len(EXPECTED) - 2 * one


# --- several files ------------------------------------------------------------------------------


def split(records: list[Any], how: str) -> list[list[Any]]:
    if how == "a topic each":
        topics = sorted({item[1] for item in records})
        return [[item for item in records if item[1] == topic] for topic in topics]
    if how == "two recorders":
        return [[item for item in records if ("image" in item[1]) == first] for first in (0, 1)]
    if how == "every other message":
        return [records[::2], records[1::2]]
    third = len(records) // 3
    if how == "files that overlap":
        return [records[: 2 * third : 2], records[1 : 2 * third : 2] + records[2 * third :]]
    return [records[2 * third :], records[:third], records[third : 2 * third]]


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
@pytest.mark.parametrize(
    "how",
    ["a topic each", "two recorders", "every other message", "files that overlap", "shuffled"],
)
def test_files_of_one_recording_are_read_by_time(tmp_path: Path, how: str, storage: str) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    suffix = "mcap" if storage == "MCAP" else "db3"
    for number, part in enumerate(split(RECORDS, how)):
        written = write_rosbags(tmp_path / f"part_{number}", part, storage=storage)
        shutil.move(written / f"{written.name}.{suffix}", folder / f"bag_{number}.{suffix}")
    rows, bag = read(folder)
    assert by_time(rows) == sorted(EXPECTED)
    assert bag.problems == ["metadata.yaml: not there; the recording may have ended early"]


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_parts_of_one_recording_are_known_by_their_times(tmp_path: Path, storage: str) -> None:
    """Whatever their names are; recordings one after the other stay bags of their own."""
    suffix = "mcap" if storage == "MCAP" else "db3"
    for place, parts in {
        "parts": split(RECORDS, "two recorders"),
        "bags": [RECORDS, list(motion(ROBOT, seconds=0.4, start_ns=START + 10**10))],
        "robots": [RECORDS, RECORDS],
    }.items():
        (tmp_path / place).mkdir()
        for name, records in zip(("cameras", "arms"), parts, strict=True):
            written = write_rosbags(tmp_path / f"{place}_{name}", records, storage=storage)
            file = written / f"{written.name}.{suffix}"
            shutil.move(file, tmp_path / place / f"{name}.{suffix}")
    assert bags_below(tmp_path / "parts") == [tmp_path / "parts"]
    assert by_time(read(tmp_path / "parts")[0]) == sorted(EXPECTED)
    for place in ("bags", "robots"):
        found = [path.name for path in bags_below(tmp_path / place)]
        assert found == [f"arms.{suffix}", f"cameras.{suffix}"]


def test_an_mcap_and_a_database_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "bag"
    first, second = split(RECORDS, "two recorders")
    write_form(folder / "bag_0.mcap", first)
    written = write_rosbags(tmp_path / "other", second)
    shutil.move(written / "other.db3", folder / "bag_1.db3")
    assert by_time(read(folder)[0]) == sorted(EXPECTED)


@pytest.mark.parametrize("suffix", ["mcap", "db3"])
def test_topics_one_after_the_other_in_one_file(tmp_path: Path, suffix: str) -> None:
    long = list(motion(ROBOT, seconds=2.5, camera_hz=10.0))
    records = [item for part in split(long, "a topic each") for item in part]
    if suffix == "mcap":
        path = write_form(tmp_path / "bag.mcap", records)
    else:
        path = write_rosbags(tmp_path / "bag", records) / "bag.db3"
    assert by_time(read(path)[0]) == sorted(wire(long))


@pytest.mark.parametrize("suffix", ["mcap", "db3"])
def test_the_kind_of_a_file_is_seen_from_its_content(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bag.{suffix}"
    if suffix == "db3":
        write_form(path, RECORDS)
    else:
        shutil.copy(write_rosbags(tmp_path / "other", RECORDS) / "other.db3", path)
    assert by_time(read(path)[0]) == sorted(EXPECTED)
    path.write_bytes(b"#ROSBAG V2.0\nrest")
    with pytest.raises(ContractError, match="a bag of ROS 2, got one of ROS 1"):
        Bag(path)


# --- types --------------------------------------------------------------------------------------

DEFINITIONS = {
    "Windows": lambda text: text.replace("\n", "\r\n"),
    "old Macintosh": lambda text: text.replace("\n", "\r"),
    "fields end in CR": lambda text: "\n".join(
        line if line.startswith(("===", "MSG: ")) else line + "\r" for line in text.splitlines()
    ),
    "blanks at the ends": lambda text: "\n".join(line + " \t " for line in text.splitlines()),
    "tabs between": lambda text: "\n".join(
        line if line.startswith("MSG") else line.replace(" ", "\t ") for line in text.splitlines()
    ),
    "blank lines": lambda text: "\n\n" + text.replace("\n", "\n\n") + "\n \n",
    "comments": lambda text: "# a\n" + text.replace("\n", "  # comment: a=b\n", 1),
    "a byte order mark": lambda text: "\ufeff" + text,
    "a zero at the end": lambda text: text + "\0",
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_definitions_with_any_white_space(tmp_path: Path, name: str) -> None:
    path = write_form(tmp_path / "bag.mcap", RECORDS, Form(definition=DEFINITIONS[name]))
    rows, bag = read(path)
    assert len(rows) == len(EXPECTED)
    assert bag.state == "whole", bag.problems


@pytest.mark.parametrize(
    "kind",
    [
        lambda name: name.replace("/msg/", "/"),
        lambda name: name.replace("/", "::"),
        lambda name: name.replace("/", "."),
        lambda name: "{0}::msg::dds_::{2}_".format(*name.split("/")),
        lambda name: f" {name} ",
    ],
)
def test_type_names_as_others_write_them(tmp_path: Path, kind: Any) -> None:
    rows, bag = read(write_form(tmp_path / "bag.mcap", RECORDS, Form(kind=kind)))
    assert len(rows) == len(EXPECTED)
    assert bag.state == "whole", bag.problems


@pytest.mark.parametrize("name", ["", "x", "a/b/c/d/e", "not a type!", "/", "\0"])
def test_a_type_name_that_does_not_parse_costs_its_topic_alone(tmp_path: Path, name: str) -> None:
    form = Form(kind=lambda kind: name if kind == STRING else kind)
    path = write_form(tmp_path / "bag.mcap", RECORDS, form)
    with Bag(path) as bag:
        found = list(bag.messages(bag.topics))
        assert len(found) == len(EXPECTED) - 1
        assert bag.state == "partial"
        assert any("/instruction" in line for line in bag.problems)


def test_a_definition_that_does_not_parse_costs_its_topic_alone(tmp_path: Path) -> None:
    form = Form(definition=lambda text: "int32[ x" if "name" in text else text)
    path = write_form(tmp_path / "bag.mcap", RECORDS, form)
    with Bag(path) as bag:
        kinds = {bag.topics[item.topic].type for item in bag.messages(bag.topics)}
        assert kinds == {IMAGE, STRING}
        assert any("expected a readable definition" in line for line in bag.problems)


def observations(path: Path, robot: Any = ROBOT) -> tuple[int, BagStream, Bag]:
    with Bag(path) as bag:
        stream = BagStream(bag, robot)
        found = [event.value.load() for event in stream.events() if event.kind == "observation"]
        return len(found), stream, bag


def test_channels_without_a_schema_are_read_as_the_profile_has_them(tmp_path: Path) -> None:
    path = write_form(tmp_path / "bag.mcap", RECORDS, Form(schemas=False))
    count, stream, bag = observations(path)
    assert count == 10
    assert bag.state == "partial"
    assert sum("the recorder had no definition of it" in line for line in bag.problems) >= 3
    assert stream.has_commands


def test_channels_without_a_schema_have_the_types_of_metadata(tmp_path: Path) -> None:
    folder = write_rosbags(tmp_path / "bag", RECORDS, storage="MCAP")
    write_form(folder / "bag.mcap", RECORDS, Form(schemas=False))
    count, _, bag = observations(folder)
    assert count == 10
    assert bag.state == "whole", bag.problems


@pytest.mark.parametrize("to", ["compressed", "image"])
def test_pictures_of_the_other_type_are_read_and_told(tmp_path: Path, to: Any) -> None:
    path = write_form(tmp_path / "bag.mcap", motion(simulated_robot(type=to), seconds=0.4))
    other = "image" if to == "compressed" else "compressed"
    count, stream, _ = observations(path, simulated_robot(type=other))
    assert count == 10
    names = {"image": IMAGE, "compressed": COMPRESSED}
    assert any(f"expected {names[other]}, got {names[to]}" in line for line in stream.notes)


def swapped(topic: str, kind: str, message: Any) -> list[Any]:
    return [
        (
            time,
            name,
            kind if name.endswith(topic) else had,
            message if name.endswith(topic) else old,
        )
        for time, name, had, old in RECORDS
    ]


@pytest.mark.parametrize("kind", ["trajectory_msgs/msg/JointTrajectory", STRING, IMAGE])
def test_another_type_on_a_joint_topic_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    header = STORE.types["std_msgs/msg/Header"](
        STORE.types["builtin_interfaces/msg/Time"](1, 2), ""
    )
    messages = {
        "trajectory_msgs/msg/JointTrajectory": lambda: STORE.types[kind](header, ["a"], []),
        STRING: lambda: STORE.types[STRING]("hello"),
        IMAGE: lambda: next(item[3] for item in RECORDS if item[2] == IMAGE),
    }
    path = write_form(tmp_path / "bag.mcap", swapped("joint_states", kind, messages[kind]()))
    with pytest.raises(ContractError, match=f"joint_states: expected {JOINTS}, got {kind}"):
        observations(path)
    path = write_form(tmp_path / "b.mcap", swapped("joint_commands", kind, messages[kind]()))
    count, stream, _ = observations(path)
    assert count == 10
    assert not stream.has_commands
    assert any(f"joint_commands: expected {JOINTS}, got {kind}" in line for line in stream.notes)


def test_two_types_on_one_topic_are_kept_apart(tmp_path: Path) -> None:
    others = [
        (time + 5, topic, STRING, STORE.types[STRING]("x"))
        for time, topic, kind, _ in RECORDS
        if kind in (IMAGE, JOINTS)
    ]
    for name, records in (("after", RECORDS + others), ("before", others + RECORDS)):
        path = write_form(tmp_path / f"{name}.mcap", sorted(records, key=lambda item: item[0]))
        count, stream, bag = observations(path)
        assert count == 10
        assert not stream.broken
        assert any("expected messages of one type" in line for line in bag.problems)


def test_damaged_messages_are_counted_and_the_others_read(tmp_path: Path) -> None:
    def damaged(item: Any, number: int) -> Any:
        if item[2] == IMAGE and number % 7 == 0:
            return (*item[:3], replace(item[3], height=99999))
        return item

    records = [damaged(item, number) for number, item in enumerate(RECORDS)]
    bad = sum(item[2] == IMAGE and item[3].height == 99999 for item in records)
    path = write_form(tmp_path / "bag.mcap", records)
    count, stream, _ = observations(path)
    assert 0 < count < 10
    assert stream.broken == bad > 0
    told = [line for line in stream.notes if "messages are left out; the first:" in line]
    assert sum(int(line.split(": ")[1].split()[0]) for line in told) == bad


def test_messages_that_are_cut_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "bag.mcap"

    def cut(time: int, topic: str, kind: str, data: bytes) -> bytes:
        return data[: len(data) // 2] if topic == "/instruction" else data

    import mcap_forms

    file = mcap_forms._File(Form())
    for time, topic, kind, message in [
        (START, "/instruction", STRING, RECORDS[0][3])
    ] * 3 + RECORDS:
        file.add(time, topic, kind, cut(time, topic, kind, STORE.serialize_cdr(message, kind)))
    path.write_bytes(file.finished())
    with Bag(path) as bag:
        assert len(list(bag.messages(bag.topics))) == len(EXPECTED) - 1
        assert any("/instruction: 4 of 4 messages are left out" in line for line in bag.problems)
