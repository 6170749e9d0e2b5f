# SPDX-License-Identifier: Apache-2.0
"""Chunks are spliced by time, entered late by the latency, held at their end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.evaluation.execution import ChunkTimeline, ExecutionPlan


class _Clock:
    """Chunks whose rows say the tick they belong to, plus a mark of the chunk."""

    def __init__(self, rows: int) -> None:
        self.tick, self.rows, self.asked = 0, rows, []

    def infer(self) -> NDArray[np.float64]:
        self.asked.append(self.tick)
        return self.tick + np.arange(self.rows, dtype=np.float64)[:, None]


def _run(plan: ExecutionPlan, rows: int, ticks: int) -> tuple[list[float], _Clock]:
    clock = _Clock(rows)
    timeline = ChunkTimeline(plan, clock.infer, np.array([-1.0]))
    commands = []
    for tick in range(ticks):
        clock.tick = tick
        commands.append(float(timeline.command(tick)[0]))
    return commands, clock


def test_each_row_runs_at_its_own_time() -> None:
    commands, clock = _run(ExecutionPlan(execute_rows=25, latency_ticks=8), rows=50, ticks=120)
    assert commands[:8] == [-1.0] * 8  # held until the first chunk is there
    assert commands[8:] == list(range(8, 120))
    assert clock.asked == [0, 25, 50, 75, 100]  # every 25 ticks


def test_short_chunk_holds_its_last_row() -> None:
    commands, _ = _run(ExecutionPlan(execute_rows=10, latency_ticks=10), rows=12, ticks=21)
    assert commands[10:20] == [10, 11, *[11] * 8]
    assert commands[20] == 20


def test_new_chunk_fades_in() -> None:
    marks = iter([np.zeros((50, 1)), np.ones((50, 1))])
    plan = ExecutionPlan(execute_rows=5, latency_ticks=0, blend_ticks=3)
    timeline = ChunkTimeline(plan, lambda: next(marks), np.zeros(1))
    assert [float(timeline.command(t)[0]) for t in range(9)] == [0] * 5 + [0.25, 0.5, 0.75, 1.0]
