# SPDX-License-Identifier: Apache-2.0
"""The expert fulfils the task, within the robot's limits, in the same joint configuration always."""

from __future__ import annotations

import numpy as np
import pytest

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.sim.bimanual import CONTROL_RATE, BimanualSim
from adamoe_ros.sim.demonstrations import disturbance, run_expert


@pytest.fixture(scope="module")
def sim() -> BimanualSim:
    return BimanualSim("lift_bar")


@pytest.mark.parametrize("noise", [0.0, 0.012])
def test_expert_succeeds(sim: BimanualSim, noise: float) -> None:
    episodes = [run_expert(sim, seed, 10, None, noise) for seed in range(10)]
    assert sum(episode.success for episode in episodes) == 10
    assert not np.array_equal(episodes[0].goals, episodes[1].goals)


def test_doing_nothing_is_no_success(sim: BimanualSim) -> None:
    sim.reset(0)
    sim.advance(500)
    assert not sim.success()


def test_plans_keep_the_limits_and_one_configuration(sim: BimanualSim) -> None:
    plans = []
    for seed in range(40):
        sim.reset(seed)
        plans.append(sim.plan())
    rows = np.stack(plans)
    arms = [joint for joint in range(14) if joint not in (6, 13)]
    speed = np.abs(np.diff(rows, axis=1)).max((0, 1)) * CONTROL_RATE
    bend = np.abs(np.diff(rows, 2, axis=1)).max((0, 1)) * CONTROL_RATE**2
    assert speed[arms].max() < 0.6 * 3.14 and bend[arms].max() < 0.6 * 20.0
    assert speed[[6, 13]].max() < 0.6 * 0.2 and bend[[6, 13]].max() < 0.6 * 4.0
    assert rows[:, 110, [3, 10]].std() < 0.5  # the forearm never rolls over: learnable


def test_same_seed_same_episode(sim: BimanualSim) -> None:
    first, second = (run_expert(sim, 7, 25, None, 0.01) for _ in range(2))
    assert np.array_equal(first.state, second.state)
    assert np.array_equal(first.actions, second.actions)


def test_state_can_be_put_back(sim: BimanualSim) -> None:
    sim.reset(3)
    sim.set_targets(sim.plan()[100])
    sim.advance(300)
    state, goals = sim.state(), sim.goal_points()
    other = BimanualSim("lift_bar")
    other.set_state(state)
    assert np.allclose(other.goal_points(), goals)


def test_disturbance_has_the_size_asked_for() -> None:
    offsets = disturbance(20_000, 0.01, np.random.default_rng(0))
    assert offsets[:, 0].std() == pytest.approx(0.01, rel=0.15)
    assert not offsets[:, [6, 13]].any()


def test_unknown_task_is_one_line() -> None:
    with pytest.raises(ContractError, match="lift_bar"):
        BimanualSim("fold_towel")
