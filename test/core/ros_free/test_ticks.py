# SPDX-License-Identifier: Apache-2.0
"""Tick statistics: missed periods are counted, pauses are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adamoe_ros.ros.control.ticks import TickMonitor


def test_regular_ticks_have_no_jitter() -> None:
    monitor = TickMonitor(0.01)
    for index in range(50):
        monitor.tick(index * 0.01)
    assert (monitor.ticks, monitor.missed) == (50, 0)
    assert monitor.rate == pytest.approx(100.0)
    assert monitor.jitter(0.99) == pytest.approx(0.0, abs=1e-9)


def test_missed_periods_are_counted_whole() -> None:
    monitor = TickMonitor(0.01)
    for now in (0.0, 0.01, 0.05, 0.06, 0.074):
        monitor.tick(now)
    assert monitor.missed == 3
    assert monitor.jitter(1.0) == pytest.approx(0.03)


def test_a_pause_is_not_a_miss() -> None:
    monitor = TickMonitor(0.01)
    monitor.tick(0.0)
    monitor.pause()
    monitor.tick(5.0)
    assert monitor.missed == 0
    assert monitor.rate == 0.0


def test_the_window_forgets() -> None:
    monitor = TickMonitor(0.01, window=10)
    monitor.tick(0.0)
    monitor.tick(1.0)
    for index in range(20):
        monitor.tick(1.0 + 0.01 * (index + 1))
    assert monitor.jitter(1.0) == pytest.approx(0.0, abs=1e-9)
    assert monitor.missed == 99


def test_the_log_keeps_time_and_source_of_every_tick(tmp_path: Path) -> None:
    monitor = TickMonitor(0.01, window=2, log=tmp_path / "sub" / "ticks.npy")
    for now, source in ((0.0, 0), (0.01, 1), (0.02, 2), (0.03, 1)):
        monitor.tick(now)
        monitor.note(source)
    monitor.tick(0.04)  # under way
    monitor.save()
    log = np.load(tmp_path / "sub" / "ticks.npy")
    assert log["time"].tolist() == [0.0, 0.01, 0.02, 0.03]
    assert log["source"].tolist() == [0, 1, 2, 1]
