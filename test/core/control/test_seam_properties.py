# SPDX-License-Identifier: Apache-2.0
"""Whatever order, lateness and overlap of chunks: one row a tick, the right one, and smooth.

The stated bound of continuity: from one tick to the next the commanded velocity changes by at most
``a_max * T`` (doc/motion.md), and the reference behind the gate is C1 (test_strategies.py).
"""

from __future__ import annotations

import numpy as np
from control_support import (
    LIMITS,
    PERIOD,
    SECOND,
    Driven,
    J,
    Judge,
    chunk,
    examples,
)
from hypothesis import given
from hypothesis import strategies as st

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.control.settings import Cause
from adamoe_ros.control.strategies import STRATEGIES

TICKS = 60
# (tick of the observation, ticks until it arrives, rows, row spacing in ms)
DELIVERIES = st.lists(
    st.tuples(
        st.integers(0, TICKS - 8),
        st.integers(0, 14),
        st.integers(1, 20),
        st.sampled_from([10, 20, 33]),
    ),
    min_size=1,
    max_size=14,
)


def deliveries(script: list[tuple[int, int, int, int]], seed: int) -> dict[int, list[ActionChunk]]:
    """Arrival tick -> chunks; ids count by observation, so arrivals may be out of order."""
    rng = np.random.default_rng(seed)
    arrivals: dict[int, list[ActionChunk]] = {}
    start = Driven().now
    home = Driven().core.gate.position
    for number, (seen, delay, rows, dt_ms) in enumerate(sorted(script), 1):
        steps = rng.normal(0, 1, (rows, J)) * LIMITS.velocity * dt_ms / 1e3 * rng.random() * 0.6
        made = chunk(
            home + rng.normal(0, 0.02, J) + np.cumsum(steps, axis=0),
            start + seen * PERIOD - int(rng.integers(0, PERIOD)),
            number,
            dt_s=dt_ms / 1e3,
        )
        arrivals.setdefault(seen + delay, []).append(made)
    for made_at in arrivals.values():
        rng.shuffle(made_at)  # type: ignore[arg-type]
    return arrivals


def last_row_ns(made: ActionChunk) -> int:
    """From its first row to its last."""
    return round((made.rows - 1) * made.dt_s * SECOND)


@examples(quick=120, full=20_000)
@given(
    script=DELIVERIES,
    seed=st.integers(0, 2**32 - 1),
    strategy=st.sampled_from(sorted(STRATEGIES)),
)
def test_one_right_row_a_tick_and_smooth(
    script: list[tuple[int, int, int, int]], seed: int, strategy: str
) -> None:
    driven, judge = Driven(strategy=strategy), Judge(LIMITS, 1 / 50)
    arrivals = deliveries(script, seed)
    newest: ActionChunk | None = None
    begin = 0  # control time of its first row
    times: list[int] = []
    row_times: list[float] = []
    for tick in range(TICKS):
        for made in arrivals.get(tick, []):
            if driven.core.on_chunk(made, driven.now).accepted:
                rested = newest is None or begin + last_row_ns(newest) <= made.stamp_ns
                begin = max(made.stamp_ns, driven.now) if rested else made.stamp_ns
                newest = made
        result = driven.tick()
        judge.see(result.command)  # exactly one command, whatever arrived
        times.append(result.now_ns)
        if newest is None:
            assert result.chunk_id == 0 and result.row == -1
            assert result.hold_cause == Cause.NO_CHUNK
            continue
        assert result.chunk_id == newest.chunk_id
        assert 0 <= result.row < newest.rows
        due = (result.now_ns - begin) / (newest.dt_s * SECOND)
        expected = min(max(int(due), 0), newest.rows - 1)
        assert result.row == expected, "not the row of this time"
        row_times.append(begin + result.row * newest.dt_s * SECOND)
        held = due > newest.rows - 1
        assert (result.hold_cause in (Cause.CHUNK_EXHAUSTED, Cause.CHUNK_LOST)) == held
    assert np.diff(times).min() > 0
    # a chunk with wider rows may be in a row that began earlier, but in none that has ended
    back = np.diff(row_times, prepend=row_times[0] if row_times else 0.0)
    assert not row_times or back.min() > -0.034 * SECOND


@examples(quick=30, full=5_000)
@given(seed=st.integers(0, 2**32 - 1), strategy=st.sampled_from(sorted(STRATEGIES)))
def test_the_same_chunks_in_any_order_of_arrival_end_at_the_same_place(
    seed: int, strategy: str
) -> None:
    """Arriving together, only the newest counts: the older ones are dropped in whatever order."""
    rng = np.random.default_rng(seed)
    ends = []
    for _ in range(2):
        driven = Driven(strategy="async" if strategy == "ensemble" else strategy)
        driven.ticks(2)
        steps = np.random.default_rng(seed).normal(0, 0.002, (4, 12, J))
        made = [
            chunk(
                driven.core.gate.position + np.cumsum(rows, axis=0),
                driven.now - (3 - number) * PERIOD,
                number + 1,
            )
            for number, rows in enumerate(steps)
        ]
        for place in rng.permutation(len(made)):
            driven.core.on_chunk(made[place], driven.now)
        driven.ticks(60)
        ends.append(driven.core.gate.position.copy())
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-9)
