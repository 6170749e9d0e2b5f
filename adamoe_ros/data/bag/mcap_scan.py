# SPDX-License-Identifier: Apache-2.0
"""Reads MCAP files from the front, record by record, as far as they are whole.

For files without a summary (a recorder that was killed), truncated ones and those with broken
chunks; whole files go through rosbags' indexed reader. Format: mcap.dev/spec, version 0.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.bag.entry import RawMessage, TopicEntry, full_type, in_order

MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")  # opcode, length
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK = struct.Struct("<QQQI")  # start, end, uncompressed size, crc
_SCHEMA_OP, _CHANNEL_OP, _MESSAGE_OP, _CHUNK_OP = 0x03, 0x04, 0x05, 0x06
_LARGEST = 1 << 31  # bytes of a record; more is a broken length

Told = Callable[[str], None]


@dataclass(frozen=True)
class _Schema:
    name: str
    encoding: str
    text: str


class McapScan:
    """One file, read without its index.

    Args:
        path: the file.

    Attributes:
        topics: by name, with the messages that could be counted.
        problems: one line per kind of damage.

    Raises:
        ContractError: not an MCAP file at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.distro = ""  # not needed: MCAP files bring their definitions
        self.problems: list[str] = []
        self.topics: dict[str, TopicEntry] = {}
        self._schemas: dict[int, _Schema] = {}
        self._channels: dict[int, str] = {}
        self._first_look()

    def _first_look(self) -> None:
        counts: dict[str, int] = {}
        for message in self._messages(self._note):
            counts[message.topic] = counts.get(message.topic, 0) + 1
        self.topics = {
            name: replace(entry, count=counts.get(name, 0)) for name, entry in self.topics.items()
        }

    def messages(self, topics: set[str]) -> Iterator[RawMessage]:
        """Messages of some topics in order of time."""
        wanted = (item for item in self._messages(lambda line: None) if item.topic in topics)
        return in_order(wanted)

    def _note(self, line: str) -> None:
        if line not in self.problems:
            self.problems.append(line)

    def _messages(self, tell: Told) -> Iterator[RawMessage]:
        with self.path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise ContractError(
                    problem(str(self.path), "an MCAP file", "another start", "check the file")
                )
            size = self.path.stat().st_size
            while (start := stream.tell()) < size:
                record = self._record(stream, size, start, tell)
                if record is None:
                    return
                yield from self._take(*record, tell=tell)

    def _record(
        self, stream: BinaryIO, size: int, start: int, tell: Told
    ) -> tuple[int, bytes] | None:
        """Opcode and content; None at the end, be it the regular or the actual one."""
        head = stream.read(_HEAD.size)
        if head[: len(MAGIC)] == MAGIC:
            return None
        if len(head) < _HEAD.size:
            tell(f"{self.path.name}: ends within a record at byte {start}")
            return None
        opcode, length = _HEAD.unpack(head)
        if length > _LARGEST or opcode == 0:
            tell(f"{self.path.name}: no valid record at byte {start} of {size}")
            return None
        content = stream.read(length)
        if len(content) < length:
            tell(f"{self.path.name}: truncated at byte {size}, within the record at {start}")
            return (opcode, content) if opcode == _CHUNK_OP else None
        return opcode, content

    def _take(self, opcode: int, content: bytes, tell: Told) -> Iterator[RawMessage]:
        if opcode == _CHUNK_OP:
            yield from sorted(self._chunk(content, tell), key=lambda item: item.time_ns)
        elif (message := self._single(opcode, content)) is not None:
            yield message

    def _single(self, opcode: int, content: bytes) -> RawMessage | None:
        if opcode == _MESSAGE_OP and len(content) >= _MESSAGE.size:
            channel, _, time_ns, _ = _MESSAGE.unpack_from(content)
            topic = self._channels.get(channel)
            return RawMessage(time_ns, topic, content[_MESSAGE.size :]) if topic else None
        if opcode == _SCHEMA_OP:
            fields = _Fields(content)
            number = fields.number("<H")
            self._schemas[number] = _Schema(fields.text(), fields.text(), fields.text())
        elif opcode == _CHANNEL_OP:
            self._take_channel(_Fields(content))
        return None

    def _take_channel(self, fields: _Fields) -> None:
        number, schema = fields.number("<H"), self._schemas.get(fields.number("<H"))
        topic, encoding = fields.text(), fields.text()
        known = schema or _Schema("", "", "")
        self._channels[number] = topic
        if topic not in self.topics:
            kind, idl = full_type(known.name), known.encoding in ("ros2idl", "omgidl")
            self.topics[topic] = TopicEntry(topic, kind, 0, known.text, idl, "", encoding)

    def _chunk(self, content: bytes, tell: Told) -> Iterator[RawMessage]:
        if len(content) < _CHUNK.size + 4:
            return
        _, _, size, crc = _CHUNK.unpack_from(content)
        fields = _Fields(content, _CHUNK.size)
        compression, length = fields.text(), fields.number("<Q")
        packed = content[fields.place : fields.place + length]
        try:
            data = unpacked(packed, compression)
        except Exception as error:
            tell(f"{self.path.name}: a chunk cannot be decompressed ({error}); it is left out")
            return
        if len(data) == size and crc and crc32(data) != crc:
            tell(f"{self.path.name}: a chunk's checksum is wrong; it is left out")
            return
        place = 0
        while place + _HEAD.size <= len(data):
            opcode, length = _HEAD.unpack_from(data, place)
            place += _HEAD.size
            if place + length > len(data):
                return  # the file's end was told already
            message = self._single(opcode, data[place : place + length])
            if message is not None:
                yield message
            place += length


class _Fields:
    """Length-prefixed fields of one record."""

    def __init__(self, content: bytes, place: int = 0) -> None:
        self._content, self.place = content, place

    def number(self, form: str) -> int:
        value: int = struct.unpack_from(form, self._content, self.place)[0]
        self.place += struct.calcsize(form)
        return value

    def text(self) -> str:
        length = self.number("<I")
        self.place += length
        return self._content[self.place - length : self.place].decode("utf-8", "replace")


def unpacked(data: bytes, compression: str) -> bytes:
    """What can be decompressed of a possibly cut piece."""
    if compression == "":
        return data
    if compression == "zstd":
        return bytes(zstd().ZstdDecompressor().decompress(data))
    if compression == "lz4":
        from lz4.frame import LZ4FrameDecompressor

        return bytes(LZ4FrameDecompressor().decompress(data))
    raise ValueError(f"unknown compression {compression!r}")


def zstd() -> Any:
    """The zstd module of this Python, or its backport."""
    if sys.version_info >= (3, 14):
        from compression import zstd as module
    else:
        from backports import zstd as module
    return module
