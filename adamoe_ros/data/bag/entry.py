# SPDX-License-Identifier: Apache-2.0
"""What every storage format says of a topic, and the order of messages. Standard library only."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

WINDOW_NS = 1_000_000_000  # recorders write in order of arrival, which is nearly that of time


@dataclass(frozen=True)
class TopicEntry:
    """One topic of a bag.

    Attributes:
        topic: full name.
        type: ``package/msg/Name``.
        count: messages; what could be counted where the file is damaged.
        definition: text of the message definition; empty: the bag has none.
        idl: the definition is IDL, else ``.msg`` text.
        digest: RIHS01 hash; empty: the bag has none.
        encoding: serialisation, ``cdr`` in every bag of ROS 2.
    """

    topic: str
    type: str
    count: int
    definition: str = ""
    idl: bool = False
    digest: str = ""
    encoding: str = "cdr"


class RawMessage(NamedTuple):
    """One message as it was recorded; ``time_ns`` is the recorder's clock at its arrival."""

    time_ns: int
    topic: str
    data: bytes


def full_type(name: str) -> str:
    """``package/msg/Name``, also for old bags that leave ``msg`` out."""
    parts = name.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else name


def in_order(messages: Iterable[RawMessage], window_ns: int = WINDOW_NS) -> Iterator[RawMessage]:
    """Messages by time, if none is out of place by more than the window; memory is one window."""
    heap: list[tuple[int, int, RawMessage]] = []
    newest = -1
    for number, message in enumerate(messages):
        heapq.heappush(heap, (message.time_ns, number, message))
        newest = max(newest, message.time_ns)
        while heap and heap[0][0] <= newest - window_ns:
            yield heapq.heappop(heap)[2]
    while heap:
        yield heapq.heappop(heap)[2]
