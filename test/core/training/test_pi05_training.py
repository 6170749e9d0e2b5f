# SPDX-License-Identifier: Apache-2.0
"""pi0.5 trains as pi0 does: from nothing, upcycled, low-rank, frozen, averaged, with given rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_sizes import SMALL_CHANGES

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.observation import Observation
from adamoe_ros.model.config import ModelConfig, preset
from adamoe_ros.model.gemma import AdaRMSNorm
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.prompt import state_bins
from adamoe_ros.policy.runtime import PolicyRuntime
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.demonstration_store import write_demonstrations
from adamoe_ros.training.trainer import Trainer
from adamoe_ros.training.training_config import TrainingConfig, load_config
from adamoe_ros.training.training_run import prepare, train

MakeTrainer = Callable[..., Trainer]
CHANGES = {**SMALL_CHANGES, "prompt_length": 40}
RATES = {group: {"peak_lr": 3e-3} for group in ("base", "experts", "router")}


@pytest.fixture
def model_config() -> ModelConfig:
    return preset("small_pi05").changed(CHANGES)


@pytest.fixture
def folder(demonstrations: DemonstrationSet, tmp_path: Path) -> Path:
    write_demonstrations(tmp_path / "data", demonstrations.episodes, demonstrations.layout)
    return tmp_path / "data"


def source(folder: Path) -> dict[str, Any]:
    return {"dataset": folder, "cache": folder.with_name("pictures")}


def settings(folder: Path, model: dict[str, Any], **more: Any) -> TrainingConfig:
    common: dict[str, Any] = {
        "steps": 4, "batch_size": 4, "threads": 1, "device": "cpu", "tensorboard": False,
        "optimiser": RATES, "model": model, "data": source(folder),
    }  # fmt: skip
    return TrainingConfig.model_validate({**common, **more})


def test_from_nothing_to_a_robots_chunk_and_on_to_a_mixture(folder: Path, tmp_path: Path) -> None:
    """The checkpoint says what it is; its prompts hold the state; upcycled it goes on learning."""
    dense = {**CHANGES, "moe.variant": "dense", "moe.num_experts": 0, "moe.top_k": 0}
    model = {"preset": "small_pi05", "changes": dense}
    train(settings(folder, model, rtc_max_delay=3, ema_decay=0.9), tmp_path / "dense")
    checkpoint = read_checkpoint(tmp_path / "dense/checkpoint")
    manifest = checkpoint.manifest
    assert (manifest.architecture, manifest.prompt_state) == ("pi05", "joints")
    assert (manifest.normalization, manifest.rtc_max_delay) == ("quantile", 3)
    runtime = PolicyRuntime(checkpoint, "cpu", engine="packed")
    picture = np.zeros((24, 24, 3), np.uint8)
    state = np.array([0.1, 0.2, -0.1, 0.3])
    seen = Observation(0, dict.fromkeys(manifest.camera_slots, picture), state, "lift the bar")
    inputs = runtime.processor.inputs([seen])
    bins = state_bins(runtime.processor.vectors.prompt_state(state.astype(np.float32)))
    words = {number: word for word, number in vocabulary(runtime).items()}
    said = " ".join(words[int(i)] for i in inputs.token_ids[0][inputs.token_mask[0]])
    numbers = " ".join(str(n).replace("-", "- ") for n in bins)
    assert said == f"task : lift the bar , state : {numbers} ; action :"
    assert runtime.infer(seen, runtime.noise(0)).actions.shape == (6, 4)
    upcycle = {"variant": "adamoe", "experts": 4, "top_k": 1, "preserve": True}
    base = {"checkpoint": tmp_path / "dense/checkpoint", "upcycle": upcycle}
    data = {**source(folder), "balanced_tasks": True}
    going_on = settings(folder, base, rtc_max_delay=3, data=data, gradient_checkpointing=True)
    train(going_on, tmp_path / "mixture")
    mixture = read_checkpoint(tmp_path / "mixture/checkpoint")
    assert mixture.config.architecture == mixture.manifest.architecture == "pi05"
    assert mixture.config.moe.variant == "adamoe"


def vocabulary(runtime: PolicyRuntime) -> dict[str, int]:
    return runtime.processor.prompts._tokenizer._reader.get_vocab()


def test_sentences_without_room_are_refused_before_training(folder: Path, tmp_path: Path) -> None:
    model = {"preset": "small_pi05", "changes": {**CHANGES, "prompt_length": 16}}
    with pytest.raises(ContractError, match="data: instruction: expected at most 16 tokens, got"):
        prepare(settings(folder, model), tmp_path / "run")


def test_the_loss_falls(
    make_trainer: MakeTrainer, demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    rates = [f"optimiser.{group}.peak_lr=1e-2" for group in RATES]
    config = load_config(None, [*rates, "batch_size=12", "steps=60", "tensorboard=false"])
    trainer = make_trainer(config, tmp_path)
    batch = demonstrations.batch(np.arange(12))

    def loss() -> float:
        with torch.no_grad():
            return float(trainer.objective(trainer.network, batch, 0).parts["flow"])

    first = loss()
    trainer.run()
    assert loss() < 0.8 * first
    assert all(
        module.modulation.weight.abs().max() > 0
        for module in trainer.network.modules()
        if isinstance(module, AdaRMSNorm)
    )


def test_low_rank_leaves_the_modulations_frozen(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    words = ["model.lora={rank: 2}", "batch_size=4", "steps=3", "tensorboard=false"]
    words += [f"optimiser.{group}.peak_lr=1e-3" for group in RATES]
    trainer = make_trainer(load_config(None, words), tmp_path)
    network: Any = trainer.network
    for name, parameter in network.named_parameters():
        if ".modulation." in name:
            assert not parameter.requires_grad and "parametrizations" not in name, name
        if name.startswith(("time_mlp_", "action_")):
            assert parameter.requires_grad, name
    before = network.action_out_proj.weight.detach().clone()
    trainer.run()
    assert not torch.equal(network.action_out_proj.weight, before)


def test_projections_can_be_frozen(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    words = ["model.freeze=[projections]", "batch_size=4", "steps=2", "tensorboard=false"]
    network: Any = make_trainer(load_config(None, words), tmp_path).network
    frozen = {
        name.partition(".")[0] for name, p in network.named_parameters() if not p.requires_grad
    }
    assert frozen == {"action_in_proj", "time_mlp_in", "time_mlp_out", "action_out_proj"}
