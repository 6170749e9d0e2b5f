# SPDX-License-Identifier: Apache-2.0
"""An episode against a scene whose outcome can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from adamoe_ros.contract.observation import Observation
from adamoe_ros.evaluation.execution import ExecutionPlan
from adamoe_ros.evaluation.rollout import EpisodeSettings, run_episode
from adamoe_ros.evaluation.success import summarise, table


class _Track:
    """One joint that follows its target exactly; done while beyond 0.5; the image shows the goal."""

    rate_hz = 50.0

    def reset(self, seed: int) -> str:
        self.position, self.goal = np.zeros(1), 1.0 if seed % 2 else 0.2
        return "go there"

    def images(self) -> dict[str, NDArray[np.uint8]]:
        return {"cam_high": np.full((2, 2, 3), round(self.goal * 100), dtype=np.uint8)}

    def state(self) -> NDArray[np.float64]:
        return self.position.copy()

    def advance(self, command: NDArray[np.float64]) -> None:
        self.position = command.copy()

    def success(self) -> bool:
        return bool(self.position[0] > 0.5)


def _to_what_is_seen(observation: Observation, seed: int) -> NDArray[np.float64]:
    goal = observation.images["cam_high"].mean() / 100
    return np.linspace(observation.state[0], goal, 50)[:, None]


def test_success_must_settle() -> None:
    settings = EpisodeSettings(max_ticks=200, settle_ticks=10, plan=ExecutionPlan(25, 5))
    seen: list[int] = []
    result = run_episode(
        _Track(), _to_what_is_seen, "go", 1, settings, lambda tick, _: seen.append(tick)
    )
    assert result.success and result.instruction == "go there"
    # held for 5 ticks; row 25 of the first chunk (tick 25) is the first beyond 0.5
    assert result.ticks == 35 == len(seen)
    assert result.inferences == 2


def test_time_runs_out() -> None:
    result = run_episode(_Track(), _to_what_is_seen, "go", 2, EpisodeSettings(max_ticks=60))
    assert not result.success and result.ticks == 60


def test_blind_policy_sees_black() -> None:
    settings = EpisodeSettings(max_ticks=60, blind=True)
    result = run_episode(_Track(), _to_what_is_seen, "go", 1, settings)
    assert not result.success


def test_summary_counts_per_task() -> None:
    results = [
        run_episode(_Track(), _to_what_is_seen, "go", seed, EpisodeSettings(max_ticks=80))
        for seed in range(4)
    ]
    summary = summarise(results)
    assert summary["all"]["successes"] == 2
    assert summary["tasks"]["go"]["wilson_95"] == pytest.approx([0.15, 0.85], abs=0.01)
    assert "2/4" in table({"seeing": summary})
