# SPDX-License-Identifier: Apache-2.0
"""Rows of a chunk -> position and velocity at any time, and smooth passage from curve to curve.

Pure numpy. Within a chunk: cubic Hermite with Catmull-Rom tangents, limited so that the curve never
leaves the interval between neighbouring rows (Fritsch and Carlson 1980): it is C1 and cannot
overshoot. Between curves: a quintic that starts with their difference in position and velocity and
ends with none of either; it adds no step in acceleration, and the sum is C1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.control.limits import JointLimits

Vector = NDArray[np.float64]
Rows = NDArray[np.float64]

# Shares of the joints' limits that a passage between curves may ask for, and its duration. A small
# difference could be passed within a row; given more time it is not felt.
PASSAGE_SHARE = 0.5
SHORTEST_PASSAGE_S = 0.2
LONGEST_PASSAGE_S = 0.5


def monotone_tangents(rows: Rows) -> Rows:
    """Slopes per row for a cubic that does not overshoot; at rest at the end.

    Args:
        rows: (H, J).

    Returns:
        (H, J), units per row. The last is 0: a chunk that runs out ends standing still.
    """
    tangents = np.zeros_like(rows)
    if len(rows) < 2:
        return tangents
    secants = np.diff(rows, axis=0)
    tangents[0] = secants[0]
    before, after = secants[:-1], secants[1:]
    steepest = 3.0 * np.minimum(np.abs(before), np.abs(after))
    middle = 0.5 * (before + after)
    limited = np.sign(middle) * np.minimum(np.abs(middle), steepest)
    tangents[1:-1] = np.where(before * after > 0.0, limited, 0.0)
    return tangents


class ChunkCurve:
    """The rows of one chunk as a function of time.

    Args:
        anchor_ns: time of row 0.
        dt_s: s between rows.
        rows: (H, J) positions, kept.
    """

    def __init__(self, anchor_ns: int, dt_s: float, rows: Rows) -> None:
        self.anchor_ns = anchor_ns
        self.dt_s = dt_s
        self.rows = rows
        self._tangents = monotone_tangents(rows)

    @property
    def end_ns(self) -> int:
        """Time of the last row."""
        return self.anchor_ns + round((len(self.rows) - 1) * self.dt_s * 1e9)

    def row_at(self, time_ns: int) -> float:
        """Fractional row at a time, not bounded."""
        return (time_ns - self.anchor_ns) / (self.dt_s * 1e9)

    def sample(self, time_ns: int) -> tuple[Vector, Vector]:
        """Position and velocity (J,) each; the first or last row, at rest, outside of the chunk."""
        place = self.row_at(time_ns)
        last = len(self.rows) - 1
        if place <= 0.0 or place >= last:
            row = self.rows[0] if place <= 0.0 else self.rows[last]
            rate = self._tangents[0] / self.dt_s if place == 0.0 else np.zeros_like(row)
            return row.copy(), rate
        index = int(place)
        u = place - index
        p0, p1 = self.rows[index], self.rows[index + 1]
        m0, m1 = self._tangents[index], self._tangents[index + 1]
        d = p1 - p0
        a, b = m0 + m1 - 2.0 * d, 3.0 * d - 2.0 * m0 - m1
        position: Vector = p0 + u * (m0 + u * (b + u * a))
        velocity: Vector = (m0 + u * (2.0 * b + u * 3.0 * a)) / self.dt_s
        return position, velocity


class Passage:
    """A difference in position and velocity that fades to none along a quintic.

    Args:
        start_ns: when it begins.
        duration_s: > 0.
        position: (J,) difference at the beginning.
        velocity: (J,) its rate at the beginning.
    """

    def __init__(
        self, start_ns: int, duration_s: float, position: Vector, velocity: Vector
    ) -> None:
        self.start_ns = start_ns
        self.duration_s = duration_s
        self._position = position
        self._velocity = velocity

    def sample(self, time_ns: int) -> tuple[Vector, Vector] | None:
        """Remaining difference (J,) and its rate (J,); None when it has faded."""
        u = (time_ns - self.start_ns) / (self.duration_s * 1e9)
        if u >= 1.0:
            return None
        u = max(u, 0.0)
        slope = self._velocity * self.duration_s
        cube = u * u * u
        position = self._position * (1.0 - cube * (10.0 + u * (6.0 * u - 15.0)))
        position += slope * (u - cube * (6.0 + u * (3.0 * u - 8.0)))
        square = u * u
        rate = self._position * (-30.0 * square * (1.0 - u) ** 2)
        rate += slope * (1.0 - square * (18.0 + u * (15.0 * u - 32.0)))
        return position, rate / self.duration_s


def passage_duration(
    position: Vector, velocity: Vector, top: Vector, acceleration: Vector, shortest_s: float
) -> float:
    """Duration that lets a passage stay within ``PASSAGE_SHARE`` of the joints' limits, s.

    Peaks of the quintic over w: velocity 1.875 dp / w, acceleration 5.78 dp / w^2, 3.95 dv / w.

    Args:
        position, velocity: (J,) differences at the seam.
        top, acceleration: (J,) limits.
        shortest_s: lower bound.
    """
    distance, speed = np.abs(position), np.abs(velocity)
    by_speed = 1.875 * distance / (PASSAGE_SHARE * top)
    by_position = np.sqrt(5.78 * distance / (PASSAGE_SHARE * acceleration))
    by_velocity = 3.95 * speed / (PASSAGE_SHARE * acceleration)
    needed = float(np.max(np.maximum(by_speed, np.maximum(by_position, by_velocity))))
    return min(max(shortest_s, needed), max(shortest_s, LONGEST_PASSAGE_S))


class Reference(ABC):
    """A motion to follow, joined by a passage to where the arms were when it was taken up.

    Args:
        limits: of the robot's joints.
    """

    def __init__(self, limits: JointLimits) -> None:
        self._limits = limits
        self._passage: Passage | None = None

    @abstractmethod
    def rebase(self, now_ns: int, position: Vector, velocity: Vector) -> None:
        """Let the reference pass smoothly from a given position and velocity (J,) to the motion."""

    @abstractmethod
    def _motion(self, now_ns: int) -> tuple[Vector, Vector]:
        """Position and velocity (J,) each, without the passage."""

    def _join(self, now_ns: int, position: Vector, velocity: Vector, shortest_s: float) -> None:
        """Begin the passage from a position and velocity to the motion."""
        self._passage = None
        own_position, own_velocity = self._motion(now_ns)
        gap, rate = position - own_position, velocity - own_velocity
        if not (gap.any() or rate.any()):
            return
        limits = self._limits
        duration = passage_duration(gap, rate, limits.velocity, limits.acceleration, shortest_s)
        self._passage = Passage(now_ns, duration, gap, rate)

    def sample(self, now_ns: int) -> tuple[Vector, Vector]:
        """Reference position and velocity (J,) each; needs something to follow."""
        position, velocity = self._motion(now_ns)
        remaining = self._passage.sample(now_ns) if self._passage else None
        if remaining is None:
            self._passage = None
            return position, velocity
        return position + remaining[0], velocity + remaining[1]

    def goal(self, now_ns: int) -> Vector:
        """(J,) where the motion is now, without the passage to it; needs something to follow."""
        return self._motion(now_ns)[0]
