# SPDX-License-Identifier: Apache-2.0
"""Seam metrics: how much a chunk boundary is felt. One class for live, replay and the demo report.

Pure numpy. Jumps are of the chunks, before smoothing: they say how well the policy's chunks agree.
Jerk is of the commands as published: it says what the arms got. Third differences of commands
contain the command rate, so jerk compares only at equal rates.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
_KEPT = 4096  # seams that the summary covers
_POINTS = 4  # commands in a third difference


@dataclass(frozen=True)
class Sizes:
    """Magnitudes over many seams.

    Attributes:
        mean, p95, largest: of the worst joint at each seam.
        joints: (J,) mean of each joint.
    """

    mean: float
    p95: float
    largest: float
    joints: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[Sequence[float] | Vector], joints: int) -> Sizes:
        """Of one (J,) vector per seam; all 0 without a seam."""
        sizes = np.abs(np.array([np.asarray(row) for row in values], dtype=np.float64))
        if not sizes.size:
            return cls(0.0, 0.0, 0.0, (0.0,) * joints)
        worst = sizes.max(axis=1)
        quantile = float(np.quantile(worst, 0.95))
        means = tuple(sizes.mean(axis=0).tolist())
        return cls(float(worst.mean()), quantile, float(worst.max()), means)


@dataclass(frozen=True)
class SeamSummary:
    """Over all seams (at most the last 4096); rad or m, and per s, s^3.

    Attributes:
        seams: boundaries crossed.
        position_jump, velocity_jump, jerk: see ``SeamMetrics``.
        hold_share: 0..1 of the ticks since the first chunk.
        command_age_mean_s, command_age_max_s: tick - stamp of the observation behind the command.
        repeated_rows, skipped_rows: as in the timeline.
    """

    seams: int
    position_jump: Sizes
    velocity_jump: Sizes
    jerk: Sizes
    hold_share: float
    command_age_mean_s: float
    command_age_max_s: float
    repeated_rows: int
    skipped_rows: int


class SeamMetrics:
    """Collects what ``ControlStatus`` and the reports show of the seams.

    Args:
        joints: J.
        period_s: control period.

    Attributes:
        position_jump, velocity_jump, jerk: (J,) of the last seam; 0 before the first.
    """

    def __init__(self, joints: int, period_s: float) -> None:
        self.seams = 0
        self.position_jump: Vector = np.zeros(joints)
        self.velocity_jump: Vector = np.zeros(joints)
        self.jerk: Vector = np.zeros(joints)
        self.repeated_rows = 0
        self.skipped_rows = 0
        self._period_s = period_s
        self._recent: deque[Vector] = deque(maxlen=_POINTS)
        self._watch = 0
        self._ticks = 0
        self._held = 0
        self._age_sum = 0.0
        self._age_max = 0.0
        self._aged = 0
        self._position_jumps: deque[Vector] = deque(maxlen=_KEPT)
        self._velocity_jumps: deque[Vector] = deque(maxlen=_KEPT)
        self._jerks: deque[Vector] = deque(maxlen=_KEPT)

    def seam(self, position_jump: Vector, velocity_jump: Vector, window_s: float) -> None:
        """A boundary is crossed now.

        Args:
            position_jump, velocity_jump: (J,) new chunk minus the followed motion.
            window_s: s after it in which the jerk belongs to it.
        """
        self._close()
        self.seams += 1
        self.position_jump, self.velocity_jump = position_jump, velocity_jump
        self.jerk = np.zeros_like(self.jerk)
        self._watch = int(np.ceil(window_s / self._period_s)) + _POINTS - 1
        self._position_jumps.append(position_jump)
        self._velocity_jumps.append(velocity_jump)

    def tick(self, command: Vector, holding: bool, age_s: float) -> None:
        """A command was given; from the first chunk on, while motion is wanted.

        Args:
            command: (J,) position.
            holding: the arms hold instead of following a chunk.
            age_s: tick - stamp of the observation behind the command; negative: none.
        """
        self._ticks += 1
        self._held += holding
        if age_s >= 0:
            self._aged += 1
            self._age_sum += age_s
            self._age_max = max(self._age_max, age_s)
        self._recent.append(command)
        if self._watch > 0 and len(self._recent) == _POINTS:
            a, b, c, d = self._recent
            jerk = np.abs(d - 3.0 * c + 3.0 * b - a) / self._period_s**3
            np.maximum(self.jerk, jerk, out=self.jerk)
            self._watch -= 1
            if self._watch == 0:
                self._jerks.append(self.jerk.copy())

    def interrupt(self) -> None:
        """The motion ended or its commands do not follow on each other."""
        self._close()
        self._recent.clear()

    def _close(self) -> None:
        if self._watch > 0:
            self._jerks.append(self.jerk.copy())
        self._watch = 0

    @property
    def hold_share(self) -> float:
        """0..1 of the ticks since the first chunk."""
        return self._held / self._ticks if self._ticks else 0.0

    def summary(self) -> SeamSummary:
        """Everything so far as numbers."""
        joints = len(self.jerk)
        return SeamSummary(
            seams=self.seams,
            position_jump=Sizes.of(self._position_jumps, joints),
            velocity_jump=Sizes.of(self._velocity_jumps, joints),
            jerk=Sizes.of(self._jerks, joints),
            hold_share=self.hold_share,
            command_age_mean_s=self._age_sum / self._aged if self._aged else 0.0,
            command_age_max_s=self._age_max,
            repeated_rows=self.repeated_rows,
            skipped_rows=self.skipped_rows,
        )
