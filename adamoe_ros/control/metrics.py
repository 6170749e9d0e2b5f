# SPDX-License-Identifier: Apache-2.0
"""Seam metrics: how much a chunk boundary is felt. One class for live, replay and the demo report.

Pure numpy. Jumps are of the chunks, before smoothing: they say how well the policy's chunks agree.
Jerk is of the commands as published: it says what the arms got. Third differences of commands
contain the command rate, so jerk compares only at equal rates.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
_KEPT = 4096  # seams that the summary covers
_POINTS = 4  # commands in a third difference


@dataclass(frozen=True)
class SeamSummary:
    """Over all seams (at most the last 4096); worst joint of each seam, rad or m and per s, s^3.

    Attributes:
        seams: boundaries crossed.
        position_jump_mean, position_jump_p95, ...: of the worst joint at each seam.
        hold_share: 0..1 of the ticks since the first chunk.
        command_age_mean_s, command_age_max_s: tick - stamp of the observation behind the command.
        repeated_rows, skipped_rows: as in the timeline.
    """

    seams: int
    position_jump_mean: float
    position_jump_p95: float
    velocity_jump_mean: float
    velocity_jump_p95: float
    jerk_mean: float
    jerk_p95: float
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
        self._jumps: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._jerks: deque[float] = deque(maxlen=_KEPT)

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
        self._jumps.append((float(np.abs(position_jump).max()), float(np.abs(velocity_jump).max())))

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
                self._jerks.append(float(self.jerk.max()))

    def interrupt(self) -> None:
        """The motion ended or its commands do not follow on each other."""
        self._close()
        self._recent.clear()

    def _close(self) -> None:
        if self._watch > 0:
            self._jerks.append(float(self.jerk.max()))
        self._watch = 0

    @property
    def hold_share(self) -> float:
        """0..1 of the ticks since the first chunk."""
        return self._held / self._ticks if self._ticks else 0.0

    def summary(self) -> SeamSummary:
        """Everything so far as numbers."""
        jumps = np.array(self._jumps).reshape(-1, 2)
        jerks = np.array(self._jerks)
        return SeamSummary(
            seams=self.seams,
            position_jump_mean=_mean(jumps[:, 0]),
            position_jump_p95=_p95(jumps[:, 0]),
            velocity_jump_mean=_mean(jumps[:, 1]),
            velocity_jump_p95=_p95(jumps[:, 1]),
            jerk_mean=_mean(jerks),
            jerk_p95=_p95(jerks),
            hold_share=self.hold_share,
            command_age_mean_s=self._age_sum / self._aged if self._aged else 0.0,
            command_age_max_s=self._age_max,
            repeated_rows=self.repeated_rows,
            skipped_rows=self.skipped_rows,
        )


def _mean(values: Vector) -> float:
    return float(values.mean()) if values.size else 0.0


def _p95(values: Vector) -> float:
    return float(np.quantile(values, 0.95)) if values.size else 0.0
