# SPDX-License-Identifier: Apache-2.0
"""From settings to a checkpoint that the policy runtime loads, and on after a stop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from state_support import saved
from training_sizes import SMALL_CHANGES

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.observation import Observation
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.runtime import PolicyRuntime
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.demonstration_store import write_demonstrations
from adamoe_ros.training.lerobot_source import Reading, load_episodes
from adamoe_ros.training.training_config import NetworkConfig, TrainingConfig
from adamoe_ros.training.training_run import train

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def config(demonstrations: DemonstrationSet, tmp_path: Path) -> TrainingConfig:
    """Six steps on the small data set."""
    write_demonstrations(tmp_path / "data", demonstrations.episodes, demonstrations.layout)
    settings: dict[str, Any] = {
        "steps": 6,
        "batch_size": 4,
        "threads": 1,
        "log_every": 2,
        "model": {"preset": "small", "changes": SMALL_CHANGES},
        "data": {"dataset": tmp_path / "data", "cache": tmp_path / "pictures"},
        "evaluation": {"every_steps": 3},
    }
    return TrainingConfig.model_validate(settings)


def test_checkpoint_is_what_was_trained(
    config: TrainingConfig, demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    tried: list[Path] = []

    def roll_out(folder: Path) -> dict[str, float]:
        tried.append(folder)
        read_checkpoint(folder).load_network()
        return {"success": 0.5}

    folder = train(config, tmp_path / "run", roll_out=roll_out)
    assert tried == [folder, folder]
    runtime = PolicyRuntime(read_checkpoint(folder), "cpu")
    frame = demonstrations.batch(np.array([1]))
    observation = Observation(
        0,
        dict(zip(demonstrations.layout.camera_slots, frame.images[0], strict=True)),
        frame.state[0].astype(np.float64),
        frame.instructions[0],
    )
    output = runtime.infer(observation, runtime.noise(0))
    assert output.actions.shape == (6, 4)

    state = saved(tmp_path / "run")
    network = runtime.checkpoint.load_network()
    for name, values in network.state_dict().items():
        torch.testing.assert_close(values, state[f"average/{name}"], rtol=1e-3, atol=1e-6)
    record = json.loads((folder / "training.json").read_text())
    assert record["steps"] == 6 and record["data"]["episodes"] == 4
    assert [row["step"] for row in record["curve"]] == [2, 4, 6]
    assert [row["evaluation"]["success"] for row in record["evaluations"]] == [0.5, 0.5]
    curve = ElementTree.parse(folder / "curve.svg").getroot()
    assert sum("line" in path.get("class", "") for path in curve.iter(f"{SVG}path")) >= 2


def test_a_run_is_never_overwritten_and_goes_on(config: TrainingConfig, tmp_path: Path) -> None:
    half = config.model_copy(update={"steps": 3})
    train(half, tmp_path / "run")
    with pytest.raises(ContractError, match="--resume"):
        train(config, tmp_path / "run")
    folder = train(config, tmp_path / "run", resume=True)
    assert json.loads((folder / "training.json").read_text())["steps"] == 6
    with pytest.raises(ContractError, match="start without --resume"):
        train(config, tmp_path / "other", resume=True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"num_views": 3}, "cameras"),
        ({"state_dim": 2}, "joints"),
        ({"aux_positions": 2}, "object positions"),
        ({"prefix.vocab": 10}, "vocab"),
    ],
)
def test_data_that_does_not_fit_the_network(
    change: dict[str, Any], expected: str, config: TrainingConfig, tmp_path: Path
) -> None:
    model = config.model.model_copy(update={"changes": {**SMALL_CHANGES, **change}})
    with pytest.raises(ContractError, match=expected):
        train(config.model_copy(update={"model": model}), tmp_path / "run")
    assert not list((tmp_path / "run").glob("state*"))


def test_a_checkpoint_goes_on_learning(config: TrainingConfig, tmp_path: Path) -> None:
    """Its sizes, statistics and tokenizer are kept; data of another robot is refused."""
    first = train(config, tmp_path / "first")
    model = NetworkConfig(checkpoint=first)
    second = train(config.model_copy(update={"model": model}), tmp_path / "second")
    for name in ("config.json", "norm_stats.json", "tokenizer.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    before, after = (read_checkpoint(f).load_network().state_dict() for f in (first, second))
    state = saved(tmp_path / "first")
    for name, values in after.items():
        far = (values - before[name]).abs().max()
        fresh = (state[f"average/{name}"] - before[name]).abs().max()
        assert far < 1e-2 and fresh < 1e-2, name
    assert any(not torch.equal(after[name], before[name]) for name in after)

    resized = NetworkConfig(checkpoint=first, changes={"expert.mlp": 32})
    with pytest.raises(ContractError, match=r"model\.changes"):
        train(config.model_copy(update={"model": resized}), tmp_path / "third")
    assert config.data.dataset is not None
    episodes, layout = load_episodes(config.data.dataset, Reading((24, 24)))
    other = replace(layout, embodiment="another", control_rate_hz=30.0)
    write_demonstrations(tmp_path / "other", episodes, other)
    data = config.data.model_copy(update={"dataset": tmp_path / "other"})
    with pytest.raises(ContractError) as caught:
        train(config.model_copy(update={"model": model, "data": data}), tmp_path / "third")
    assert len(caught.value.problems) == 2
