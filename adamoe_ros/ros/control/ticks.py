# SPDX-License-Identifier: Apache-2.0
"""Spacing of control ticks as it really was: missed ticks, rate, jitter.

Timers of rclpy skip missed periods silently, so the node counts them itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LATE = 1.5  # periods after the tick before; later than that, periods were missed


class TickMonitor:
    """Statistics of a periodic callback.

    Args:
        period_s: intended spacing, s.
        window: ticks that rate and jitter cover.
        log: file (.npy) for time and source of all ticks, written by ``save``; None: not kept.
    """

    def __init__(self, period_s: float, window: int = 1000, log: Path | None = None) -> None:
        self._log = log
        self._times: list[float] = []
        self._sources: list[int] = []
        self.period_s = period_s
        self.ticks = 0
        self.missed = 0
        self._spacing = np.full(window, np.nan)
        self._last: float | None = None

    def tick(self, now_s: float) -> None:
        """Note a tick.

        Args:
            now_s: steady time, s.
        """
        if self._last is not None:
            spacing = now_s - self._last
            if spacing > LATE * self.period_s:
                self.missed += round(spacing / self.period_s) - 1
            self._spacing[self.ticks % len(self._spacing)] = spacing
        if self._log is not None:
            self._times.append(now_s)
        self._last = now_s
        self.ticks += 1

    def note(self, source: int) -> None:
        """Whose motion the tick commanded, as in ``msg/ControlStatus``."""
        if self._log is not None:
            self._sources.append(source)

    def save(self) -> None:
        """Write the log, where there is one: rows of ``time`` and ``source``."""
        if self._log is not None and self._times:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            rows = list(zip(self._times, self._sources, strict=False))  # a tick may be under way
            np.save(self._log, np.array(rows, [("time", np.float64), ("source", np.uint8)]))

    def pause(self) -> None:
        """The next tick follows a wanted pause: its spacing does not count."""
        self._last = None

    @property
    def rate(self) -> float:
        """Hz, over about the last second; 0 before the second tick."""
        spacing = self._recent(max(2, round(1.0 / self.period_s)))
        total = float(spacing.sum())
        return len(spacing) / total if total > 0 else 0.0

    def jitter(self, quantile: float) -> float:
        """Quantile of the deviation of the spacing from the period, s; 0 before the second tick."""
        spacing = self._spacing[~np.isnan(self._spacing)]
        if not len(spacing):
            return 0.0
        return float(np.quantile(np.abs(spacing - self.period_s), quantile))

    def _recent(self, count: int) -> NDArray[np.float64]:
        size = len(self._spacing)
        places = np.arange(self.ticks - min(count, size), self.ticks) % size
        spacing: NDArray[np.float64] = self._spacing[places]
        return np.asarray(spacing[~np.isnan(spacing)])
