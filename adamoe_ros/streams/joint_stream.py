# SPDX-License-Identifier: Apache-2.0
"""Joint states of one topic over time: whole ones, or parts that publishers send on their own.

A part is a set of joints that come together; each has its own stamps, rate and age, and is
interpolated on them. Where parts overlap, a joint is taken from the one that is closer in time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.topics import StateTopic
from adamoe_ros.streams.buffer import StreamBuffer, StreamHealth
from adamoe_ros.streams.joint_states import listed

Vector = NDArray[np.float64]
Columns = tuple[int, ...]
Buffer = StreamBuffer[NDArray[Any]]
_MORE_PARTS = 16  # than joints: publishers of one topic that are told apart


class JointStream:
    """Parts of one state topic.

    Args:
        topic: its joints and time-out.
        make: an empty buffer for a part.

    Attributes:
        parts: columns of ``RobotProfile.joint_ids`` -> their values, (len(columns),) each.
    """

    def __init__(self, topic: StateTopic, make: Callable[[], Buffer]) -> None:
        self.topic = topic
        self.parts: dict[Columns, Buffer] = {}
        self._make = make
        self._names = dict(zip(topic.columns, topic.names, strict=True))

    def part(self, columns: Columns) -> Buffer:
        """The buffer of a part; a new one for joints that have not come together before."""
        buffer = self.parts.get(columns)
        if buffer is None:
            if len(self.parts) >= len(self.topic.columns) + _MORE_PARTS:
                oldest = min(self.parts, key=lambda key: self.parts[key].newest_ns or 0)
                del self.parts[oldest]
            buffer = self.parts[columns] = self._make()
        return buffer

    def part_name(self, name: str, columns: Columns) -> str:
        """A part for people: the topic, and its joints where it does not have all of them."""
        whole = len(columns) == len(self.topic.columns)
        return name if whole else f"{name} ({self._listed(columns)})"

    def _newest(self) -> dict[int, int]:
        """Column -> newest stamp, of the joints that have one."""
        newest: dict[int, int] = {}
        for columns, buffer in self.parts.items():
            stamp = buffer.newest_ns
            if stamp is not None:
                newest.update({column: max(stamp, newest.get(column, stamp)) for column in columns})
        return newest

    @property
    def newest_ns(self) -> int | None:
        """Newest stamp of the joint that is furthest behind; None until every joint has come."""
        if len(self.parts) == 1 and self.topic.columns in self.parts:
            return self.parts[self.topic.columns].newest_ns
        newest = self._newest()
        return min(newest.values()) if len(newest) == len(self.topic.columns) else None

    def _bridging(
        self, reference_ns: int, tolerance_ns: int
    ) -> list[tuple[int, Columns, tuple[int, Any], tuple[int, Any]]]:
        """Parts with a state at a time: distance, columns, sample before, sample after; far first."""
        found = []
        for columns, buffer in self.parts.items():
            before, after = buffer.around(reference_ns)
            if before is not None and after is not None:
                span, longest = after[0] - before[0], round(self.topic.source.timeout * 1e9)
            else:
                alone = before or after
                if alone is None:
                    continue
                before = after = alone
                span, longest = abs(alone[0] - reference_ns), tolerance_ns
            if span <= longest:
                found.append((span, columns, before, after))
        return sorted(found, key=lambda item: -item[0])

    def lacking(self, name: str, reference_ns: int, tolerance_ns: int) -> list[str]:
        """Joints without a state at a time, as at most one line."""
        if not self._newest():
            return [name]
        bridged = {
            column for item in self._bridging(reference_ns, tolerance_ns) for column in item[1]
        }
        lost = [column for column in self.topic.columns if column not in bridged]
        if not lost:
            return []
        which = "" if len(lost) == len(self.topic.columns) else f" of {self._listed(lost)}"
        return [f"{name} (no joint state{which} at the image's time)"]

    def interpolate(self, state: Vector, reference_ns: int, tolerance_ns: int) -> int:
        """Write the topic's joints at a time into (J,) ``state``; the furthest stamp used."""
        furthest = reference_ns
        for _, columns, before, after in self._bridging(reference_ns, tolerance_ns):
            span = after[0] - before[0]
            share = (reference_ns - before[0]) / span if span else 0.0
            state[list(columns)] = before[1] + share * (after[1] - before[1])
            self.parts[columns].mark_used(after[0], reference_ns)
            if abs(after[0] - reference_ns) >= abs(furthest - reference_ns):
                furthest = after[0]
        return furthest

    def missing(self, name: str, now_ns: int) -> list[str]:
        """Joints that are not live, as at most one line."""
        newest = self._newest()
        limit_ns = self.topic.source.timeout * 1e9
        stale = [
            column for column in self.topic.columns if now_ns - newest.get(column, 0) > limit_ns
        ]
        for columns, buffer in self.parts.items():
            if buffer.clock_problem and (not stale or set(columns) & set(stale)):
                return [f"{name} ({buffer.clock_problem})"]
        never = [column for column in stale if column not in newest]
        if len(never) == len(self.topic.columns):
            return [name]
        if never:
            return [f"{name} (nothing yet of {self._listed(never)})"]
        # a joint that is not stale may also be in a part that nobody sends any more
        judged = [columns for columns in self.parts if not stale or set(columns) & set(stale)]
        latest = max(judged, key=lambda columns: self.parts[columns].newest_ns or 0, default=())
        why = self.parts[latest].not_live(now_ns, self.topic.source.timeout) if latest else None
        if why is None:
            return []
        whole = len(stale or latest) == len(self.topic.columns)
        return [f"{name} ({'' if whole else self._listed(stale or latest) + ' '}{why})"]

    def _listed(self, columns: Sequence[int]) -> str:
        return listed([self._names[column] for column in columns])

    def health(self, now_ns: int) -> list[StreamHealth]:
        """Condition of every part; of an empty buffer before the first message."""
        parts = list(self.parts.values()) or [self._make()]
        return [buffer.health(now_ns) for buffer in parts]
