# SPDX-License-Identifier: Apache-2.0
"""When inference starts, what it is given, and what becomes of a changed instruction."""

from __future__ import annotations

import numpy as np
import pytest

from adamoe_ros.control.rtc_math import hard_mask, soft_mask
from adamoe_ros.control.scheduling import DelayWindow, InferenceScheduler, SchedulerSettings
from adamoe_ros.control.strategies import STRATEGIES

MS = 1_000_000
ROW = 20 * MS
H = 50


def scheduler(strategy: str, delay_s: float = 0.1, **changes: float) -> InferenceScheduler:
    settings = SchedulerSettings(horizon=H, dt_s=0.02, **changes)  # type: ignore[arg-type]
    delays = DelayWindow(warmup=0, initial_s=delay_s)
    return InferenceScheduler(STRATEGIES[strategy].policy_side, settings, delays)


def infer(it: InferenceScheduler, observation_ns: int, delay_ns: int = 100 * MS) -> object:
    plan = it.start(observation_ns)
    assert it.finish(observation_ns + delay_ns)
    return plan


def test_delay_is_the_largest_of_a_window_without_warmup() -> None:
    window = DelayWindow(size=3, warmup=1, initial_s=0.05)
    assert window.largest_s == 0.05
    window.add(9.0)
    assert window.largest_s == 0.05
    for delay in (0.1, 0.3, 0.2):
        window.add(delay)
    assert window.largest_s == 0.3
    window.add(0.1)
    window.add(0.1)
    assert window.largest_s == 0.2
    with pytest.raises(ValueError, match="delay"):
        window.add(-0.1)


@pytest.mark.parametrize(
    ("delay_s", "rows"), [(0.0, 0), (0.03, 2), (0.04, 2), (0.041, 3), (9.9, H)]
)
def test_delay_in_rows_is_rounded_up(delay_s: float, rows: int) -> None:
    assert scheduler("rtc", delay_s).delay_rows == rows


@pytest.mark.parametrize("strategy", ["async", "blend", "rtc", "rtc_trained"])
def test_execution_rows_keep_d_le_s_le_h_minus_d(strategy: str) -> None:
    for rows in range(H // 2 - 1):
        for wanted in (0, 1, 10, 25, 40, 50):
            it = scheduler(strategy, rows * 0.02, execution_horizon=wanted)
            assert max(1, rows) <= it.execution_rows <= H - rows - 1
            assert not it.starved
    assert scheduler(strategy, 0.52).starved


@pytest.mark.parametrize("strategy", ["async", "blend", "rtc", "rtc_trained"])
def test_next_inference_after_the_execution_horizon(strategy: str) -> None:
    it = scheduler(strategy, execution_horizon=20)
    assert it.due(0, 0)
    infer(it, 900 * MS)  # followed from 1000 ms on, from its first row
    assert not it.due(1300 * MS, 1000 * MS)
    assert not it.due(1390 * MS, 1380 * MS)
    assert it.due(1400 * MS, 1400 * MS)
    infer(it, 1400 * MS)  # spliced by its observation's time
    assert not it.due(1790 * MS, 1780 * MS)
    assert it.due(1800 * MS, 1800 * MS)


def test_ensemble_infers_at_once_on_a_new_observation() -> None:
    it = scheduler("ensemble")
    infer(it, 1000 * MS)
    assert not it.due(1100 * MS, 1000 * MS)
    assert it.due(1100 * MS, 1040 * MS)


def test_sync_waits_until_the_executed_rows_are_over() -> None:
    it = scheduler("sync", execution_horizon=10)
    plan = infer(it, 1000 * MS)
    assert plan.publish_rows == 10  # type: ignore[attr-defined]
    assert not it.due(1290 * MS, 1280 * MS)
    assert not it.due(1310 * MS, 1290 * MS)  # an observation of the moving arms
    assert it.due(1310 * MS, 1300 * MS)


def test_sync_may_execute_the_whole_horizon() -> None:
    assert scheduler("sync", execution_horizon=H).execution_rows == H


def test_one_inference_at_a_time() -> None:
    it = scheduler("async")
    it.start(0)
    assert not it.due(10_000 * MS, 10_000 * MS)
    with pytest.raises(ValueError, match="one inference"):
        it.start(0)
    it.abandon()
    with pytest.raises(ValueError, match="no inference"):
        it.finish(0)


def test_rtc_plan_counts_the_rows_really_consumed() -> None:
    it = scheduler("rtc", execution_horizon=20)
    first = infer(it, 0)
    assert first.weights is None and not first.needs_leftover  # type: ignore[attr-defined]
    plan = it.start(507 * MS)  # the first chunk began at 100 ms
    assert plan.shift_rows == pytest.approx(20.35)
    assert (plan.delay_rows, plan.executed_rows) == (5, 21)
    np.testing.assert_array_equal(plan.weights, soft_mask(H, 5, 21))
    assert plan.needs_leftover and plan.prefix_rows == 0
    assert it.finish(607 * MS)
    assert it.start(917 * MS).shift_rows == pytest.approx(20.5)  # the second one at its stamp


def test_no_row_of_a_chunk_is_skipped_that_was_seen_at_rest() -> None:
    """The first one, and one whose observation came after the end of the one before."""
    it = scheduler("rtc", 0.1, execution_horizon=20)
    infer(it, 0, 300 * MS)
    assert it.start(400 * MS).shift_rows == pytest.approx(5.0)
    it.abandon()
    end = 300 * MS + (H - 1) * ROW
    infer(it, end, 300 * MS)
    assert it.start(end + 400 * MS).shift_rows == pytest.approx(5.0)


def test_an_observation_from_before_the_first_chunk_began() -> None:
    it = scheduler("rtc", 0.1)
    infer(it, 0, 300 * MS)
    it.change_instruction("blend")
    plan = it.start(280 * MS)
    assert plan.shift_rows == pytest.approx(-1.0) and plan.executed_rows == 0


def test_a_refused_chunk_is_no_leftover() -> None:
    it = scheduler("rtc", execution_horizon=20)
    infer(it, 0)
    it.forget()
    assert it.due(120 * MS, 120 * MS)
    assert not it.start(120 * MS).needs_leftover


def test_only_rtc_strategies_are_given_a_leftover() -> None:
    for name, strategy in STRATEGIES.items():
        it = scheduler(name, execution_horizon=10, max_prefix_rows=7)
        infer(it, 0)
        plan = it.start(900 * MS)
        assert plan.needs_leftover == strategy.policy_side.needs_leftover == name.startswith("rtc")


def test_nothing_is_left_of_a_chunk_that_is_over() -> None:
    it = scheduler("rtc")
    infer(it, 0)
    assert it.start(5000 * MS).weights is None


def test_trained_prefix_is_bounded_by_its_training() -> None:
    it = scheduler("rtc_trained", 0.1, max_prefix_rows=7)
    infer(it, 0)
    assert it.start(500 * MS).prefix_rows == 5
    it.finish(700 * MS)
    assert it.delay_rows == 10
    assert it.start(1100 * MS).prefix_rows == 7
    assert it.overlong == 1


def test_a_result_over_the_age_budget_is_dropped_and_its_delay_counts() -> None:
    it = scheduler("async", 0.1, age_budget_s=0.3)
    it.start(0)
    assert not it.finish(310 * MS)
    assert it.dropped == 1 and it.delay_rows == 16
    assert it.due(320 * MS, 320 * MS)  # as if there were no chunk yet


def test_without_a_budget_a_chunk_without_rows_is_dropped() -> None:
    it = scheduler("async")
    it.start(0)
    assert not it.finish(1001 * MS)
    sync = scheduler("sync")
    sync.start(0)
    assert sync.finish(1001 * MS)  # the arms waited: all rows are still to come


def test_instruction_finish_changes_nothing() -> None:
    it = scheduler("rtc", execution_horizon=20)
    infer(it, 0)
    it.change_instruction("finish")
    assert not it.due(200 * MS, 200 * MS)
    np.testing.assert_array_equal(it.start(500 * MS).weights, soft_mask(H, 5, 20))


def test_instruction_blend_hurries_and_keeps_only_what_will_be_executed() -> None:
    it = scheduler("rtc", execution_horizon=20)
    infer(it, 0)
    it.change_instruction("blend")
    assert it.due(200 * MS, 200 * MS)
    np.testing.assert_array_equal(it.start(200 * MS).weights, hard_mask(H, 5))
    assert it.finish(300 * MS)
    np.testing.assert_array_equal(it.start(600 * MS).weights, soft_mask(H, 5, 20))


def test_instruction_blend_keeps_what_is_in_flight() -> None:
    it = scheduler("async", execution_horizon=20)
    it.start(0)
    it.change_instruction("blend")
    assert it.finish(100 * MS)
    assert it.due(120 * MS, 120 * MS)


def test_instruction_cut_throws_away_what_is_in_flight() -> None:
    it = scheduler("rtc", execution_horizon=20)
    infer(it, 0)
    it.start(400 * MS)
    it.change_instruction("cut")
    assert not it.finish(500 * MS)
    assert it.due(510 * MS, 510 * MS)
    plan = it.start(510 * MS)
    assert plan.weights is None and plan.shift_rows == 0.0
    assert it.finish(600 * MS)


def test_sync_never_hurries_into_a_motion() -> None:
    it = scheduler("sync", execution_horizon=10)
    infer(it, 0)
    it.change_instruction("blend")
    assert not it.due(200 * MS, 200 * MS)


def test_a_new_goal_keeps_the_measured_delay() -> None:
    it = scheduler("async", 0.0)
    infer(it, 0, 130 * MS)
    it.reset()
    assert it.delay_rows == 7 and it.due(200 * MS, 0)
