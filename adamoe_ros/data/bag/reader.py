# SPDX-License-Identifier: Apache-2.0
"""A bag as a stream of messages, whatever its storage, and a plain account of what was not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, BinaryIO, Literal, NamedTuple

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.bag.entry import RawMessage, TopicEntry
from adamoe_ros.data.bag.files import COMPRESSED, BagFiles, find_files
from adamoe_ros.data.bag.hashes import stated_hashes
from adamoe_ros.data.bag.mcap_scan import zstd
from adamoe_ros.data.bag.sqlite_scan import folded, has_wal
from adamoe_ros.data.bag.storage import Storage, open_storage
from adamoe_ros.data.bag.types import TypeReader

_ZSTD_START = b"\x28\xb5\x2f\xfd"  # never the start of CDR: messages were compressed one by one


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
        self._storages = self._open()
        self.topics = self._with_hashes(_joined(self._storages))
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
        return [*self._notes, *(line for item in self._storages for line in item.problems)]

    @property
    def state(self) -> Literal["whole", "partial"]:
        """Whether everything was read so far."""
        return "partial" if self.problems or self.unreadable else "whole"

    def _with_hashes(self, topics: dict[str, TopicEntry]) -> dict[str, TopicEntry]:
        """Topics with the hashes that metadata.yaml states, where the files state none."""
        stated = stated_hashes(self.files.metadata)
        return {
            name: entry if entry.digest else replace(entry, digest=stated.get(name, ""))
            for name, entry in topics.items()
        }

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
            self._notes.append(f"{path.name}: the compressed data end early")
        return target

    # --- messages -------------------------------------------------------------------------------

    def raw(self, topics: Iterable[str]) -> Iterator[RawMessage]:
        """Messages of some topics as bytes, in order of time; files one after the other."""
        wanted = set(topics)
        for storage in self._storages:
            for message in storage.messages(wanted):
                if message.data[:4] == _ZSTD_START:
                    message = message._replace(data=zstd().decompress(message.data))
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
            message = self.deserialised(raw)
            if message is not None:
                yield BagMessage(raw.time_ns, raw.topic, message)

    def deserialised(self, raw: RawMessage) -> Any | None:
        """One message as an object; None (and counted) where its bytes are not of its type."""
        reader = self.type_reader(raw.topic)
        if reader is None:
            return None
        try:
            return reader.read(raw.data)
        except ContractError as error:
            self.unreadable[raw.topic] += 1
            line = f"topic {raw.topic}: {error}"
            if self.unreadable[raw.topic] == 1:
                self._notes.append(line)
            return None


def _unpack(packed: BinaryIO, plain: BinaryIO) -> bool:
    """Decompress zstd frames as far as they go; False when the last one has no end."""
    decompressor = zstd().ZstdDecompressor()
    while data := packed.read(1 << 20):
        while data:
            try:
                plain.write(decompressor.decompress(data))
            except zstd().ZstdError:
                return False
            data = decompressor.unused_data if decompressor.eof else b""
            if decompressor.eof and data:
                decompressor = zstd().ZstdDecompressor()
    return bool(decompressor.eof)


def _joined(storages: list[Storage]) -> dict[str, TopicEntry]:
    topics: dict[str, TopicEntry] = {}
    for storage in storages:
        for name, entry in storage.topics.items():
            known = topics.get(name)
            if known is None:
                topics[name] = entry
            else:
                better = known if known.definition else entry
                topics[name] = replace(better, count=known.count + entry.count)
    return topics


def each_bag(paths: Iterable[Path], tell: Callable[[str], None]) -> Iterator[Bag]:
    """Open bags one after the other; one that cannot be read at all is told and passed over."""
    for path in paths:
        try:
            bag = Bag(path)
        except ContractError as error:
            tell(problem(path.name, "a readable bag", "; ".join(error.problems), "it is skipped"))
            continue
        with bag:
            yield bag
