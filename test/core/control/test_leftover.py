# SPDX-License-Identifier: Apache-2.0
"""The memory of real-time chunking: the right chunk, on the right rows, from the right base."""

from __future__ import annotations

import numpy as np
import pytest

from adamoe_ros.control.leftover import PreviousChunks
from adamoe_ros.control.rtc_math import reanchor, soft_mask
from adamoe_ros.control.scheduling import DelayWindow, InferenceScheduler, SchedulerSettings
from adamoe_ros.control.strategies import STRATEGIES

MS = 1_000_000
H, A = 10, 3
STATE = np.zeros(2)


def scheduler(strategy: str = "rtc", **changes: float) -> InferenceScheduler:
    settings = SchedulerSettings(H, 0.02, execution_horizon=4, **changes)  # type: ignore[arg-type]
    side = STRATEGIES[strategy].policy_side
    return InferenceScheduler(side, settings, DelayWindow(warmup=10**9, initial_s=0.04))


def counted(first: float = 0.0) -> np.ndarray:
    """(H, A) rows first, first + 1, ... in every column."""
    return np.tile(first + np.arange(float(H))[:, None], A)


def test_rows_of_the_followed_chunk_by_time() -> None:
    it, chunks = scheduler(), PreviousChunks()
    assert chunks.leftover(it.start(0), STATE) is None
    chunks.remember(0, counted(), STATE)
    assert it.finish(40 * MS)
    found = chunks.leftover(it.start(90 * MS), STATE)  # it began at 40 ms, 2.5 rows before
    assert found is not None and found.prefix_rows == 0
    np.testing.assert_allclose(found.rows[:, 0], [2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9, 9, 9])
    np.testing.assert_array_equal(found.weights, soft_mask(H, 2, 3))


def test_a_chunk_that_was_dropped_is_not_the_previous_one() -> None:
    it, chunks = scheduler(age_budget_s=0.1), PreviousChunks()
    chunks.leftover(it.start(0), STATE)
    chunks.remember(0, counted(), STATE)
    assert it.finish(40 * MS)
    for late in (80, 100):  # two in a row come too late to be followed
        chunks.leftover(it.start(late * MS), STATE)
        chunks.remember(late * MS, counted(1000), STATE)
        assert not it.finish((late + 110) * MS)
    found = chunks.leftover(it.start(120 * MS), STATE)
    assert found is not None and found.rows[0, 0] == 4.0


def test_what_a_later_edit_does_to_the_chunk_does_not_matter() -> None:
    it, chunks = scheduler(), PreviousChunks()
    made = counted()
    chunks.leftover(it.start(0), STATE)
    chunks.remember(0, made, STATE)
    it.finish(40 * MS)
    made[:] = np.nan  # e.g. clipped in place
    found = chunks.leftover(it.start(80 * MS), STATE)
    assert found is not None and np.isfinite(found.rows).all()


def test_nothing_is_left_after_a_cut_or_a_new_goal() -> None:
    for forget in ("cut", "goal"):
        it, chunks = scheduler(), PreviousChunks()
        chunks.leftover(it.start(0), STATE)
        chunks.remember(0, counted(), STATE)
        it.finish(40 * MS)
        if forget == "cut":
            it.change_instruction("cut")
        else:
            it.reset()
            chunks.clear()
        assert chunks.leftover(it.start(80 * MS), STATE) is None


def test_chunk_relative_actions_are_expressed_from_the_new_state() -> None:
    """The same physical targets, whatever they are relative to."""
    relative, scale = np.array([True, False]), np.array([0.5, 2.0])
    offset = np.array([0.1, -0.3])
    old, new = np.array([0.4, 1.0]), np.array([0.9, -2.0])
    targets = np.random.default_rng(0).normal(size=(H, 2))

    def normalized(state: np.ndarray) -> np.ndarray:
        return np.asarray((targets - np.where(relative, state, 0.0) - offset) / scale)

    it = scheduler()
    chunks = PreviousChunks(lambda rows, a, b: reanchor(rows, relative, a, b, scale))
    chunks.leftover(it.start(0), old)
    chunks.remember(0, normalized(old), old)
    it.finish(40 * MS)
    found = chunks.leftover(it.start(80 * MS), new)
    assert found is not None
    np.testing.assert_allclose(found.rows[:8], normalized(new)[2:], atol=1e-12)


def test_a_trained_prefix_has_no_weights() -> None:
    it, chunks = scheduler("rtc_trained", max_prefix_rows=7), PreviousChunks()
    chunks.leftover(it.start(0), STATE)
    chunks.remember(0, counted(), STATE)
    it.finish(40 * MS)
    found = chunks.leftover(it.start(80 * MS), STATE)
    assert found is not None and found.weights is None and found.prefix_rows == 2


def test_a_chunk_nobody_remembered_is_our_bug() -> None:
    it, chunks = scheduler(), PreviousChunks()
    it.start(0)
    it.finish(40 * MS)
    with pytest.raises(ValueError, match="no chunk of the observation at 0 ns"):
        chunks.leftover(it.start(80 * MS), STATE)
