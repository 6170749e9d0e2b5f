# SPDX-License-Identifier: Apache-2.0
"""Joint vectors over time, with a bounded memory: held or interpolated.

Arms report on topics of their own, each with its own stamps: a look at a time joins them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
_PIECE = 256  # vectors that are dropped at a time, as lists move


class VectorTimeline:
    """Stamped vectors of one topic; an older stamp is left out, an equal one replaces."""

    def __init__(self) -> None:
        self._stamps: list[int] = []
        self._values: list[Vector] = []

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest vector."""
        return self._stamps[-1] if self._stamps else None

    def add(self, stamp_ns: int, value: Vector) -> None:
        """Append a vector."""
        if not self._stamps or stamp_ns > self._stamps[-1]:
            self._stamps.append(stamp_ns)
            self._values.append(value)
        elif stamp_ns == self._stamps[-1]:
            self._values[-1] = value

    def clear(self) -> None:
        """Forget everything."""
        self._stamps.clear()
        self._values.clear()

    def forget(self, before_ns: int) -> None:
        """Drop what no later look needs: all but the last vector at or before a time."""
        if len(self._stamps) <= _PIECE:
            return
        place = bisect_right(self._stamps, before_ns) - 1
        if place > _PIECE:
            del self._stamps[:place]
            del self._values[:place]

    def held(self, time_ns: int) -> Vector | None:
        """The last vector at or before a time; None before the first."""
        place = bisect_right(self._stamps, time_ns) - 1
        return self._values[place] if place >= 0 else None

    def interpolated(self, time_ns: int, longest_ns: int = 1_000_000_000) -> Vector | None:
        """Between the neighbours of a time; None outside, or where they are too far apart."""
        place = bisect_right(self._stamps, time_ns) - 1
        if place < 0:
            return None
        if self._stamps[place] == time_ns:
            return self._values[place]
        if place + 1 >= len(self._stamps):
            return None
        before, after = self._stamps[place], self._stamps[place + 1]
        if after - before > longest_ns:
            return None
        share = (time_ns - before) / (after - before)
        old, new = self._values[place], self._values[place + 1]
        return np.asarray(old + share * (new - old))


class JointTimeline:
    """All joints of a robot, from several topics.

    Args:
        columns: of each topic that is needed for the whole vector.
    """

    def __init__(self, columns: Sequence[Sequence[int]]) -> None:
        self._parts = {tuple(item): VectorTimeline() for item in columns}
        self._places = [np.array(item) for item in self._parts]
        self._width = sum(map(len, self._parts))

    def add(self, stamp_ns: int, columns: Sequence[int], values: Vector) -> None:
        """Append what one topic says."""
        self._parts[tuple(columns)].add(stamp_ns, values)

    @property
    def newest_ns(self) -> int | None:
        """Newest stamp of the topic that is furthest behind; None until all were heard."""
        newest = [part.newest_ns for part in self._parts.values()]
        known = [stamp for stamp in newest if stamp is not None]
        return min(known) if len(known) == len(newest) and known else None

    def clear(self) -> None:
        """Forget everything."""
        for part in self._parts.values():
            part.clear()

    def forget(self, before_ns: int) -> None:
        """As ``VectorTimeline.forget``."""
        for part in self._parts.values():
            part.forget(before_ns)

    def held(self, time_ns: int) -> Vector | None:
        """(J,) the last vectors at or before a time; None before the first."""
        return self._joined(lambda part: part.held(time_ns))

    def interpolated(self, time_ns: int) -> Vector | None:
        """(J,) between neighbours; None where one is missing or they are too far apart."""
        return self._joined(lambda part: part.interpolated(time_ns))

    def _joined(self, look: Callable[[VectorTimeline], Vector | None]) -> Vector | None:
        joined = np.empty(self._width)
        for places, part in zip(self._places, self._parts.values(), strict=True):
            values = look(part)
            if values is None:
                return None
            joined[places] = values
        return joined
