# SPDX-License-Identifier: Apache-2.0
"""Which chunk is followed when: splice by observation time, keep seams smooth, count rows.

Pure numpy. A chunk takes over at the control time of its arrival, in the row that belongs to that
time; rows that lie in the past are never played. When all rows are used up the last one is held.
A chunk whose observation was taken while nothing was followed has lost no row: it begins at its
arrival. ``scheduling`` counts by the same rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.control.interpolation import (
    SHORTEST_PASSAGE_S,
    ChunkCurve,
    Reference,
)
from adamoe_ros.control.limits import JointLimits
from adamoe_ros.control.smoothing import smoothed
from adamoe_ros.control.strategies import Strategy, Track

Vector = NDArray[np.float64]
_NOTHING = 1e-12  # sum of weights below this: only the newest chunk counts


@dataclass(frozen=True)
class Seam:
    """One chunk boundary, before it is smoothed.

    Attributes:
        position_jump: (J,) new chunk minus what was followed, at the same time.
        velocity_jump: (J,) the same of the velocities.
        window_s: s after the seam in which its jerk is looked for, one row or the passage.
    """

    position_jump: Vector
    velocity_jump: Vector
    window_s: float


class Timeline(Reference):
    """The reference motion.

    Args:
        limits: of the joints, for the length of passages.
        strategy: how chunks follow each other.
        smoothing_s: window of ``smoothing``; 0: rows are played as they come.

    Attributes:
        repeated_rows: rows played again because nothing newer was there.
        skipped_rows: rows lost because the arms were holding while they were due.
    """

    def __init__(self, limits: JointLimits, strategy: Strategy, smoothing_s: float = 0.0) -> None:
        super().__init__(limits)
        self.repeated_rows = 0
        self.skipped_rows = 0
        self._strategy = strategy
        self._smoothing_s = smoothing_s
        self._tracks: list[Track] = []
        self._shortest_s = SHORTEST_PASSAGE_S
        self._waited = 0

    @property
    def newest(self) -> Track | None:
        """The chunk that was taken up last."""
        return self._tracks[-1] if self._tracks else None

    def clear(self) -> None:
        """Forget all chunks; counters stay."""
        self._tracks.clear()
        self._passage = None
        self._waited = 0

    def is_late(self, chunk: ActionChunk, now_ns: int) -> bool:
        """Whether a chunk has no row left in the future or is not newer than the followed one."""
        newest = self.newest
        if newest is not None and chunk.stamp_ns <= newest.chunk.stamp_ns:
            return True  # by its stamp: a stray chunk with a high id may not silence all later ones
        waits = self._strategy.policy_side.start == "at_end"  # however long it took
        anchor = self.anchor_ns(chunk, now_ns) if waits else chunk.stamp_ns
        if chunk.rows == 1:
            return now_ns - anchor > chunk.dt_s * 1e9
        return now_ns >= anchor + round((chunk.rows - 1) * chunk.dt_s * 1e9)

    def first_target(self, chunk: ActionChunk, now_ns: int) -> Vector:
        """(J,) position the chunk asks for now."""
        anchor = self.anchor_ns(chunk, now_ns)
        return ChunkCurve(anchor, chunk.dt_s, self._bounded(chunk)).sample(now_ns)[0]

    def anchor_ns(self, chunk: ActionChunk, now_ns: int) -> int:
        """Control time of row 0: the observation's, or now if the arms rested since then."""
        newest = self.newest
        if newest is None or newest.curve.end_ns <= chunk.stamp_ns:
            return max(chunk.stamp_ns, now_ns)
        return chunk.stamp_ns

    def _bounded(self, chunk: ActionChunk) -> NDArray[np.float64]:
        """Rows inside the position limits, so that the curve between them is inside as well."""
        limits = self._limits
        rows = smoothed(chunk.positions, chunk.dt_s, self._smoothing_s, limits.gripper)
        return np.clip(rows, limits.low, limits.high)

    def splice(
        self, chunk: ActionChunk, now_ns: int, position: Vector, velocity: Vector, moving: bool
    ) -> Seam | None:
        """Take up a chunk; ``is_late`` must have been asked before.

        Args:
            chunk: columns in the robot's order.
            position, velocity: (J,) of the command now, where the passage starts if not moving.
            moving: whether the reference is being followed; its own values are used then.

        Returns:
            The seam to the chunk before; None for the first.
        """
        curve = ChunkCurve(self.anchor_ns(chunk, now_ns), chunk.dt_s, self._bounded(chunk))
        first = not self._tracks
        if moving and not first:
            position, velocity = self.sample(now_ns)
        self._count_skipped(curve, now_ns)
        # where chunks come fast, a passage must have faded before the next begins
        since_s = (now_ns - self._tracks[-1].spliced_ns) / 1e9 if self._tracks else math.inf
        self._shortest_s = max(chunk.dt_s, min(SHORTEST_PASSAGE_S, since_s / 2.0))
        self._tracks.append(Track(chunk, curve, now_ns))
        del self._tracks[: -self._strategy.tracks]
        self._waited = 0
        new_position, new_velocity = curve.sample(now_ns)
        self.rebase(now_ns, position, velocity)
        if first:
            return None
        window = self._passage.duration_s if self._passage else chunk.dt_s
        return Seam(new_position - position, new_velocity - velocity, window)

    def _count_skipped(self, curve: ChunkCurve, now_ns: int) -> None:
        if not self._tracks:
            return
        unplayed_ns = now_ns - max(curve.anchor_ns, self._tracks[-1].curve.end_ns)
        self.skipped_rows += max(0, int(unplayed_ns / (curve.dt_s * 1e9)))

    def rebase(self, now_ns: int, position: Vector, velocity: Vector) -> None:
        """Let the reference pass smoothly from a given position and velocity to the chunks."""
        self._passage = None
        if self._tracks:
            self._join(now_ns, position, velocity, self._shortest_s)

    def exhausted(self, now_ns: int) -> bool:
        """Whether every row has been played."""
        newest = self.newest
        return newest is not None and now_ns > newest.curve.end_ns

    def past_end_s(self, now_ns: int) -> float:
        """s since the last row; negative before it, 0 without a chunk."""
        newest = self.newest
        return (now_ns - newest.curve.end_ns) / 1e9 if newest else 0.0

    def row(self, now_ns: int) -> int:
        """Row of the newest chunk reached; -1 without one."""
        newest = self.newest
        if newest is None:
            return -1
        return int(min(max(newest.curve.row_at(now_ns), 0.0), newest.chunk.rows - 1))

    @property
    def chunk_id(self) -> int:
        """Of the newest chunk; 0 without one."""
        newest = self.newest
        return newest.chunk.chunk_id if newest else 0

    def age_s(self, now_ns: int) -> float:
        """s since the observation behind the newest chunk; negative without one."""
        newest = self.newest
        return (now_ns - newest.chunk.stamp_ns) / 1e9 if newest else -1.0

    def count_wait(self, now_ns: int) -> None:
        """Count the rows repeated while the last one is held; once per tick that follows it."""
        newest = self.newest
        if newest is None:
            return
        waited = int(max(0.0, self.past_end_s(now_ns)) / newest.chunk.dt_s)
        self.repeated_rows += max(0, waited - self._waited)
        self._waited = max(self._waited, waited)

    def _motion(self, now_ns: int) -> tuple[Vector, Vector]:
        weights = self._strategy.weights(self._tracks, now_ns)
        total = sum(weight.value for weight in weights)
        if len(self._tracks) == 1 or total < _NOTHING:
            return self._tracks[-1].curve.sample(now_ns)
        drift = sum(weight.rate for weight in weights)
        position = np.zeros(self._limits.joints)
        velocity = np.zeros(self._limits.joints)
        for track, weight in zip(self._tracks, weights, strict=True):
            if weight.value == 0.0 and weight.rate == 0.0:
                continue
            own_position, own_velocity = track.curve.sample(now_ns)
            share = weight.value / total
            position += share * own_position
            velocity += share * own_velocity
            velocity += (weight.rate - share * drift) / total * own_position
        return position, velocity
