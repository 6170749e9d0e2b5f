# SPDX-License-Identifier: Apache-2.0
"""Curves between rows: through the rows, C1, no overshoot; passages fade as promised."""

from __future__ import annotations

import numpy as np
import pytest
from control_support import SECOND, START, examples
from hypothesis import given
from hypothesis import strategies as st

from adamoe_ros.control.interpolation import (
    LONGEST_PASSAGE_S,
    PASSAGE_SHARE,
    ChunkCurve,
    Passage,
    passage_duration,
)

FINE = 200  # samples per row


def rows_of(seed: int, count: int = 8, joints: int = 4) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).normal(size=(count, joints)), axis=0)


def sampled(curve: ChunkCurve, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row_ns = round(curve.dt_s * SECOND)
    times = curve.anchor_ns + np.arange(count) * row_ns // FINE
    both = [curve.sample(int(time)) for time in times]
    return times, np.array([p for p, _ in both]), np.array([v for _, v in both])


@examples(quick=25, full=2_000)
@given(seed=st.integers(0, 2**32 - 1), dt_ms=st.sampled_from([10, 20, 33, 60]))
def test_curve_is_smooth_and_does_not_overshoot(seed: int, dt_ms: int) -> None:
    rows = rows_of(seed)
    curve = ChunkCurve(START, dt_ms / 1e3, rows)
    for index, row in enumerate(rows):
        np.testing.assert_allclose(curve.sample(START + index * dt_ms * 1_000_000)[0], row)
    times, position, velocity = sampled(curve, 7 * FINE + 1)
    for index in range(7):  # between two rows it stays between them
        part = position[index * FINE : (index + 1) * FINE + 1]
        low, high = np.minimum(*rows[index : index + 2]), np.maximum(*rows[index : index + 2])
        assert (part >= low - 1e-12).all() and (part <= high + 1e-12).all()
    step = np.diff(times)[:, None] / 1e9
    middle = 0.5 * (velocity[1:] + velocity[:-1])
    scale = np.abs(np.diff(rows, axis=0)).max() / (dt_ms / 1e3)
    assert np.abs(np.diff(position, axis=0) / step - middle).max() < 1e-3 * scale
    # C1: no step in velocity larger than what the cubic's acceleration gives
    assert np.abs(np.diff(velocity, axis=0)).max() < 20 * scale / FINE


def test_curve_ends_at_rest_and_holds() -> None:
    curve = ChunkCurve(START, 0.02, rows_of(1))
    position, velocity = curve.sample(curve.end_ns)
    np.testing.assert_array_equal(position, curve.rows[-1])
    assert not velocity.any()
    np.testing.assert_array_equal(curve.sample(curve.end_ns + SECOND)[0], curve.rows[-1])
    np.testing.assert_array_equal(curve.sample(START - SECOND)[0], curve.rows[0])


def test_uniform_motion_keeps_its_velocity() -> None:
    rows = np.linspace(0.0, 0.7, 8)[:, None]
    curve = ChunkCurve(START, 0.02, rows)
    for place in np.linspace(0.1, 6.0, 40):
        position, velocity = curve.sample(START + round(place * 0.02 * SECOND))
        assert position[0] == pytest.approx(0.1 * place, abs=1e-8)
        assert velocity[0] == pytest.approx(5.0, rel=1e-6)


def test_one_row_is_a_constant() -> None:
    curve = ChunkCurve(START, 0.02, np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(curve.sample(START + 5)[0], [1.0, 2.0])


@examples(quick=50, full=2_000)
@given(gap=st.floats(-1, 1), rate=st.floats(-3, 3), duration=st.floats(0.02, 0.5))
def test_passage_starts_as_given_and_fades(gap: float, rate: float, duration: float) -> None:
    passage = Passage(START, duration, np.array([gap]), np.array([rate]))
    first = passage.sample(START)
    assert first is not None
    assert first[0][0] == pytest.approx(gap) and first[1][0] == pytest.approx(rate)
    assert passage.sample(START + round(duration * SECOND) + 1) is None
    times = START + np.linspace(0, duration, 400, endpoint=False) * SECOND
    both = [passage.sample(int(time)) for time in times]
    position = np.array([item[0][0] for item in both if item])
    velocity = np.array([item[1][0] for item in both if item])
    middle = 0.5 * (velocity[1:] + velocity[:-1])
    steps = np.diff(times.astype(np.int64)) / 1e9
    bound = abs(gap) / duration + abs(rate)
    assert np.abs(np.diff(position) / steps - middle).max() < 2e-3 * bound + 1e-9
    assert abs(position[-1]) < 1e-3 * bound + 1e-9 and abs(velocity[-1]) < 0.02 * bound + 1e-9


@examples(quick=50, full=2_000)
@given(seed=st.integers(0, 2**32 - 1))
def test_passage_asks_for_its_share_of_the_limits_at_most(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gap, rate = rng.normal(0, 0.01, 4), rng.normal(0, 0.1, 4)
    top, acceleration = rng.uniform(0.5, 3, 4), rng.uniform(3, 20, 4)
    duration = passage_duration(gap, rate, top, acceleration, 0.02)
    assert 0.02 <= duration <= LONGEST_PASSAGE_S
    if duration == LONGEST_PASSAGE_S:
        return
    for part in ((gap, np.zeros(4)), (np.zeros(4), rate)):
        passage = Passage(0, duration, *part)
        both = [passage.sample(round(u * duration * SECOND)) for u in np.linspace(0, 0.999, 500)]
        velocity = np.array([item[1] for item in both if item])
        peak = np.abs(np.diff(velocity, axis=0)).max(axis=0) / (0.999 * duration / 499)
        assert (peak <= PASSAGE_SHARE * acceleration * 1.01).all()
