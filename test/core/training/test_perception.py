# SPDX-License-Identifier: Apache-2.0
"""The stage that learns where the objects are before anything else is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_sizes import SMALL_CHANGES

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.demonstration_store import write_demonstrations
from adamoe_ros.training.optimiser import stage
from adamoe_ros.training.training_config import TrainingConfig
from adamoe_ros.training.training_log import read_lines
from adamoe_ros.training.training_run import prepare


def settings(data: Path, **changes: Any) -> TrainingConfig:
    """Nine steps, six of them for perception."""
    values: dict[str, Any] = {
        "steps": 9,
        "perception_steps": 6,
        "batch_size": 4,
        "threads": 1,
        "log_every": 1,
        "tensorboard": False,
        "model": {"preset": "small", "changes": SMALL_CHANGES},
        "data": {"dataset": data, "cache": data.with_name("pictures")},
        "optimiser": {"base": {"peak_lr": 1e-3, "warmup_steps": 1}},
    }
    return TrainingConfig.model_validate({**values, **changes})


@pytest.fixture
def data(demonstrations: DemonstrationSet, tmp_path: Path) -> Path:
    """A folder with the small data set."""
    write_demonstrations(tmp_path / "data", demonstrations.episodes, demonstrations.layout)
    return tmp_path / "data"


def test_each_stage_has_its_own_schedule() -> None:
    assert [stage(step, 10, 4) for step in (0, 3, 4, 9)] == [(0, 4), (3, 4), (0, 6), (5, 6)]
    assert stage(3, 10, 0) == (3, 10)


def test_perception_moves_only_what_finds_objects(data: Path, tmp_path: Path) -> None:
    run = prepare(settings(data), tmp_path / "run")
    trainer = run.trainer
    before = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    trainer.run(until=6)
    moved = {n for n, p in trainer.network.named_parameters() if not torch.equal(p, before[n])}
    assert {"aux.positions.weight", "vision.stem.conv1.weight", "reader.places"} <= moved
    assert all(name.startswith(("aux.", "vision.stem.", "reader.", "embed.")) for name in moved)
    trainer.run()
    rows = [row for row in read_lines(tmp_path / "run" / "log.jsonl") if "objects" in row]
    assert ["flow" in row for row in rows] == [False] * 6 + [True] * 3
    later = {n for n, p in trainer.network.named_parameters() if not torch.equal(p, before[n])}
    assert "action_out_proj.weight" in later


def test_what_cannot_be_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"perception_steps: expected fewer than the 9 steps"):
        prepare(settings(data, perception_steps=9), tmp_path / "run")
    changes = {**SMALL_CHANGES, "aux_positions": 0, "vision.prompted_keypoints": 0}
    model = {"preset": "small", "changes": changes}
    with pytest.raises(ContractError, match="no object positions"):
        prepare(settings(data, model=model), tmp_path / "run")
