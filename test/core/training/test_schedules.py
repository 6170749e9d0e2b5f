# SPDX-License-Identifier: Apache-2.0
"""Schedules against hand-computed values; sampling order and flow times."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adamoe_ros.training.data_statistics import column_statistics
from adamoe_ros.training.optimiser import balance_coefficient, ema_decay, learning_rate
from adamoe_ros.training.sampling import (
    BalancedOrder,
    ShuffledOrder,
    flow_generator,
    flow_times,
)
from adamoe_ros.training.training_config import BalanceConfig, GroupConfig


def test_learning_rate_of_openpi() -> None:
    group = GroupConfig(peak_lr=2.5e-5, final_lr=2.5e-6, warmup_steps=1000)
    assert learning_rate(group, 0, 30_000) == pytest.approx(2.5e-5 / 1001)
    assert learning_rate(group, 1000, 30_000) == pytest.approx(2.5e-5)
    assert learning_rate(group, 15_500, 30_000) == pytest.approx((2.5e-5 + 2.5e-6) / 2)
    assert learning_rate(group, 30_000, 30_000) == pytest.approx(2.5e-6)


def test_balance_coefficient_covers_501_steps() -> None:
    values = [balance_coefficient(BalanceConfig(), step) for step in (0, 500, 501, 90_000)]
    assert values == [0.01, 0.01, 0.005, 0.005]


def test_ema_forgets_the_start() -> None:
    assert ema_decay(0.999, 0) == pytest.approx(0.1)
    assert ema_decay(0.999, 10**6) == 0.999


def test_each_epoch_shows_every_sample_once() -> None:
    order = ShuffledOrder(10, 4, seed=3)
    seen = np.concatenate([order.indices(step) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_order_depends_on_seed_and_step_only() -> None:
    straight = ShuffledOrder(37, 8, seed=1)
    for step in range(9):
        straight.indices(step)
    assert np.array_equal(straight.indices(9), ShuffledOrder(37, 8, seed=1).indices(9))
    assert not np.array_equal(straight.indices(9), ShuffledOrder(37, 8, seed=2).indices(9))


def test_balanced_order_evens_out_tasks() -> None:
    tasks = np.array([0] * 990 + [1] * 10)
    order = BalancedOrder(tasks, 64, seed=0)
    share = np.mean([tasks[order.indices(step)].mean() for step in range(50)])
    assert share == pytest.approx(0.5, abs=0.05)


def test_flow_times_follow_beta() -> None:
    times = flow_times(200_000, flow_generator(0, 0))
    assert float(times.min()) >= 0.001 and float(times.max()) <= 1.0
    # Beta(1.5, 1): mean 0.6, variance 0.6 * 0.4 / 3.5 = 0.0686
    assert float(times.mean()) == pytest.approx(0.999 * 0.6 + 0.001, abs=2e-3)
    assert float(times.var()) == pytest.approx(0.0686, abs=1e-3)


def test_flow_generator_differs_by_step_and_rank() -> None:
    draws = {
        float(torch.rand(1, generator=flow_generator(*key)))
        for key in ((0, 0), (0, 1), (1, 0), (0, 0, 1))
    }
    assert len(draws) == 4


def test_statistics_against_numpy() -> None:
    rows = np.random.default_rng(0).normal(3, 2, (500, 4)).astype(np.float32)
    stats = column_statistics(rows)
    assert stats.mean == pytest.approx(rows.mean(0), abs=1e-5)
    assert stats.std == pytest.approx(rows.std(0), abs=1e-5)
    assert stats.q01 == pytest.approx(np.quantile(rows, 0.01, axis=0), abs=1e-5)


def test_a_joint_at_rest_keeps_a_spread() -> None:
    stats = column_statistics(np.zeros((5, 2), dtype=np.float32), least_std=0.01)
    assert stats.std == (0.01, 0.01)
