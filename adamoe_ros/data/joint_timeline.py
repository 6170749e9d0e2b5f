# SPDX-License-Identifier: Apache-2.0
"""Joint values over time, with a bounded memory: held or interpolated.

Arms, grippers and whoever else reports do so in parts, each with its own stamps: a look at a time
joins them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
_PIECE = 256  # entries that are dropped at a time, as lists move


class JointValues(Protocol):
    """Some joints of a robot: ``JointPart`` or ``CommandedMotion``."""

    @property
    def columns(self) -> tuple[int, ...]:
        """Places in ``RobotProfile.joint_ids``."""

    def at(self, time_ns: int) -> Vector:
        """(len(columns),) their values at a time."""


class _PartTimeline:
    """What was said of the same joints; an older stamp is left out, an equal one replaces."""

    def __init__(self) -> None:
        self._stamps: list[int] = []
        self._values: list[JointValues] = []

    @property
    def newest_ns(self) -> int | None:
        return self._stamps[-1] if self._stamps else None

    def add(self, stamp_ns: int, value: JointValues) -> None:
        if not self._stamps or stamp_ns > self._stamps[-1]:
            self._stamps.append(stamp_ns)
            self._values.append(value)
        elif stamp_ns == self._stamps[-1]:
            self._values[-1] = value

    def forget(self, before_ns: int) -> None:
        place = bisect_right(self._stamps, before_ns) - 1
        if place > _PIECE:
            del self._stamps[:place]
            del self._values[:place]

    def held(self, time_ns: int) -> tuple[int, Vector] | None:
        """Stamp and values of the last entry at or before a time."""
        place = bisect_right(self._stamps, time_ns) - 1
        return (self._stamps[place], self._values[place].at(time_ns)) if place >= 0 else None

    def interpolated(self, time_ns: int, longest_ns: int) -> tuple[int, Vector] | None:
        """Minus the distance of the neighbours of a time, and the values between them."""
        place = bisect_right(self._stamps, time_ns) - 1
        if place < 0:
            return None
        before, old = self._stamps[place], self._values[place].at(time_ns)
        if before == time_ns:
            return 0, old
        if place + 1 >= len(self._stamps):
            return None
        after = self._stamps[place + 1]
        if after - before > longest_ns:
            return None
        share = (time_ns - before) / (after - before)
        return before - after, old + share * (self._values[place + 1].at(time_ns) - old)


class JointTimeline:
    """All joints of a robot, from several topics and publishers.

    Args:
        columns: of each topic that is needed for the whole vector.
    """

    def __init__(self, columns: Sequence[Sequence[int]]) -> None:
        self._parts: dict[tuple[int, ...], _PartTimeline] = {}
        self._added = 0  # since something was dropped
        self._width = sum(map(len, columns))

    def add(self, stamp_ns: int, value: JointValues) -> None:
        """Append what one message says."""
        part = self._parts.get(value.columns)
        if part is None:
            part = self._parts[value.columns] = _PartTimeline()
        part.add(stamp_ns, value)
        self._added += 1

    @property
    def newest_ns(self) -> int | None:
        """Newest stamp of the joint that is furthest behind; None until all were heard."""
        newest = np.full(self._width, -1, np.int64)
        for columns, part in self._parts.items():
            own = list(columns)
            newest[own] = np.maximum(newest[own], part.newest_ns or -1)
        oldest = int(newest.min())
        return oldest if oldest >= 0 else None

    def clear(self) -> None:
        """Forget everything."""
        self._parts.clear()

    def forget(self, before_ns: int) -> None:
        """Drop what no later look needs: all but the last entries at or before a time."""
        if self._added > _PIECE:
            self._added = 0
            for part in self._parts.values():
                part.forget(before_ns)

    def held(self, time_ns: int) -> Vector | None:
        """(J,) the last values at or before a time; None where a joint has none."""
        return self._joined([(key, part.held(time_ns)) for key, part in self._parts.items()])

    def interpolated(self, time_ns: int, longest_ns: int = 1_000_000_000) -> Vector | None:
        """(J,) between neighbours; None where one is missing or they are too far apart."""
        return self._joined(
            [(key, part.interpolated(time_ns, longest_ns)) for key, part in self._parts.items()]
        )

    def _joined(
        self, found: list[tuple[tuple[int, ...], tuple[int, Vector] | None]]
    ) -> Vector | None:
        """Parts by rank, so that the later or closer one wins where they have a joint in common."""
        joined = np.full(self._width, np.nan)
        known = [(item[0], key, item[1]) for key, item in found if item is not None]
        for _, columns, values in sorted(known, key=lambda item: item[0]):
            joined[list(columns)] = values
        return None if np.isnan(joined).any() else joined
