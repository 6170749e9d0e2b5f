# SPDX-License-Identifier: Apache-2.0
"""What every storage format says of a topic, and the order of its messages.

A recorder writes in the order of arrival, so a topic's own log times never go back, unless the
computer's clock does. Messages are sorted by log time (a file may hold one topic after the other)
within the stretches between such steps of the clock, and the stretches keep the order of the file.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

LATEST_NS = 1 << 63  # larger times are no times
_STEP_NS = 100_000_000  # a topic's log time goes back by more: its clock was set
_APART_NS = 1_000_000_000  # between stretches, so that none of their messages meet
_LARGEST_HEAP = 512 << 20  # bytes that wait for their turn; beyond, memory comes before order


@dataclass(frozen=True)
class TopicEntry:
    """One topic of a bag.

    Attributes:
        topic: full name.
        type: ``package/msg/Name``; empty: the recorder stored none.
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


# Key, place in the file, message: the key (ns) gives the order, and the file's own where keys are
# equal. A plain tuple, as one is made of every message.
Placed = tuple[int, int, RawMessage]


def full_type(name: str) -> str:
    """``package/msg/Name``, also for what leaves ``msg`` out, or writes it as C++, DDS or Python do."""
    parts = [part for part in name.strip().replace("::", "/").replace(".", "/").split("/") if part]
    if len(parts) == 4 and parts[2] == "dds_":
        parts = [*parts[:2], parts[3].removesuffix("_")]
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else "/".join(parts)


def add_topic(topics: dict[str, TopicEntry], entry: TopicEntry) -> str:
    """Put a topic beside those that are known.

    Returns:
        The name under which it is kept: its own, or with its type where the topic has another one.
    """
    known = topics.get(entry.topic)
    if known is not None and known.type and entry.type and known.type != entry.type:
        entry = replace(entry, topic=f"{entry.topic} ({entry.type})")
        known = topics.get(entry.topic)
    if known is not None:
        better = known if known.definition or (known.type and not entry.definition) else entry
        entry = replace(better, count=known.count + entry.count)
    topics[entry.topic] = entry
    return entry.topic


class FileOrder:
    """Finds where a recorder's clock was set back; fed in the order of the file.

    Attributes:
        disorder_ns: by which a message is behind the newest one of its stretch at most.
    """

    def __init__(self) -> None:
        self.disorder_ns = self._largest_step = 0
        self._places: list[int] = []
        self._shifts = [0]
        self._newest: dict[Hashable, int] = {}
        self._front: int | None = None

    def add(self, topic: Hashable, time_ns: int, place: int) -> None:
        """Take the next message."""
        if time_ns < self._newest.get(topic, time_ns) - _STEP_NS:
            assert self._front is not None
            self._largest_step = max(self._largest_step, self._newest[topic] - time_ns)
            self._places.append(place)
            self._shifts.append(self._shifts[-1] + self._front - time_ns + _APART_NS)
            self._newest.clear()
            self._front = None
        self._take(topic, time_ns, time_ns)

    def fits(self, topic: Hashable, first_ns: int, steps_ns: int) -> bool:
        """Whether messages that begin at a time, and go back by so much at most, are no step."""
        return max(self._newest.get(topic, first_ns) - first_ns, steps_ns) <= _STEP_NS

    def add_many(self, topic: Hashable, oldest_ns: int, newest_ns: int) -> None:
        """Take messages of a topic that ``fits``."""
        self._take(topic, oldest_ns, newest_ns)

    def _take(self, topic: Hashable, oldest_ns: int, newest_ns: int) -> None:
        self._newest[topic] = max(self._newest.get(topic, newest_ns), newest_ns)
        if self._front is not None:
            self.disorder_ns = max(self.disorder_ns, self._front - oldest_ns)
        self._front = max(newest_ns, newest_ns if self._front is None else self._front)

    def shift(self, place: int) -> int:
        """ns between log time and key of a message at a place of the file."""
        return self._shifts[bisect_right(self._places, place)]

    def steps(self, first: int, last: int) -> bool:
        """Whether the clock was set between two places."""
        return bisect_right(self._places, first) != bisect_right(self._places, last)

    @property
    def steps_line(self) -> str:
        """Where the clock was set back, for a person; empty: nowhere."""
        count, by_s = len(self._places), self._largest_step / 1e9
        where = "at one place" if count == 1 else f"at {count} places"
        told = (
            f"a topic's log times go back {where}, by {by_s:.2f} s at most: the file's order counts"
        )
        return told if count else ""

    @property
    def stretches(self) -> list[tuple[int, int | None]]:
        """Places from (included) and to (not included; None: the end) of each stretch."""
        return list(zip([0, *self._places], [*self._places, None], strict=True))


class Waiting:
    """Messages that wait for those before them, sorted; memory is bounded."""

    def __init__(self) -> None:
        self._heap: list[Placed] = []
        self._bytes = 0

    def through(self, messages: Iterable[Placed], key: int | None) -> Iterator[Placed]:
        """Take messages; those up to a key (None: all), or for which there is no room, come out."""
        items = sorted(messages)
        if not self._heap and (key is None or not items or items[-1][0] <= key):
            yield from items
            return
        for item in items:
            heapq.heappush(self._heap, item)
            self._bytes += len(item[2].data)
        while self._heap and (
            key is None or self._heap[0][0] <= key or self._bytes > _LARGEST_HEAP
        ):
            yield self._pop()

    def _pop(self) -> Placed:
        item = heapq.heappop(self._heap)
        self._bytes -= len(item[2].data)
        return item
