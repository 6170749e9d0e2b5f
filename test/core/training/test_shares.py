# SPDX-License-Identifier: Apache-2.0
"""Each process's share of a batch: the same numbers as in one process, cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_sizes import SMALL_CHANGES

from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.processes import Processes
from adamoe_ros.training.starting_point import make_start, model_sizes
from adamoe_ros.training.training_config import TrainingConfig
from adamoe_ros.training.training_run import make_objective, prompt_encoder


class Recorded(torch.nn.Module):
    """Notes what the loss is given."""

    def forward(self, **inputs: Any) -> None:
        self.inputs = inputs
        raise StopIteration


def test_shares_are_cut_from_one_batch(demonstrations: DemonstrationSet, tmp_path: Path) -> None:
    augment = {"shift": 0.1, "state_noise": 0.1, "brightness": 0.2, "contrast": 0.2}
    augment |= {"saturation": 0.2, "crop": 0.1, "rotation_deg": 5}
    model = {"preset": "small", "changes": SMALL_CHANGES}
    config = TrainingConfig.model_validate(
        {"batch_size": 6, "model": model, "augment": augment, "rtc_max_delay": 3}
    )
    start = make_start(config, None, model_sizes(config), demonstrations)
    prompt = prompt_encoder(start, tmp_path)
    slots = demonstrations.layout.camera_slots

    def inputs(processes: Processes) -> dict[str, torch.Tensor]:
        objective = make_objective(config, start, prompt, torch.device("cpu"), slots, processes)
        own = np.arange(6)[processes.own(6)]
        network = Recorded()
        with pytest.raises(StopIteration):
            objective(network, demonstrations.batch(own), 3)
        return network.inputs

    whole = inputs(Processes())
    shares = [inputs(Processes(rank, 3)) for rank in range(3)]
    for name, tensor in whole.items():
        together = torch.cat([share[name] for share in shares])
        torch.testing.assert_close(together, tensor, rtol=0, atol=1e-6, msg=name)
