# SPDX-License-Identifier: Apache-2.0
"""MCAP files written record by record, with what the format leaves to the writer left out at will."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from backports import zstd
from bag_support import STORE, Record

MAGIC = b"\x89MCAP0\r\n"


@dataclass
class Form:
    """What is written, and how; the defaults are what rosbag2 writes.

    ``index``: whether a chunk (by number) gets a message index for a channel. ``chunked``: whether a
    message (by number) goes into a chunk.
    """

    index: Callable[[int, int], bool] = lambda chunk, channel: True
    chunked: Callable[[int], bool] = lambda number: True
    chunk_index: Callable[[int], bool] = lambda chunk: True
    statistics: bool = True
    summary: bool = True
    repeat: bool = True  # schemas and channels in the summary
    schemas: bool = True
    definition: Callable[[str], str] = lambda text: text
    kind: Callable[[str], str] = lambda name: name
    encoding: str = "cdr"
    profile: str = "ros2"
    compression: str = ""
    crc: bool = True
    chunk_bytes: int = 30_000
    extra: bytes = b""  # records between the chunks


@dataclass
class _Chunk:
    data: bytearray = field(default_factory=bytearray)
    entries: dict[int, list[tuple[int, int]]] = field(default_factory=dict)


def text(words: str | bytes) -> bytes:
    data = words.encode() if isinstance(words, str) else words
    return struct.pack("<I", len(data)) + data


def record(kind: int, body: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(body)) + body


class _File:
    def __init__(self, form: Form) -> None:
        self.form = form
        self.out = bytearray(MAGIC + record(1, text(form.profile) + text("mcap_forms")))
        self.schemas: dict[str, int] = {}
        self.channels: dict[tuple[str, str], int] = {}
        self.counts: dict[int, int] = {}
        self.repeated, self.indexes = bytearray(), bytearray()
        self.chunks = self.messages = 0
        self.times: list[int] = []
        self.chunk = _Chunk()

    def add(self, time_ns: int, topic: str, kind: str, data: bytes) -> None:
        inside = self.form.chunked(self.messages)
        if not inside:
            self.end_chunk()
        target = self.chunk.data if inside else self.out
        channel = self.channels.get((topic, kind)) or self.describe(topic, kind, target)
        self.messages += 1
        self.counts[channel] = self.counts.get(channel, 0) + 1
        self.times.append(time_ns)
        if inside:
            self.chunk.entries.setdefault(channel, []).append((time_ns, len(target)))
        head = struct.pack("<HIQQ", channel, self.messages, time_ns, time_ns)
        target += record(5, head + data)
        if len(self.chunk.data) > self.form.chunk_bytes:
            self.end_chunk()

    def describe(self, topic: str, kind: str, target: bytearray) -> int:
        form, made = self.form, b""
        if form.schemas and kind not in self.schemas:
            self.schemas[kind] = len(self.schemas) + 1
            definition = form.definition(STORE.generate_msgdef(kind, ros_version=2)[0])
            body = text(form.kind(kind)) + text("ros2msg") + text(definition)
            made += record(3, struct.pack("<H", self.schemas[kind]) + body)
        number = self.channels[topic, kind] = len(self.channels) + 1
        body = struct.pack("<HH", number, self.schemas.get(kind, 0))
        made += record(4, body + text(topic) + text(form.encoding) + struct.pack("<I", 0))
        target += made
        self.repeated += made
        return number

    def end_chunk(self) -> None:
        chunk, form = self.chunk, self.form
        if not chunk.data:
            return
        times = [time for entries in chunk.entries.values() for time, _ in entries] or [0]
        plain = bytes(chunk.data)
        packed = zstd.compress(plain) if form.compression == "zstd" else plain
        place = len(self.out)
        body = struct.pack("<QQQ", min(times), max(times), len(plain))
        body += struct.pack("<I", crc32(plain) if form.crc else 0) + text(form.compression)
        self.out += record(6, body + struct.pack("<Q", len(packed)) + packed)
        length, first, offsets = len(self.out) - place, len(self.out), b""
        for channel, entries in chunk.entries.items():
            if form.index(self.chunks, channel):
                offsets += struct.pack("<HQ", channel, len(self.out))
                array = b"".join(struct.pack("<QQ", *entry) for entry in entries)
                self.out += record(7, struct.pack("<H", channel) + text(array))
        if form.chunk_index(self.chunks):
            body = struct.pack("<QQQQ", min(times), max(times), place, length) + text(offsets)
            body += struct.pack("<Q", len(self.out) - first) + text(form.compression)
            self.indexes += record(8, body + struct.pack("<QQ", len(packed), len(plain)))
        self.out += form.extra
        self.chunks += 1
        self.chunk = _Chunk()

    def finished(self) -> bytes:
        form = self.form
        self.end_chunk()
        self.out += record(15, struct.pack("<I", 0))
        start = len(self.out)
        if form.summary:
            self.out += (self.repeated if form.repeat else b"") + self.indexes
            if form.statistics:
                body = struct.pack("<QHI", self.messages, len(self.schemas), len(self.channels))
                body += struct.pack("<III", 0, 0, self.chunks)
                body += struct.pack("<QQ", min(self.times), max(self.times))
                counts = b"".join(struct.pack("<HQ", *item) for item in self.counts.items())
                self.out += record(11, body + text(counts))
        start = start if len(self.out) > start else 0
        self.out += record(2, struct.pack("<QQI", start, 0, 0)) + MAGIC
        return bytes(self.out)


def write_form(path: Path, records: Iterable[Record], form: Form | None = None) -> Path:
    """One MCAP file."""
    file = _File(form or Form())
    for time_ns, topic, kind, message in records:
        file.add(time_ns, topic, kind, bytes(STORE.serialize_cdr(message, kind)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.finished())
    return path
