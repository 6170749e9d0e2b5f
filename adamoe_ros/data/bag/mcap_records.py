# SPDX-License-Identifier: Apache-2.0
"""Records of MCAP files: their heads in a file, their fields, chunks unpacked and checked.

Format: mcap.dev/spec, version 0.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple
from zlib import crc32

MAGIC = b"\x89MCAP0\r\n"
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 0x02, 0x03, 0x04, 0x05, 0x06
MESSAGE_INDEX, CHUNK_INDEX, STATISTICS, DATA_END = 0x07, 0x08, 0x0B, 0x0F
HEAD = struct.Struct("<BQ")  # opcode, length
MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK_HEAD = struct.Struct("<QQQI")  # start, end, uncompressed size, crc
_FOOTER = struct.Struct("<QQI")  # start of the summary, of its offsets, crc
_HASH_KEY = "topic_type_hash"  # rosbag2_storage_mcap's
_PRIVATE = 0x80  # opcodes from here on are anybody's
_END_BYTES = HEAD.size + _FOOTER.size + len(MAGIC)

Note = Callable[[str], None]


class Record(NamedTuple):
    """One record of a file: where its content begins, and how much of it is there."""

    opcode: int
    start: int
    length: int
    missing: int = 0


@dataclass(frozen=True)
class Schema:
    """A message type as a file has it."""

    name: str
    encoding: str
    text: str


@dataclass(frozen=True)
class Channel:
    """A topic as a file has it."""

    schema: int
    topic: str
    encoding: str
    metadata: bytes


class Fields:
    """Fields of one record, one after the other.

    Raises:
        ValueError, struct.error: the record ends within one.
    """

    def __init__(self, content: bytes, place: int = 0) -> None:
        self._content, self.place = content, place

    def number(self, form: str) -> int:
        """Of one ``struct`` code."""
        value: int = struct.unpack_from(f"<{form}", self._content, self.place)[0]
        self.place += struct.calcsize(f"<{form}")
        return value

    def sized(self) -> bytes:
        """Bytes with their number before them."""
        length = self.number("I")
        self.place += length
        if self.place > len(self._content):
            raise ValueError("a field is longer than its record")
        return self._content[self.place - length : self.place]

    def text(self) -> str:
        """UTF-8; what is none is replaced."""
        return self.sized().decode("utf-8", "replace")

    def counts(self) -> dict[int, int]:
        """A map from channels to numbers."""
        return dict(struct.iter_unpack("<HQ", self.sized()))


def read_schema(content: bytes) -> tuple[int, Schema]:
    """Number and content of a schema record."""
    fields = Fields(content)
    return fields.number("H"), Schema(fields.text(), fields.text(), fields.text())


def read_channel(content: bytes) -> tuple[int, Channel]:
    """Number and content of a channel record."""
    fields = Fields(content)
    number, schema = fields.number("H"), fields.number("H")
    return number, Channel(schema, fields.text(), fields.text(), fields.sized())


def channel_hash(metadata: bytes) -> str:
    """Type hash in a channel's map of strings; empty where there is none, or the map is damaged."""
    words, fields = [], Fields(metadata)
    while fields.place + 4 <= len(metadata):
        try:
            words.append(fields.text())
        except ValueError:
            break
    return dict(zip(words[::2], words[1::2], strict=False)).get(_HASH_KEY, "")


def records(stream: BinaryIO, start: int, size: int) -> Iterator[Record]:
    """Records from a place on, without reading their content; the last one may be cut.

    Raises:
        ValueError: there is no valid record where one should begin.
    """
    while start < size:
        stream.seek(start)
        head = stream.read(HEAD.size)
        if head[: len(MAGIC)] == MAGIC:
            return
        if len(head) < HEAD.size:
            raise ValueError(f"ends within a record at byte {start}")
        opcode, length = HEAD.unpack(head)
        start += HEAD.size
        if not 0 < opcode <= DATA_END and opcode < _PRIVATE:
            raise ValueError(f"no valid record at byte {start - HEAD.size} of {size}")
        missing = max(0, start + length - size)
        if missing and opcode != CHUNK:
            raise ValueError(f"truncated at byte {size}, within the record at {start - HEAD.size}")
        yield Record(opcode, start, length - missing, missing)
        start += length


@dataclass
class Summary:
    """What a file says of itself at its end; every part is optional.

    Attributes:
        schemas, channels: by number.
        chunks: places of chunk records.
        counts: channel -> messages. messages: of all; None: no statistics.
        times: log times of the first and last message, by the statistics.
        problem: why there is no summary, where there should be one; empty: none is missing.
    """

    schemas: dict[int, Schema]
    channels: dict[int, Channel]
    chunks: list[int]
    counts: dict[int, int] = field(default_factory=dict)
    messages: int | None = None
    times: tuple[int, int] = (0, 0)
    problem: str = ""


def read_summary(stream: BinaryIO, size: int) -> Summary:
    """The summary of a file; empty where there is none."""
    found = Summary({}, {}, [])
    stream.seek(max(len(MAGIC), size - _END_BYTES))
    end = stream.read(_END_BYTES)
    if end[-len(MAGIC) :] != MAGIC or end[: HEAD.size] != HEAD.pack(FOOTER, _FOOTER.size):
        found.problem = "has no end: the recorder was killed, or the file is cut"
        return found
    start, _, crc = _FOOTER.unpack_from(end, HEAD.size)
    if not start:
        return found
    stream.seek(start)
    checked = stream.read(max(0, size - start - len(MAGIC) - 4))
    if not checked or (crc and crc32(checked) != crc):
        found.problem = "has a summary that is damaged: read without it"
        return found
    try:
        for record in records(stream, start, size):
            stream.seek(record.start)
            _take_summary(found, record.opcode, stream.read(record.length))
    except (ValueError, struct.error) as error:
        line = f"has a summary that is damaged ({error}): read without it"
        return Summary({}, {}, [], problem=line)
    return found


def _take_summary(found: Summary, opcode: int, content: bytes) -> None:
    if opcode == SCHEMA:
        number, schema = read_schema(content)
        found.schemas[number] = schema
    elif opcode == CHANNEL:
        number, channel = read_channel(content)
        found.channels[number] = channel
    elif opcode == CHUNK_INDEX:
        found.chunks.append(struct.unpack_from("<Q", content, 16)[0])
    elif opcode == STATISTICS:
        found.messages, found.counts = Fields(content).number("Q"), Fields(content, 42).counts()
        found.times = struct.unpack_from("<QQ", content, 26)


def chunk_records(content: bytes, place: int, missing: int, note: Note) -> memoryview:
    """The records of a chunk, unpacked and checked; what is damaged is told and left out.

    Args:
        content: of the chunk record.
        place: of the record in the file, for lines.
        missing: bytes that a cut file lacks of it.
    """
    where = f"the chunk at byte {place}"
    try:
        size, crc = _CHUNK_HEAD.unpack_from(content)[2:]
        fields = Fields(content, _CHUNK_HEAD.size)
        compression, length = fields.text(), fields.number("Q")
        data = unpacked(memoryview(content)[fields.place : fields.place + length], compression)
    except Exception as error:  # decompressors raise errors of their own kinds
        if not missing:
            note(f"{where} cannot be unpacked ({' '.join(str(error).split())}); it is left out")
        return memoryview(b"")
    if crc and crc32(data) == crc:
        return data
    if len(data) == size and crc:
        note(f"the checksum of {where} is wrong; it is left out")
        return memoryview(b"")
    if len(data) != size and not missing:
        note(f"{where} holds {len(data)} instead of {size} bytes; what is there is read")
    return data


def unpacked(data: memoryview, compression: str) -> memoryview:
    """What can be decompressed of a possibly cut piece."""
    if compression in ("", "none"):
        return data
    if compression == "zstd":
        return memoryview(zstd().ZstdDecompressor().decompress(data))
    if compression == "lz4":
        from lz4.frame import LZ4FrameDecompressor

        return memoryview(LZ4FrameDecompressor().decompress(data))
    raise ValueError(f"unknown compression {compression!r}")


def zstd() -> Any:
    """The zstd module of this Python, or its backport."""
    if sys.version_info >= (3, 14):
        from compression import zstd as module
    else:
        from backports import zstd as module
    return module
