# SPDX-License-Identifier: Apache-2.0
"""One suite for every strategy: smooth seams, right rows, late chunks, holding, exactness."""

from __future__ import annotations

import numpy as np
import pytest
from control_support import (
    HOME_COMMAND,
    LIMITS,
    PERIOD,
    ROBOT,
    SECOND,
    START,
    Driven,
    J,
    chunk,
    examples,
    ramp,
)
from hypothesis import given
from hypothesis import strategies as st

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.control.settings import Cause
from adamoe_ros.control.status import Mode
from adamoe_ros.control.strategies import STRATEGIES, make_strategy
from adamoe_ros.control.timeline import Timeline

ALL = sorted(STRATEGIES)
BY_TIME = [name for name in ALL if name != "sync"]
MS = SECOND // 1000
FINE = MS // 5


def walk(rng: np.random.Generator, rows: int = 16) -> np.ndarray:
    """(rows, J) inside the limits, at a tenth of the velocity limits."""
    steps = rng.uniform(-0.1, 0.1, (rows, J)) * LIMITS.velocity * 0.02
    return np.clip(HOME_COMMAND + np.cumsum(steps, axis=0), LIMITS.low, LIMITS.high)


def take(timeline: Timeline, made: object, now: int) -> None:
    timeline.splice(made, now, HOME_COMMAND, np.zeros(J), True)  # type: ignore[arg-type]


def test_an_unknown_strategy_is_refused_with_those_there_are() -> None:
    with pytest.raises(ContractError) as refused:
        make_strategy("teleport")
    assert "strategy: expected one of" in str(refused.value)
    assert all(name in str(refused.value) for name in STRATEGIES)


@pytest.mark.parametrize("name", ALL)
@examples(quick=15, full=300)
@given(seed=st.integers(0, 2**32 - 1), spacing=st.integers(2, 12), delay=st.integers(0, 6))
def test_reference_is_c1_across_seams(name: str, seed: int, spacing: int, delay: int) -> None:
    """Position and velocity between two samples differ no more than accelerations allow."""
    rng = np.random.default_rng(seed)
    timeline = Timeline(LIMITS, make_strategy(name))
    now, positions, velocities = START, [], []
    take(timeline, chunk(walk(rng), START), START)
    for number in range(2, 7):
        for _ in range(spacing * (PERIOD // FINE) // 4):
            now += FINE
            p, v = timeline.sample(now)
            positions.append(p)
            velocities.append(v)
        made = chunk(walk(rng), now - delay * PERIOD, number)
        if not timeline.is_late(made, now):
            take(timeline, made, now)
            p, v = timeline.sample(now)
            # the very same moment, before and after the chunk was taken up
            np.testing.assert_allclose(p, positions[-1], atol=1e-9)
            np.testing.assert_allclose(v, velocities[-1], atol=1e-7)
    change = np.abs(np.diff(positions, axis=0)) / (FINE / 1e9)
    assert (change <= LIMITS.velocity * 3).all()
    middle = 0.5 * (np.array(velocities[1:]) + np.array(velocities[:-1]))
    error = np.abs(np.diff(positions, axis=0) / (FINE / 1e9) - middle)
    assert error.max() < 0.02


@pytest.mark.parametrize("name", BY_TIME)
def test_a_chunk_is_played_from_the_row_of_its_time(name: str) -> None:
    """Chunks of one underlying motion: whatever their delay, the motion is the same."""
    timeline = Timeline(LIMITS, make_strategy(name))
    now = START

    def true(time_ns: int) -> np.ndarray:
        out = HOME_COMMAND.copy()
        out[[0, 3]] += 0.2 * np.sin(2.0 * (time_ns - START) / 1e9)
        return out

    for number in range(1, 20):
        stamp = now - (number % 5) * PERIOD
        rows = np.array([true(stamp + row * PERIOD) for row in range(16)])
        take(timeline, chunk(rows, stamp, number), now)
        for _ in range(6):
            now += PERIOD
            if number > 6:  # the start from rest is over
                np.testing.assert_allclose(timeline.sample(now)[0], true(now), atol=2e-4)
    assert timeline.skipped_rows == 0 and timeline.repeated_rows == 0


def test_sync_plays_from_its_first_row_because_the_arms_waited() -> None:
    timeline = Timeline(LIMITS, make_strategy("sync"))
    take(timeline, chunk(ramp(10, 0.5), START - 10 * PERIOD), START)
    assert timeline.row(START) == 0
    assert timeline.row(START + 3 * PERIOD) == 3


@pytest.mark.parametrize("name", BY_TIME)
def test_a_late_chunk_is_used_from_its_right_row_or_dropped(name: str) -> None:
    driven = Driven(strategy=name)
    driven.ticks(3)
    first = chunk(ramp(10, 0.1), driven.now - 6 * PERIOD)
    assert driven.core.on_chunk(first, driven.now).accepted
    assert driven.tick().row == 1  # the arms rested: nothing of it was consumed
    late = chunk(ramp(10, 0.1), driven.now - 4 * PERIOD, 2)
    assert driven.core.on_chunk(late, driven.now).accepted
    assert driven.tick().row == 5
    gone = chunk(ramp(10, 0.1), driven.now - 9 * PERIOD, 3)
    verdict = driven.core.on_chunk(gone, driven.now)
    assert verdict.late and not verdict.accepted
    assert driven.core.status(driven.now).late_chunks == 1


@pytest.mark.parametrize("name", ALL)
def test_a_stray_chunk_with_a_high_id_does_not_silence_the_later_ones(name: str) -> None:
    driven = Driven(strategy=name)
    driven.ticks(3)
    assert driven.core.on_chunk(chunk(ramp(10, 0.1), driven.now, 2**63 - 1), driven.now).accepted
    driven.ticks(3)
    assert driven.core.on_chunk(chunk(ramp(10, 0.1), driven.now, 2), driven.now).accepted


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("age", [0, 1, 5])
def test_older_and_equal_chunks_never_come_back(name: str, age: int) -> None:
    driven = Driven(strategy=name)
    driven.ticks(3)
    assert driven.core.on_chunk(chunk(ramp(10, 0.1), driven.now, 5), driven.now).accepted
    old = chunk(ramp(10, 0.4), driven.now - age * PERIOD, 6)
    assert driven.core.on_chunk(old, driven.now).late


@pytest.mark.parametrize("name", ALL)
def test_the_last_row_is_held_and_counted(name: str) -> None:
    driven = Driven(strategy=name)
    driven.ticks(2)
    driven.core.on_chunk(chunk(ramp(10, 0.2), driven.now), driven.now)
    results = driven.ticks(9 + 15)
    assert [r.mode for r in results[:9]] == [Mode.RUNNING] * 9
    assert results[12].hold_cause == Cause.CHUNK_EXHAUSTED
    np.testing.assert_allclose(results[-1].command, ramp(10, 0.2)[-1], atol=1e-9)
    assert not results[-1].velocity.any()
    status = driven.core.status(driven.now)
    assert status.repeated_rows == 15 and status.holds == 1
    assert status.hold_share == pytest.approx(15 / 24)


@pytest.mark.parametrize("name", BY_TIME)
def test_rows_due_while_holding_are_counted_as_skipped(name: str) -> None:
    driven = Driven(strategy=name)
    driven.ticks(2)
    driven.core.on_chunk(chunk(ramp(10, 0.1), driven.now), driven.now)
    driven.ticks(19)  # ten periods past the last row
    driven.core.on_chunk(chunk(ramp(30, 0.1), driven.now - 15 * PERIOD, 2), driven.now)
    assert driven.tick().row == 16
    assert driven.core.status(driven.now).skipped_rows == 10


@pytest.mark.parametrize("name", ALL)
def test_reordered_columns_are_mapped_by_name(name: str) -> None:
    order = np.random.default_rng(3).permutation(J)
    names = tuple(ROBOT.joint_ids[place] for place in order)
    straight, mixed = Driven(strategy=name), Driven(strategy=name)
    for number in range(1, 6):
        rows = ramp(20, 0.3)
        assert straight.core.on_chunk(chunk(rows, straight.now, number), straight.now).accepted
        made = chunk(rows[:, order], mixed.now, number, names=names)
        assert mixed.core.on_chunk(made, mixed.now).accepted
        for one, other in zip(straight.ticks(5), mixed.ticks(5), strict=True):
            np.testing.assert_array_equal(one.command, other.command)


@pytest.mark.parametrize("name", ALL)
def test_feasible_motion_passes_the_gate_untouched(name: str) -> None:
    """Chunks that agree and keep the limits: commands are the rows, and nothing is clipped."""
    driven = Driven(strategy=name)
    driven.ticks(2)
    begin = driven.now

    def true(time_ns: np.ndarray | int) -> np.ndarray:
        t = (np.asarray(time_ns) - begin) / 1e9
        return HOME_COMMAND + 0.3 * (1 - np.cos(2.0 * t))[..., None] * [1, 0, 0, 1, 0, 0]

    last = None
    for number in range(1, 16):
        stamps = driven.now + np.arange(20) * PERIOD
        assert driven.core.on_chunk(chunk(true(stamps), driven.now, number), driven.now).accepted
        last = driven.ticks(8)[-1]
    assert last is not None
    np.testing.assert_allclose(last.command, true(driven.now), atol=1e-3)
    status = driven.core.status(driven.now)
    for clips in ("position_clips", "velocity_clips", "acceleration_clips", "step_clips"):
        assert not getattr(status, clips).any(), clips
    assert status.seams == 14
    assert np.abs(status.seam_position_jump).max() < 1e-3


def test_ensemble_is_the_weighted_mean() -> None:
    """Two chunks that stand at different places: weights 1 and exp(-0.01), normalised."""
    timeline = Timeline(LIMITS, make_strategy("ensemble"))
    low, high = np.tile(HOME_COMMAND, (30, 1)), np.tile(HOME_COMMAND, (30, 1))
    high[:, 0] += 0.1
    take(timeline, chunk(low, START, 1), START)
    take(timeline, chunk(high, START + PERIOD, 2), START + PERIOD)
    share = np.exp(-0.01) / (1 + np.exp(-0.01))
    position, velocity = timeline.sample(START + 15 * PERIOD)
    assert position[0] == pytest.approx(HOME_COMMAND[0] + 0.1 * share, abs=1e-12)
    assert velocity[0] == pytest.approx(0.0, abs=1e-9)


def test_blend_passes_through_the_middle() -> None:
    timeline = Timeline(LIMITS, make_strategy("blend"))
    low, high = np.tile(HOME_COMMAND, (30, 1)), np.tile(HOME_COMMAND, (30, 1))
    high[:, 0] += 0.1
    take(timeline, chunk(low, START, 1), START)
    take(timeline, chunk(high, START + PERIOD, 2), START + PERIOD)
    half = START + PERIOD + 5 * PERIOD // 2
    assert timeline.sample(half)[0][0] == pytest.approx(HOME_COMMAND[0] + 0.05)
    assert timeline.sample(START + 7 * PERIOD)[0][0] == pytest.approx(HOME_COMMAND[0] + 0.1)
