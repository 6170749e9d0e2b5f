# SPDX-License-Identifier: Apache-2.0
"""A bag as a stream of messages, whatever its storage, and a plain account of what was not read."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.bag import mcap_records, sqlite_file
from adamoe_ros.data.bag.bag_entry import Placed, RawMessage, TopicEntry, add_topic
from adamoe_ros.data.bag.bag_files import COMPRESSED, BagFiles, find_files, stated_types
from adamoe_ros.data.bag.mcap_file import McapFile
from adamoe_ros.data.bag.mcap_records import zstd
from adamoe_ros.data.bag.sqlite_file import SqliteFile, folded, has_wal
from adamoe_ros.data.bag.types import TypeReader

_ZSTD_START = b"\x28\xb5\x2f\xfd"  # never the start of CDR: messages were compressed one by one
_ROS1_START = b"#ROSBAG V"


class Storage(Protocol):
    """A file that can be read; ``problems`` grows while it is.

    ``distro``: that recorded it, where its messages have no definitions; empty: not known.
    ``start_ns``: key of its first message; None: it has none.
    """

    path: Path
    distro: str
    topics: dict[str, TopicEntry]
    start_ns: int | None

    @property
    def problems(self) -> list[str]:
        """Damage so far, one line each."""

    def messages(self, topics: set[str]) -> Iterator[Placed]:
        """Messages of some topics in their order."""


def open_storage(path: Path) -> Storage:
    """A file of a bag; what it is, is seen from its content.

    Raises:
        ContractError: nothing in it can be read.
    """
    with path.open("rb") as stream:
        start = stream.read(16)
    if start.startswith(_ROS1_START):
        do = "convert it with rosbags-convert"
        raise ContractError(problem(str(path), "a bag of ROS 2", "one of ROS 1", do))
    if start == sqlite_file.MAGIC or (path.suffix == ".db3" and start[:8] != mcap_records.MAGIC):
        return SqliteFile(path)
    return McapFile(path)


class BagMessage(NamedTuple):
    """One deserialised message; ``time_ns`` is the recorder's clock at its arrival."""

    time_ns: int
    topic: str
    message: Any


class Bag:
    """One bag; a context manager, as compressed files are unpacked to a temporary folder.

    Args:
        path: folder or file.

    Attributes:
        files: what it consists of.
        topics: by name, over all files.
        problems: damage that was met so far, one line each; grows while messages are read.
        unreadable: topic -> messages that are not of its type, or of a type nobody knows.

    Raises:
        ContractError: nothing can be read at all; every reason.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: BagFiles = find_files(path)
        self._notes = list(self.files.problems)
        self._folder: TemporaryDirectory[str] | None = None
        self.unreadable: Counter[str] = Counter()
        self._left_out: dict[str, str] = {}  # topic -> what the first message was
        self._storages = self._open()
        self.topics = self._join()
        self._types: dict[str, TypeReader | None] = {}

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was unpacked. May be called twice."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @property
    def problems(self) -> list[str]:
        """Damage that was met so far."""
        lines = [*self._notes, *(line for item in self._storages for line in item.problems)]
        for topic, first in self._left_out.items():
            count, of = self.unreadable[topic], self.topics[topic].count
            lines.append(
                f"topic {topic}: {count} of {of} messages are left out; the first: {first}"
            )
        return lines

    @property
    def state(self) -> Literal["whole", "partial"]:
        """Whether everything was read so far."""
        return "partial" if self.problems or self.unreadable else "whole"

    def _join(self) -> dict[str, TopicEntry]:
        """Topics of all files, with what only metadata.yaml says of their types."""
        topics: dict[str, TopicEntry] = {}
        for storage in self._storages:
            for entry in storage.topics.values():
                add_topic(topics, entry)
        stated = stated_types(self.files.metadata)
        for name, entry in topics.items():
            kind, digest = stated.get(name, ("", ""))
            same = kind == (entry.type or kind)
            topics[name] = replace(
                entry, type=entry.type or kind, digest=entry.digest or (digest if same else "")
            )
        twice = [name for name, entry in topics.items() if name.endswith(f" ({entry.type})")]
        for name in twice:
            topic = name.rsplit(" (", 1)[0]
            kinds = f"{topics[topic].type} and {topics[name].type}"
            self._notes.append(
                problem(f"topic {topic}", "messages of one type", kinds, "they are kept apart")
            )
        return topics

    @property
    def distro(self) -> str:
        """ROS distribution that recorded it, as far as it is known; else empty."""
        return self.files.distro or next((s.distro for s in self._storages if s.distro), "")

    @property
    def count(self) -> int:
        """Messages of all topics."""
        return sum(entry.count for entry in self.topics.values())

    def _open(self) -> list[Storage]:
        storages: list[Storage] = []
        lines: list[str] = []
        for path in self.files.files:
            try:
                storages.append(open_storage(self._plain(path)))
            except (ContractError, OSError) as error:
                lines += error.problems if isinstance(error, ContractError) else [str(error)]
        if not storages:
            self.close()
            raise ContractError([*lines, *self._notes])
        self._notes += lines
        return storages

    def _plain(self, path: Path) -> Path:
        """The file itself, unpacked, or with its write-ahead log folded in."""
        if path.name.endswith(COMPRESSED):
            return self._unpacked(path)
        if path.suffix == ".db3" and has_wal(path):
            self._notes.append(f"{path.name}: the recorder was killed; its -wal file is read, too")
            return folded(path, self._temporary())
        return path

    def _temporary(self) -> Path:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="adamoe_bag_")
        return Path(self._folder.name)

    def _unpacked(self, path: Path) -> Path:
        target = self._temporary() / path.name.removesuffix(COMPRESSED)
        with path.open("rb") as packed, target.open("wb") as plain:
            whole = _unpack(packed, plain)
        if not whole:
            self._notes.append(f"{path.name}: the compressed data are damaged or end early")
        return target

    # --- messages -------------------------------------------------------------------------------

    def raw(self, topics: Iterable[str]) -> Iterator[RawMessage]:
        """Messages of some topics as bytes, in order of time over all files."""
        wanted = set(topics)
        started = [item for item in self._storages if item.start_ns is not None]
        for message in merged(started, wanted):
            if message.data[:4] == _ZSTD_START:
                try:
                    message = message._replace(data=zstd().decompress(message.data))
                except (zstd().ZstdError, EOFError, ValueError) as error:
                    self._leave_out(message.topic, f"a compressed message that is damaged: {error}")
                    continue
            yield message

    def type_reader(self, topic: str) -> TypeReader | None:
        """Reader of a topic's messages; None where its type is not known (told in ``problems``)."""
        if topic not in self._types:
            self._types[topic] = self._make_reader(topic)
        return self._types[topic]

    def _make_reader(self, topic: str) -> TypeReader | None:
        entry = self.topics[topic]
        try:
            reader = TypeReader(entry, self.distro)
        except ContractError as error:
            self._notes += error.problems
            self.unreadable[topic] += entry.count
            return None
        if reader.problem:
            self._notes.append(reader.problem)
        return reader

    def messages(self, topics: Iterable[str]) -> Iterator[BagMessage]:
        """Messages of some topics, deserialised; those that cannot be are counted and left out."""
        readers = {topic: self.type_reader(topic) for topic in topics if topic in self.topics}
        known = {topic: reader for topic, reader in readers.items() if reader is not None}
        for raw in self.raw(known):
            message = self._read(known[raw.topic], raw)
            if message is not None:
                yield BagMessage(raw.time_ns, raw.topic, message)

    def deserialised(self, raw: RawMessage) -> Any | None:
        """One message as an object; None (and counted) where its bytes are not of its type."""
        reader = self.type_reader(raw.topic)
        return None if reader is None else self._read(reader, raw)

    def _read(self, reader: TypeReader, raw: RawMessage) -> Any | None:
        try:
            return reader.read(raw.data)
        except ContractError as error:
            self._leave_out(raw.topic, str(error))
            return None

    def _leave_out(self, topic: str, line: str) -> None:
        self.unreadable[topic] += 1
        self._left_out.setdefault(topic, line)

    def note(self, line: str) -> None:
        """Add damage that was met elsewhere to ``problems``."""
        self._notes.append(line)

    def assume(self, topic: str, kind: str) -> None:
        """Read a topic, of which the recorder stored no type, as messages of one."""
        entry = self.topics[topic]
        self._notes.append(
            problem(
                f"topic {topic}",
                "its message type in the bag",
                "none: the recorder had no definition of it",
                f"read as {kind}, as the profile has it",
            )
        )
        self.topics[topic] = replace(entry, type=kind)
        self._types.pop(topic, None)


def merged(storages: Iterable[Storage], topics: set[str]) -> Iterator[RawMessage]:
    """Messages of several files by time; a file is opened when its first message is due."""
    files = list(storages)
    if len(files) == 1:
        yield from (message for _, _, message in files[0].messages(topics))
        return

    def of(number: int, storage: Storage) -> Iterator[tuple[int, int, int, RawMessage | None]]:
        yield storage.start_ns or 0, number, -1, None
        for key, place, message in storage.messages(topics):
            yield key, number, place, message

    for _, _, _, message in heapq.merge(*(of(*item) for item in enumerate(files))):
        if message is not None:
            yield message


def _unpack(packed: BinaryIO, plain: BinaryIO) -> bool:
    """Decompress zstd frames as far as they go; False when the last one has no end."""
    decompressor = zstd().ZstdDecompressor()
    begun = False
    while data := packed.read(1 << 20):
        while data:
            if decompressor.eof:
                decompressor = zstd().ZstdDecompressor()
            try:
                plain.write(decompressor.decompress(data))
            except zstd().ZstdError:
                return False
            begun, data = True, decompressor.unused_data if decompressor.eof else b""
    return begun and bool(decompressor.eof)
