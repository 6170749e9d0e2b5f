# SPDX-License-Identifier: Apache-2.0
"""One stamped stream: a short buffer and what can be said of its stamps.

Stamps and arrivals are ns of one clock (ROS time). A stamp that is no use is never buffered:
duplicate, out of order, or so far from the arrival that it must come from another clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

import numpy as np

from adamoe_ros.streams.clocks import (
    INTOLERABLE_S,
    STANDING,
    Delays,
    clock_difference,
    clock_line,
    is_ahead,
    standing_line,
)

Value = TypeVar("Value")
SILENT = "silent for"  # begins the reason of a stream from which nothing comes
_RECENT = 64  # intervals and delays that the statistics cover


class Verdict(Enum):
    """What became of a message."""

    KEPT = "kept"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out of order"
    OTHER_CLOCK = "other clock"
    OTHER_JOINTS = "other joints"  # none of the profile's
    JUMPED_BACK = "jumped back"  # kept; everything before it is void

    __hash__ = object.__hash__  # an Enum's own is a function in Python, and every message counts


@dataclass(frozen=True)
class StreamHealth:
    """Condition of one stream.

    Attributes:
        name: camera slot or joint state topic.
        rate_hz: from the median spacing of recent stamps; 0 before the second message.
        age_s: now - newest stamp; negative: never received.
        longest_gap_s: between recent stamps.
        delay_s: median of arrival - stamp, recent messages.
        received, duplicates, out_of_order, other_clock, jumps: messages since the start.
        unused: kept messages that left the buffer without having been part of an observation.
        skew_s: stamp - observation stamp, when last used.
        stamps_at_receipt: stamps look as if set on arrival, so they hide the sensor's delay.
        clock_offset_s: arrival - stamp of the last message refused for its clock; 0: none.
        clock_difference: of the driver's clock to this computer's, for people; empty: none seen.
    """

    name: str
    rate_hz: float
    age_s: float
    longest_gap_s: float
    delay_s: float
    received: int
    duplicates: int
    out_of_order: int
    other_clock: int
    jumps: int
    unused: int
    skew_s: float
    stamps_at_receipt: bool
    clock_offset_s: float
    clock_difference: str


class StreamBuffer(Generic[Value]):
    """Newest values of one stream by stamp.

    Args:
        name: for people.
        size: values kept.
        jump_ns: a stamp this far before the newest is a clock jump; less is out of order.
        clock_ns: a stamp this far from its arrival is of another clock.
        receipt_ns: a median delay below this looks like stamps set on arrival.
    """

    def __init__(self, name: str, size: int, jump_ns: int, clock_ns: int, receipt_ns: int) -> None:
        self.name = name
        self.items: deque[tuple[int, Value]] = deque(maxlen=size)
        self.skew_ns = 0
        self.unused = 0
        self._jump_ns, self._clock_ns, self._receipt_ns = jump_ns, clock_ns, receipt_ns
        self._counts = dict.fromkeys(Verdict, 0)
        self._offset_ns = 0
        self._last_stamp, self._repeats = -1, 0  # of all messages, refused ones too
        self._clock_problem = self._last_problem = ""
        self._used_ns = -1
        self._spacing: deque[int] = deque(maxlen=_RECENT)
        self.delays = Delays()

    def push(self, stamp_ns: int, value: Value, arrival_ns: int) -> Verdict:
        """Take a message if its stamp can be used."""
        verdict = self._judge(stamp_ns, arrival_ns)
        self._counts[verdict] += 1
        self._note_clock(verdict, stamp_ns, arrival_ns)
        if verdict is Verdict.JUMPED_BACK:
            self.clear()
        if verdict in (Verdict.KEPT, Verdict.JUMPED_BACK):
            if self.items:
                self._spacing.append(stamp_ns - self.items[-1][0])
            if len(self.items) == self.items.maxlen and self.items[0][0] > self._used_ns:
                self.unused += 1
            self.delays.note(stamp_ns, arrival_ns)
            self._offset_ns = 0
            self.items.append((stamp_ns, value))
        return verdict

    def _note_clock(self, verdict: Verdict, stamp_ns: int, arrival_ns: int) -> None:
        self._repeats = self._repeats + 1 if stamp_ns == self._last_stamp else 0
        self._last_stamp = stamp_ns
        if self._repeats >= STANDING:
            self._clock_problem = standing_line(stamp_ns)
        elif verdict is Verdict.OTHER_CLOCK:
            self._clock_problem = clock_line(stamp_ns, arrival_ns)
        elif verdict is not Verdict.DUPLICATE:
            self._clock_problem = ""
        if verdict is Verdict.OTHER_CLOCK:
            self._offset_ns = arrival_ns - stamp_ns
        self._last_problem = self._clock_problem or self._last_problem

    def _judge(self, stamp_ns: int, arrival_ns: int) -> Verdict:
        if abs(arrival_ns - stamp_ns) > self._clock_ns:
            return Verdict.OTHER_CLOCK
        if not self.items or stamp_ns > self.items[-1][0]:
            return Verdict.KEPT
        if self.items[-1][0] - stamp_ns >= self._jump_ns:
            return Verdict.JUMPED_BACK
        if any(stamp == stamp_ns for stamp, _ in self.items):
            return Verdict.DUPLICATE
        return Verdict.OUT_OF_ORDER

    def clear(self) -> None:
        """Forget the values; counters stay."""
        self.items.clear()
        self._spacing.clear()
        self.delays.clear()
        self._used_ns = -1

    def drop(self, stamp_ns: int) -> None:
        """Forget one value."""
        for item in self.items:
            if item[0] == stamp_ns:
                self.items.remove(item)
                return

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest value."""
        return self.items[-1][0] if self.items else None

    @property
    def offset_s(self) -> float:
        """arrival - stamp, s, while messages are refused for their clock; 0 otherwise."""
        return self._offset_ns / 1e9

    @property
    def clock_difference(self) -> str:
        """Whose clock differs, by how much, and what to do; empty: nothing to be seen."""
        return clock_difference(self.delays, f"the driver of {self.name}")

    @property
    def clock_problem(self) -> str:
        """Why the stamps of the last messages are no use; empty: they are."""
        return self._clock_problem

    @property
    def refused(self) -> int:
        """Messages left out because their stamps are of another clock, or stand still."""
        repeated = self._counts[Verdict.DUPLICATE] if self._last_problem else 0
        return self._counts[Verdict.OTHER_CLOCK] + repeated

    @property
    def clock_note(self) -> str:
        """How many messages were left out for their stamps' clock, and why; empty: none."""
        if not self._last_problem:
            return ""
        count = f"{self.refused} of {sum(self._counts.values())} messages left out"
        return f"{self.name}: {count}: {self._last_problem}"

    def not_live(self, now_ns: int, timeout_s: float) -> str | None:
        """Why the stream is not live; empty: nothing has come; None: it is live."""
        if self._clock_problem:
            return self._clock_problem
        if self.newest_ns is None:
            return ""
        age_s = (now_ns - self.newest_ns) / 1e9
        if age_s > timeout_s:
            silent_s = age_s - max(0.0, self.delays.least_s)  # NaN while that is unknown
            other = self.clock_difference if silent_s <= timeout_s else ""
            return other or f"{SILENT} {age_s:.1f} s"
        return self.clock_difference if is_ahead(self.delays, INTOLERABLE_S) else None

    def nearest(self, time_ns: int) -> tuple[int, Value] | None:
        """The value whose stamp is closest to a time."""
        return min(self.items, key=lambda item: abs(item[0] - time_ns), default=None)

    def around(self, time_ns: int) -> tuple[tuple[int, Value] | None, tuple[int, Value] | None]:
        """Newest value at or before a time, and oldest one at or after it."""
        before = after = None
        for item in reversed(self.items):  # what is asked for is nearly always of late
            if item[0] >= time_ns:
                after = item
            if item[0] <= time_ns:
                before = item
                break
        return before, after

    def mark_used(self, stamp_ns: int, reference_ns: int) -> None:
        """Note that values up to a stamp have served; those skipped on the way count as unused."""
        for stamp, _ in reversed(self.items):
            if stamp <= self._used_ns:
                break
            self.unused += stamp < stamp_ns
        self._used_ns = max(self._used_ns, stamp_ns)
        self.skew_ns = stamp_ns - reference_ns

    def health(self, now_ns: int) -> StreamHealth:
        """Condition now."""
        spacing = float(np.median(self._spacing)) / 1e9 if self._spacing else 0.0
        delay = self.delays.median_s
        enough = self.delays.count >= _RECENT // 2
        newest = self.newest_ns
        return StreamHealth(
            name=self.name,
            rate_hz=1.0 / spacing if spacing > 0 else 0.0,
            age_s=-1.0 if newest is None else (now_ns - newest) / 1e9,
            longest_gap_s=max(self._spacing, default=0) / 1e9,
            delay_s=delay,
            received=sum(self._counts.values()),
            duplicates=self._counts[Verdict.DUPLICATE],
            out_of_order=self._counts[Verdict.OUT_OF_ORDER],
            other_clock=self._counts[Verdict.OTHER_CLOCK],
            jumps=self._counts[Verdict.JUMPED_BACK],
            unused=self.unused,
            skew_s=self.skew_ns / 1e9,
            stamps_at_receipt=enough and delay * 1e9 < self._receipt_ns,
            clock_offset_s=self.offset_s,
            clock_difference=self.clock_difference,
        )
