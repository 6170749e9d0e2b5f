# SPDX-License-Identifier: Apache-2.0
"""Chunk execution with a simulated inference time, tick by tick, without threads or clocks.

The same rule as on the robot: the next observation is taken early enough that its chunk is there
when ``execute_rows`` of the current one are done; a chunk is entered at the row of the present
time; without rows left, the last one is held. May import: contract, numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class ExecutionPlan:
    """How chunks are used.

    Attributes:
        execute_rows: rows between two switches to a new chunk.
        latency_ticks: ticks from an observation to its chunk.
        blend_ticks: ticks over which a new chunk fades in.
    """

    execute_rows: int = 25
    latency_ticks: int = 8
    blend_ticks: int = 0


def latency_ticks(latency_s: float, rate_hz: float = 50.0) -> int:
    """Whole control ticks that a latency takes, rounded up."""
    return math.ceil(round(latency_s * rate_hz, 6))


class ChunkTimeline:
    """What to command at each tick.

    Args:
        plan: how chunks are used.
        infer: called at a tick, returns (H, J) rows; row r belongs to tick + r.
        start: (J,) what is held until the first chunk is there.
    """

    def __init__(self, plan: ExecutionPlan, infer: Callable[[], Rows], start: Rows) -> None:
        self._plan, self._infer, self._hold = plan, infer, start
        self._current: tuple[int, Rows] | None = None  # tick of row 0, rows
        self._coming: tuple[int, Rows] | None = None
        self._before: Rows | None = None  # rows of the old chunk from the switch on
        self._switch = 0
        self.inferences = 0

    def command(self, tick: int) -> Rows:
        """(J,) target of this tick; ticks must count up by one from 0."""
        self._enter_if_ready(tick)
        if self._coming is None and self._due(tick):
            self._coming = (tick, np.asarray(self._infer(), dtype=np.float64))
            self.inferences += 1
            self._enter_if_ready(tick)  # without latency: at once
        if self._current is None:
            return self._hold
        return self._faded(tick, self._row(self._current, tick))

    def _due(self, tick: int) -> bool:
        if self._current is None:
            return True
        return tick - self._switch >= self._plan.execute_rows - self._plan.latency_ticks

    def _enter_if_ready(self, tick: int) -> None:
        if self._coming is None or tick < self._coming[0] + self._plan.latency_ticks:
            return
        if self._current is not None and self._plan.blend_ticks:
            ticks = range(tick, tick + self._plan.blend_ticks)
            self._before = np.stack([self._row(self._current, t) for t in ticks])
        self._current, self._coming, self._switch = self._coming, None, tick

    def _faded(self, tick: int, row: Rows) -> Rows:
        age = tick - self._switch
        if self._before is None or age >= len(self._before):
            return row
        share = (age + 1) / (len(self._before) + 1)
        return np.asarray((1 - share) * self._before[age] + share * row)

    @staticmethod
    def _row(chunk: tuple[int, Rows], tick: int) -> Rows:
        first, rows = chunk
        return np.asarray(rows[min(tick - first, len(rows) - 1)])
