# SPDX-License-Identifier: Apache-2.0
"""One MCAP file, with whatever of the format its writer used, whole or as far as it is.

The file is walked from record to record without reading what is in the chunks. Its message indexes
are used if their numbers are those of its statistics; else every chunk is read once at the start.
A *part* is a chunk, or a run of messages outside of chunks: what is in memory at a time.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.bag import mcap_records as mcap
from adamoe_ros.data.bag.bag_entry import (
    LATEST_NS,
    FileOrder,
    Placed,
    RawMessage,
    TopicEntry,
    Waiting,
    add_topic,
    full_type,
)

_RUN_BYTES = 4 << 20  # of messages outside of chunks that are read at a time
_TOLD = 10  # damaged places of a file
_PLACE_BITS = 40  # of a place in a part; above them is the part's number
_ENTRY = np.dtype([("time", "<u8"), ("place", "<u8")])  # of a message index
_Ints = NDArray[np.int64]
_Times = tuple[
    int, _Ints, _Ints
]  # channel, log times, places in the part, in the order of the file


@dataclass
class _Part:
    """A chunk, or a run of other records, from ``start`` to ``end`` in the file.

    ``missing``: bytes that a cut file lacks of it. ``key``: of its first message; None: it has none.
    """

    number: int
    chunk: bool
    start: int
    end: int
    missing: int = 0
    key: int | None = None

    def place(self, offset: int) -> int:
        """Of a record in the file's order."""
        return (self.number << _PLACE_BITS) + offset


class McapFile:
    """One file.

    Args:
        path: the file.

    Attributes:
        topics: by name, with their messages.
        start_ns: key of the first message; None: it has none.

    Raises:
        ContractError: not an MCAP file at all.
    """

    distro = ""  # not needed: MCAP files bring their definitions

    def __init__(self, path: Path) -> None:
        self.path = path
        self._noted: dict[str, None] = {}  # lines, in order
        self.topics: dict[str, TopicEntry] = {}
        self._names: dict[int, str] = {}  # channel -> topic
        self._order = FileOrder()
        self._counts: Counter[int] = Counter()
        self._parts: list[_Part] = []
        self._open: _Part | None = None  # a chunk that waits for indexes, a run for messages
        self._indexes: list[_Times] = []  # of that chunk
        self._seen: set[int] = set()  # places of chunk records
        with path.open("rb") as stream:
            if stream.read(len(mcap.MAGIC)) != mcap.MAGIC:
                line = problem(str(path), "an MCAP file", "another start", "check the file")
                raise ContractError(line)
            self._size = path.stat().st_size
            self._summary = mcap.read_summary(stream, self._size)
            if self._summary.problem:
                self._note(self._summary.problem)
            self._walk(stream)
            if not self._indexes_are_whole():
                self._read_all(stream)
        if self._order.steps_line:
            self._note(self._order.steps_line)
        self._make_topics()
        keyed = [(part.key, part) for part in self._parts if part.key is not None]
        self._parts = [part for _, part in sorted(keyed, key=lambda item: item[0])]
        self.start_ns = self._parts[0].key if self._parts else None

    @property
    def problems(self) -> list[str]:
        """One line per place that is damaged, the first ones of many; grows while messages are read."""
        lines = list(self._noted)
        more = len(lines) - _TOLD
        return lines[:_TOLD] + (
            [f"{self.path.name}: and {more} such places more"] if more > 0 else []
        )

    def _note(self, line: str) -> None:
        self._noted[f"{self.path.name}: {line}"] = None

    # --- the way through the file -----------------------------------------------------------------

    def _walk(self, stream: BinaryIO) -> None:
        """Find the parts; where no record begins, go on at the next chunk that the summary names."""
        known = deque(sorted({place for place in self._summary.chunks if place < self._size}))
        start = len(mcap.MAGIC)
        while True:
            try:
                self._walk_from(stream, start)
            except (ValueError, struct.error) as error:
                self._note(str(error))
            while known and known[0] in self._seen:
                known.popleft()
            if not known:
                return
            start = known.popleft()

    def _walk_from(self, stream: BinaryIO, start: int) -> None:
        try:
            for record in mcap.records(stream, start, self._size):
                place = record.start - mcap.HEAD.size
                if record.opcode == mcap.DATA_END:
                    self._look_behind(stream, place)
                if record.opcode in (mcap.DATA_END, mcap.FOOTER) or place in self._seen:
                    return
                self._take(stream, record, place)
        finally:
            self._close(stream)

    def _look_behind(self, stream: BinaryIO, place: int) -> None:
        """Whether anything follows behind the end of the file that ends its data at a place."""
        if self._summary.problem:
            return  # which is said already
        *_, last = mcap.records(stream, place, self._size)
        rest = self._size - (last.start + last.length) - len(mcap.MAGIC)
        if last.opcode == mcap.FOOTER and rest > 0:
            self._note(f"{rest} bytes behind its end are not read: split the two recordings")

    def _take(self, stream: BinaryIO, record: mcap.Record, place: int) -> None:
        grows = self._open
        if record.opcode == mcap.MESSAGE_INDEX:
            if grows is not None and grows.chunk:
                self._take_index(stream, record)
        elif record.opcode == mcap.MESSAGE:
            if grows is None or grows.chunk or place - grows.start > _RUN_BYTES:
                grows = self._begin(stream, place, record)
            grows.end = record.start + record.length
        elif record.opcode == mcap.CHUNK:
            self._seen.add(place)
            self._begin(stream, record.start, record)
            if record.missing:
                self._note(f"truncated at byte {self._size}, within the record at {place}")
        else:
            self._close(stream)
            if record.opcode in (mcap.SCHEMA, mcap.CHANNEL):
                stream.seek(record.start)
                self._define(record.opcode, stream.read(record.length))

    def _begin(self, stream: BinaryIO, start: int, record: mcap.Record) -> _Part:
        self._close(stream)
        end, chunk = record.start + record.length, record.opcode == mcap.CHUNK
        self._open = _Part(len(self._parts), chunk, start, end, record.missing)
        self._parts.append(self._open)
        return self._open

    def _close(self, stream: BinaryIO) -> None:
        """Put the part that grew into the order, by its message indexes or its messages."""
        part, self._open = self._open, None
        if part is not None:
            times, self._indexes = self._indexes, []
            self._arrange(part, times if part.chunk else self._times(stream, part))

    def _take_index(self, stream: BinaryIO, record: mcap.Record) -> None:
        """Note what a message index says of the chunk before it."""
        stream.seek(record.start)
        content = stream.read(record.length)
        channel, length = struct.unpack_from("<HI", content)
        if length != record.length - 6 or length % _ENTRY.itemsize:
            return
        entries = np.frombuffer(content, _ENTRY, offset=6)
        if len(entries) and entries["time"].max() < LATEST_NS:
            times, places = entries["time"].astype(np.int64), entries["place"].astype(np.int64)
            if (places[1:] < places[:-1]).any():
                by_place = np.argsort(places, kind="stable")
                times, places = times[by_place], places[by_place]
            self._indexes.append((channel, times, places))

    def _define(self, opcode: int, content: bytes) -> None:
        """Take over a schema or channel from the data; what the summary said of it stays."""
        try:
            if opcode == mcap.SCHEMA:
                number, schema = mcap.read_schema(content)
                self._summary.schemas.setdefault(number, schema)
            else:
                number, channel = mcap.read_channel(content)
                self._summary.channels.setdefault(number, channel)
        except (ValueError, struct.error):
            self._note("a description of a topic is damaged")

    # --- what is in the parts ---------------------------------------------------------------------

    def _indexes_are_whole(self) -> bool:
        """Whether the message indexes and the summary say everything that there is to know."""
        stated, channels = self._summary.counts, self._summary.channels
        described = all(
            item.schema in self._summary.schemas or not item.schema for item in channels.values()
        )
        return (
            not self._noted
            and described
            and self._counts.keys() <= channels.keys()
            and +Counter(stated) == self._counts
            and sum(stated.values()) == self._summary.messages
        )

    def _read_all(self, stream: BinaryIO) -> None:
        """Count and order the messages by reading each of them."""
        self._order, self._counts = FileOrder(), Counter()
        self._parts.sort(key=lambda part: part.start)
        for number, part in enumerate(self._parts):
            part.number, part.key = number, None
            self._arrange(part, self._times(stream, part))
        missing = (self._summary.messages or 0) - self._counts.total()
        if missing > 0:
            self._note(f"{missing} of {self._summary.messages} messages are not there any more")

    def _times(self, stream: BinaryIO, part: _Part) -> list[_Times]:
        """Of the messages of a part; schemas and channels in it are noted."""
        data = self._records(stream, part)
        found: dict[int, list[tuple[int, int]]] = {}
        for opcode, start, end in self._inside(part, data):
            if opcode in (mcap.SCHEMA, mcap.CHANNEL):
                self._define(opcode, bytes(data[start:end]))
            elif opcode == mcap.MESSAGE:
                channel, _, time_ns, _ = mcap.MESSAGE_HEAD.unpack_from(data, start)
                if time_ns < LATEST_NS:
                    found.setdefault(channel, []).append((time_ns, start - mcap.HEAD.size))
                else:
                    self._note(f"a message in the part at byte {part.start} has no valid time")
        pairs = {channel: np.array(items, np.int64) for channel, items in found.items()}
        return [(channel, array[:, 0], array[:, 1]) for channel, array in pairs.items()]

    def _arrange(self, part: _Part, found: list[_Times]) -> None:
        """Find steps of the clock in a part, and its place in the order."""
        for channel, times, _ in found:
            self._counts[channel] += len(times)
        order = self._order
        if all(
            order.fits(channel, int(times[0]), int((np.maximum.accumulate(times) - times).max()))
            for channel, times, _ in found
        ):
            ends = [(int(times.min()), int(times.max())) for _, times, _ in found]
            for (channel, _, _), (oldest, newest) in zip(found, ends, strict=True):
                order.add_many(channel, oldest, newest)
            if ends:
                part.key = min(ends)[0] + order.shift(part.place(0))
            return
        singles = sorted(
            (int(place), channel, int(time_ns))
            for channel, times, places in found
            for time_ns, place in zip(times, places, strict=True)
        )
        for place, channel, time_ns in singles:
            order.add(channel, time_ns, part.place(place))
        part.key = min(time_ns + order.shift(part.place(place)) for place, _, time_ns in singles)

    def _make_topics(self) -> None:
        counts = self._counts.copy()
        for number, channel in self._summary.channels.items():
            schema = self._summary.schemas.get(channel.schema) or mcap.Schema("", "", "")
            self._names[number] = add_topic(
                self.topics,
                TopicEntry(
                    channel.topic,
                    full_type(schema.name),
                    counts.pop(number, 0),
                    schema.text,
                    schema.encoding in ("ros2idl", "omgidl"),
                    mcap.channel_hash(channel.metadata),
                    channel.encoding or "cdr",
                ),
            )
        if lost := counts.total():
            self._note(f"{lost} messages are of channels that nothing describes; they are left out")

    # --- messages ---------------------------------------------------------------------------------

    def messages(self, topics: set[str]) -> Iterator[Placed]:
        """Messages of some topics in their order."""
        wanted = {number: name for number, name in self._names.items() if name in topics}
        waiting = Waiting()
        with self.path.open("rb") as stream:
            for index, part in enumerate(self._parts):
                later = self._parts[index + 1].key if index + 1 < len(self._parts) else None
                yield from waiting.through(self._part_messages(stream, part, wanted), later)

    def _part_messages(self, stream: BinaryIO, part: _Part, wanted: dict[int, str]) -> list[Placed]:
        data = self._records(stream, part)
        shift = self._order.shift(part.place(0))
        steps = self._order.steps(part.place(0), part.place(part.end))
        first, head = part.place(-mcap.HEAD.size), mcap.MESSAGE_HEAD
        found: list[Placed] = []
        for opcode, start, end in self._inside(part, data):
            if opcode != mcap.MESSAGE:
                continue
            channel, _, time_ns, _ = head.unpack_from(data, start)
            topic = wanted.get(channel)
            if topic is None or time_ns >= LATEST_NS:
                continue
            place = first + start
            key = time_ns + (self._order.shift(place) if steps else shift)
            content = bytes(data[start + head.size : end])
            found.append((key, place, RawMessage(time_ns, topic, content)))
        return found

    def _records(self, stream: BinaryIO, part: _Part) -> memoryview:
        stream.seek(part.start)
        content = stream.read(part.end - part.start)
        if part.chunk:
            place = part.start - mcap.HEAD.size
            return mcap.chunk_records(content, place, part.missing, self._note)
        return memoryview(content)

    def _inside(self, part: _Part, data: memoryview) -> Iterator[tuple[int, int, int]]:
        """Opcode, begin and end of content of every record of a part."""
        at, size, head = 0, len(data), mcap.HEAD
        while at + head.size <= size:
            opcode, length = head.unpack_from(data, at)
            start = at + head.size
            at = start + length
            short = opcode == mcap.MESSAGE and length < mcap.MESSAGE_HEAD.size
            if at > size or opcode == 0 or short:
                if not part.missing:
                    self._note(f"a record does not fit into the part at byte {part.start}")
                return
            yield opcode, start, at
