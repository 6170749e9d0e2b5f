# SPDX-License-Identifier: Apache-2.0
"""One storage file of a bag: through its index where it is whole, a scan where it is not.

rosbags opens and checks whole files; the messages of indexed MCAP files are read by ``mcap_chunks``.
A file that breaks while it is read is continued by the scan behind the last good message.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from adamoe_ros.data.bag.entry import RawMessage, TopicEntry, full_type
from adamoe_ros.data.bag.hashes import channel_hash
from adamoe_ros.data.bag.mcap_chunks import indexed_messages
from adamoe_ros.data.bag.mcap_scan import McapScan
from adamoe_ros.data.bag.sqlite_scan import SqliteScan, recorded_by


class Storage(Protocol):
    """A file that can be read; ``problems`` grows while it is.

    ``distro``: that recorded it, where its messages have no definitions; empty: not known.
    """

    path: Path
    problems: list[str]
    distro: str
    topics: dict[str, TopicEntry]

    def messages(self, topics: set[str]) -> Iterator[RawMessage]:
        """Messages of some topics in order of time."""


def scan(path: Path) -> Storage:
    """The slow and patient way to read a file.

    Raises:
        ContractError: nothing in it can be read.
    """
    return McapScan(path) if path.suffix == ".mcap" else SqliteScan(path)


def open_storage(path: Path) -> Storage:
    """A file for reading.

    Raises:
        ContractError: nothing in it can be read.
    """
    try:
        return IndexedStorage(path)
    except Exception as error:  # rosbags raises many kinds over damaged files
        damaged = scan(path)
        if not damaged.problems:
            line = " ".join(str(error).split()) or type(error).__name__
            damaged.problems.append(f"{path.name}: read without its index ({line})")
        return damaged


class IndexedStorage:
    """A whole file; rosbags says what is in it."""

    def __init__(self, path: Path) -> None:
        from rosbags.interfaces import MessageDefinitionFormat
        from rosbags.rosbag2 import Reader

        self.path = path
        self.problems: list[str] = []
        self.topics: dict[str, TopicEntry] = {}
        self._open = Reader
        with Reader(path) as reader:
            self.distro = recorded_by(path) if path.suffix == ".db3" else ""
            channels = getattr(reader.storage, "channels", {})
            hashes = {c.topic: channel_hash(c.metadata) for c in channels.values()}
            for item in reader.connections:
                known = self.topics.get(item.topic)
                self.topics[item.topic] = TopicEntry(
                    item.topic,
                    full_type(item.msgtype),
                    item.msgcount + (known.count if known else 0),
                    item.msgdef.data,
                    item.msgdef.format == MessageDefinitionFormat.IDL,
                    item.digest or hashes.get(item.topic, ""),
                    getattr(item.ext, "serialization_format", "cdr"),
                )

    def messages(self, topics: set[str]) -> Iterator[RawMessage]:
        """Messages of some topics in order of time."""
        last = -1
        try:
            for message in self._indexed(topics):
                last = message.time_ns
                yield message
        except GeneratorExit:
            raise
        except Exception as error:
            line = " ".join(str(error).split())
            self.problems.append(f"{self.path.name}: {line}")
            rest = scan(self.path).messages(topics)
            yield from (message for message in rest if message.time_ns > last)

    def _indexed(self, topics: set[str]) -> Iterator[RawMessage]:
        with self._open(self.path) as reader:
            wanted: list[Any] = [item for item in reader.connections if item.topic in topics]
            if not wanted:
                return
            chunks = getattr(reader.storage, "chunks", None)
            stream = getattr(reader.storage, "bio", None)
            if chunks and stream is not None:
                names = {item.id: item.topic for item in wanted}
                yield from indexed_messages(stream, chunks, names)
                return
            for connection, time_ns, data in reader.messages(wanted):
                yield RawMessage(time_ns, connection.topic, data)
