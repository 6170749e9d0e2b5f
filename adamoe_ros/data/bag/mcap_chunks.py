# SPDX-License-Identifier: Apache-2.0
"""Messages of a whole MCAP file, chunk by chunk as its index lists them.

Order and checks are those of rosbags' reader, which copies every picture five times and asks a
stream object for each field of each record. Format: mcap.dev/spec, version 0.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO
from zlib import crc32

from adamoe_ros.data.bag.entry import RawMessage
from adamoe_ros.data.bag.mcap_scan import unpacked

_RECORD = struct.Struct("<BQ")  # opcode, length
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK = struct.Struct("<QQQI")  # start, end, uncompressed size, crc
_MESSAGE_OP = 0x05

_Item = tuple[int, int, str, bytes]  # log time, place of the chunk (breaks ties), topic, data


def indexed_messages(
    stream: BinaryIO, chunks: Sequence[Any], topics: Mapping[int, str]
) -> Iterator[RawMessage]:
    """Messages of some channels in order of log time.

    Args:
        stream: the file.
        chunks: rosbags' ``ChunkInfo`` of each chunk that the summary lists.
        topics: channel id -> topic, for the channels that are wanted.

    Raises:
        ValueError: a chunk is not what its index says; messages before it were given.
    """
    wanted = [chunk for chunk in chunks if any(chunk.channel_count.get(key) for key in topics)]
    for time_ns, _, topic, data in heapq.merge(*(_chunk(stream, item, topics) for item in wanted)):
        if topic:
            yield RawMessage(time_ns, topic, data)


def _chunk(stream: BinaryIO, chunk: Any, topics: Mapping[int, str]) -> Iterator[_Item]:
    """One chunk's messages by time; it is read when its first message is due."""
    place = chunk.chunk_start_offset
    yield chunk.message_start_time, place, "", b""
    data = memoryview(_content(stream, chunk))
    found: list[_Item] = []
    at, end = 0, len(data)
    while at < end:
        opcode, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if at + length > end:
            raise ValueError(f"a record is longer than its chunk at byte {place}")
        if opcode == _MESSAGE_OP:
            channel, _, time_ns, _ = _MESSAGE.unpack_from(data, at)
            topic = topics.get(channel)
            if topic is not None:
                content = bytes(data[at + _MESSAGE.size : at + length])
                found.append((time_ns, place, topic, content))
        at += length
    found.sort(key=_time)
    if found and found[0][0] < chunk.message_start_time:
        raise ValueError(f"the chunk at byte {place} begins earlier than its index says")
    yield from found


def _time(item: _Item) -> int:
    return item[0]


def _content(stream: BinaryIO, chunk: Any) -> bytes:
    """A chunk's records, unpacked and checked."""
    place = chunk.chunk_start_offset
    stream.seek(place + _RECORD.size)
    start = stream.read(_CHUNK.size)
    if len(start) < _CHUNK.size:
        raise ValueError(f"the file ends within the chunk at byte {place}")
    crc = _CHUNK.unpack(start)[3]
    # behind it: length and name of the compression, length of what follows
    stream.seek(place + _RECORD.size + _CHUNK.size + 4 + len(chunk.compression.encode()) + 8)
    packed = stream.read(chunk.compressed_size)
    if len(packed) != chunk.compressed_size:
        raise ValueError(f"the file ends within the chunk at byte {place}")
    data = unpacked(packed, chunk.compression)
    if len(data) != chunk.uncompressed_size:
        got = f"{len(data)} instead of {chunk.uncompressed_size} bytes"
        raise ValueError(f"the chunk at byte {place} holds {got}")
    if crc and crc32(data) != crc:
        raise ValueError(f"the checksum of the chunk at byte {place} is wrong")
    return data
