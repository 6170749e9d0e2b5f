# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of the suite as a dataset: what the expert did, resumable, failures left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from adamoe_ros.cli.main import main
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.workers import Workers
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.lerobot.dataset_schema import ACTION, STATE
from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.demonstrations import run_expert
from adamoe_ros.training.suite_dataset import (
    SuiteJob,
    SuiteSettings,
    generate_dataset,
    mark_staged,
)

SETTINGS = SuiteSettings(
    fps=5, size=(24, 32), noise=(0.0, 0.004), gripper="driver", lossless=True, all_phrasings=False
)


def job(folder: Path, **changes: object) -> SuiteJob:
    plain = SuiteJob(folder / "made", ("pick_cube", "lift_bar"), 2, 40, SETTINGS)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_dataset_holds_what_the_expert_did(tmp_path: Path) -> None:
    outcome = generate_dataset(job(tmp_path, workers=Workers(2)), lambda task, count: None)
    assert outcome.made == {"pick_cube": [40, 41], "lift_bar": [40, 41]}
    dataset = Dataset(tmp_path / "made")
    assert [entry.index for entry in dataset.episodes] == [0, 1, 2, 3]
    sim = BimanualSim("pick_cube")
    for entry, seed in zip(dataset.episodes[:2], (40, 41), strict=True):
        shown = run_expert(sim, seed, 10, None, SETTINGS.noise[seed % 2])
        state, action = dataset.column(entry, STATE), dataset.column(entry, ACTION)
        assert np.allclose(state, shown.state, atol=1e-6)
        assert np.allclose(action, shown.actions[shown.steps], atol=1e-6)
        observation, _ = next(iter(dataset.observations(entry)))
        assert observation.instruction == sim.instruction
        assert observation.images["cam_high"].shape == (24, 32, 3)
        assert observation.images["cam_high"].std() > 5


def test_stopped_run_goes_on(tmp_path: Path) -> None:
    def stop(task: str, count: int) -> None:
        if count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_dataset(job(tmp_path), stop)
    assert not (tmp_path / "made").exists()
    outcome = generate_dataset(job(tmp_path), lambda task, count: None)
    assert outcome.reused == 2 and outcome.totals is not None and outcome.totals.episodes == 4
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@dataclass(frozen=True)
class _FailingJob(SuiteJob):
    """Whose expert never succeeds."""

    @property
    def show(self) -> Callable[[SuiteJob, str, list[int]], int]:
        return _fail


def _fail(job: SuiteJob, task: str, seeds: list[int]) -> int:
    for seed in seeds:
        mark_staged(job, {"task": task, "seed": seed, "success": False})
    return len(seeds)


def test_tasks_come_in_turn(tmp_path: Path) -> None:
    """So that a stopped run has as much of every task."""
    plain, done = job(tmp_path, episodes=7), []
    failing = _FailingJob(plain.target, plain.tasks, plain.episodes, plain.first_seed, SETTINGS)
    with pytest.raises(ContractError, match="expected successful episodes, got none"):
        generate_dataset(failing, lambda task, count: done.append((task, count)))
    made = [pair for pair in done if pair[1]]
    assert made == [("pick_cube", 5), ("lift_bar", 5), ("pick_cube", 2), ("lift_bar", 2)]


def test_failed_episodes_are_left_out_and_named(tmp_path: Path) -> None:
    wild = replace(SETTINGS, noise=(0.0, 0.5))
    outcome = generate_dataset(
        job(tmp_path, tasks=("pick_cube",), settings=wild), lambda task, count: None
    )
    assert outcome.made == {"pick_cube": [40]} and outcome.failed == {"pick_cube": [41]}
    assert len(Dataset(tmp_path / "made").episodes) == 1


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ContractError) as caught:
        job(tmp_path, target=tmp_path, tasks=("fold", "pick_cube")).check()
    assert len(caught.value.problems) == 2
    with pytest.raises(ContractError) as caught:
        SuiteSettings(fps=7, size=(25, 32), noise=(-1.0,)).check()
    assert len(caught.value.problems) == 3


def test_command_refuses_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "generate", "--out", str(tmp_path / "new"), "--tasks", "fold"]) == 2
    assert "stack_cubes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
