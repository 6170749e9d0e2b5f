# SPDX-License-Identifier: Apache-2.0
"""Smoothing of rows: quadratics pass, noise does not, grippers stay, nothing is late."""

from __future__ import annotations

import numpy as np
import pytest
from control_support import HOME_COMMAND, LIMITS, PERIOD, START, Driven, J, chunk

from adamoe_ros.control.smoothing import smoothed, smoothing_matrix, tricube
from adamoe_ros.control.strategies import make_strategy
from adamoe_ros.control.timeline import Timeline

NONE = np.zeros(3, dtype=bool)


@pytest.mark.parametrize(("rows", "window"), [(50, 11), (50, 5), (7, 11), (4, 5), (1, 5), (2, 3)])
def test_every_row_is_its_own_fit(rows: int, window: int) -> None:
    values = np.random.default_rng(0).normal(size=rows)
    found = smoothing_matrix(rows, window) @ values
    used = min(window, rows)
    for row in range(rows):
        first = min(max(row - used // 2, 0), rows - used)
        places = np.arange(first, first + used)
        weights = np.sqrt(tricube(places - row))
        fit = np.polyfit(places, values[places], min(2, used - 1), w=weights)
        assert found[row] == pytest.approx(np.polyval(fit, row), abs=1e-9)


def test_quadratic_motion_passes_unchanged_to_both_ends() -> None:
    t = np.arange(30.0)[:, None]
    rows = np.hstack([0.3 + 0.1 * t, t**2, 5 - 0.2 * t - 0.01 * t**2])
    np.testing.assert_allclose(smoothed(rows, 0.02, 0.2, NONE), rows, atol=1e-9)


def test_noise_between_rows_is_taken_out_without_a_lag() -> None:
    rng = np.random.default_rng(1)
    t = np.arange(50) * 0.02
    true = np.sin(2 * np.pi * 0.5 * t)[:, None] * [1.0, 0.5, 0.2]
    noisy = true + rng.normal(0, 0.01, true.shape)
    found = smoothed(noisy, 0.02, 0.3, NONE)
    assert np.abs(np.diff(found, 2, axis=0)).mean() < 0.1 * np.abs(np.diff(noisy, 2, axis=0)).mean()
    assert np.abs(found - true).mean() < 0.6 * np.abs(noisy - true).mean()
    lags = [np.abs(found[3:-3, 0] - np.roll(true[:, 0], lag)[3:-3]).mean() for lag in (-2, 0, 2)]
    assert lags[1] < lags[0] and lags[1] < lags[2]


@pytest.mark.parametrize("window_s", [0.0, 0.02, 0.04])
def test_a_window_below_three_rows_changes_nothing(window_s: float) -> None:
    rows = np.random.default_rng(2).normal(size=(20, 3))
    assert smoothed(rows, 0.03, window_s, NONE) is rows


def test_kept_columns_keep_their_edges() -> None:
    rows = np.repeat([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], 10, axis=0)
    found = smoothed(rows, 0.02, 0.2, np.array([False, True, False]))
    np.testing.assert_array_equal(found[:, 1], rows[:, 1])
    assert not np.allclose(found[:, 0], rows[:, 0])


def test_an_overshoot_stays_inside_the_limits_and_grippers_are_not_smoothed() -> None:
    rows = np.tile(HOME_COMMAND, (20, 1))
    rows[10:, [0, 3]] = LIMITS.high[0]
    rows[10:, [2, 5]] = 1.0
    timeline = Timeline(LIMITS, make_strategy("async"), smoothing_s=0.2)
    timeline.splice(chunk(rows, START), START, HOME_COMMAND, np.zeros(J), True)
    curve = timeline.newest.curve.rows  # type: ignore[union-attr]
    assert (curve <= LIMITS.high).all() and (curve >= LIMITS.low).all()
    assert curve[9, 0] > rows[9, 0] and (curve[:, 2] == rows[:, 2]).all()


def test_the_core_smooths_where_it_is_set() -> None:
    rng = np.random.default_rng(3)
    rows = HOME_COMMAND + rng.normal(0, 0.01, (30, J)) * ~LIMITS.gripper
    clips = {}
    for window in (0.0, 0.2):
        driven = Driven(smoothing=window)
        driven.ticks(2)
        assert driven.core.on_chunk(chunk(rows, driven.now), driven.now).accepted
        driven.ticks(round(28 * PERIOD / PERIOD))
        clips[window] = driven.core.gate.clips.acceleration.sum()
    assert clips[0.2] < 0.5 * clips[0.0]
