# SPDX-License-Identifier: Apache-2.0
"""A network and a data set that train within seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from training_sizes import SMALL_CHANGES

from adamoe_ros.model.config import ModelConfig, preset
from adamoe_ros.training.demonstration_set import DataLayout, Demonstration, DemonstrationSet
from adamoe_ros.training.finetuning import prepare_parts
from adamoe_ros.training.starting_point import make_start
from adamoe_ros.training.trainer import Trainer
from adamoe_ros.training.training_config import TrainingConfig
from adamoe_ros.training.training_run import make_objective, prompt_encoder


@pytest.fixture
def model_config() -> ModelConfig:
    """The demo's architecture, cut down to a few thousand parameters."""
    return preset("small").changed(SMALL_CHANGES)


@pytest.fixture
def demonstrations() -> DemonstrationSet:
    """Four short episodes of two tasks with smooth random motion."""
    rng = np.random.default_rng(0)

    def episode(number: int) -> Demonstration:
        actions = np.cumsum(rng.normal(0, 0.1, (12, 4)), 0).astype(np.float32)
        steps = np.arange(0, 12, 4)
        return Demonstration(
            images=rng.integers(0, 256, (3, 2, 24, 24, 3), dtype=np.uint8),
            steps=steps,
            state=actions[steps] + 0.01,
            actions=actions,
            objects=rng.normal(0, 0.1, (3, 3)).astype(np.float32),
            instructions=(("lift the bar", "push the red cube")[number % 2],) * 3,
            tasks=(("lift", "push")[number % 2],) * 3,
            seed=number,
        )

    return DemonstrationSet(
        [episode(n) for n in range(4)],
        DataLayout(
            embodiment="test_arms",
            camera_slots=("cam_high", "cam_left_wrist"),
            roles=("left_0", "left_gripper", "right_0", "right_gripper"),
            control_rate_hz=50.0,
        ),
        rows=6,
    )


@pytest.fixture
def make_trainer(
    model_config: ModelConfig, demonstrations: DemonstrationSet
) -> Callable[..., Trainer]:
    """Trainer of a freshly initialised network in a folder."""

    def make(config: TrainingConfig, folder: Path, **model_changes: object) -> Trainer:
        torch.set_num_threads(1)
        sizes = model_config.changed(model_changes)
        start = make_start(config, None, sizes, demonstrations)
        prepare_parts(start.network, config.model, config.seed)
        prompt = prompt_encoder(start, folder)
        objective = make_objective(config, start, prompt, torch.device("cpu"))
        return Trainer(config, start.network, objective, demonstrations, folder)

    return make
