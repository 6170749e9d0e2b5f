# SPDX-License-Identifier: Apache-2.0
"""Seam metrics on motions whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest

from adamoe_ros.control.metrics import SeamMetrics

T = 0.01


def test_jerk_of_a_cubic_is_its_third_derivative() -> None:
    metrics = SeamMetrics(2, T)
    metrics.seam(np.array([0.1, -0.3]), np.array([1.0, 0.5]), 0.02)
    for tick in range(30):
        t = tick * T
        metrics.tick(np.array([4.0 * t**3, 0.0]), False, 0.1)
    np.testing.assert_allclose(metrics.jerk, [24.0, 0.0], atol=1e-6)
    summary = metrics.summary()
    assert summary.position_jump.mean == 0.3 and summary.velocity_jump.mean == 1.0
    assert summary.jerk.mean == pytest.approx(24.0)
    assert summary.position_jump.joints == (0.1, 0.3)
    assert summary.velocity_jump.joints == (1.0, 0.5)
    assert summary.jerk.joints == pytest.approx((24.0, 0.0), abs=1e-6)


def test_jerk_outside_of_the_window_belongs_to_no_seam() -> None:
    metrics = SeamMetrics(1, T)
    for tick in range(10):
        metrics.tick(np.array([0.5 * (tick == 4)]), False, 0.1)
    metrics.seam(np.zeros(1), np.zeros(1), 0.02)
    for _ in range(5):
        metrics.tick(np.zeros(1), False, 0.1)
    assert metrics.jerk[0] == 0.0
    for tick in range(10):
        metrics.tick(np.array([0.5 * (tick == 4)]), False, 0.1)
    assert metrics.jerk[0] == 0.0 and metrics.seams == 1


def test_hold_share_and_age() -> None:
    metrics = SeamMetrics(1, T)
    assert metrics.hold_share == 0.0
    for tick in range(10):
        metrics.tick(np.zeros(1), tick >= 7, 0.1 * tick if tick else -1.0)
    summary = metrics.summary()
    assert summary.hold_share == pytest.approx(0.3)
    assert summary.command_age_max_s == pytest.approx(0.9)
    assert summary.command_age_mean_s == pytest.approx(0.5)


def test_seams_closer_than_their_window_each_count() -> None:
    metrics = SeamMetrics(1, T)
    for tick in range(40):
        if tick % 5 == 0:
            metrics.seam(np.array([0.01 * tick]), np.zeros(1), 0.5)
        metrics.tick(np.array([float(tick % 2)]), False, 0.1)
    assert metrics.seams == 8
    assert metrics.summary().jerk.p95 == pytest.approx(4e6, rel=0.01)


def test_commands_before_an_interruption_give_no_jerk_after_it() -> None:
    metrics = SeamMetrics(1, T)
    for _ in range(5):
        metrics.tick(np.array([1.0]), False, 0.1)
    metrics.interrupt()
    metrics.seam(np.zeros(1), np.zeros(1), 0.05)
    for _ in range(6):
        metrics.tick(np.array([0.0]), False, 0.1)
    assert metrics.jerk[0] == 0.0


def test_nothing_measured_is_all_zero() -> None:
    summary = SeamMetrics(3, T).summary()
    assert summary.seams == 0 and summary.jerk.p95 == 0.0 and summary.command_age_mean_s == 0.0
    assert summary.position_jump.joints == summary.jerk.joints == (0.0, 0.0, 0.0)
