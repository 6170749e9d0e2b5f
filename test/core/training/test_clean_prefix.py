# SPDX-License-Identifier: Apache-2.0
"""Training-time real-time chunking: clean rows of random number, out of the loss, in the manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_sizes import SMALL_CHANGES

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.demonstration_store import write_demonstrations
from adamoe_ros.training.sampling import flow_generator, flow_times, with_clean_prefix
from adamoe_ros.training.starting_point import make_start, model_sizes
from adamoe_ros.training.training_config import TrainingConfig
from adamoe_ros.training.training_run import make_objective, prompt_encoder, train


def test_prefixes_are_of_every_length_equally_often() -> None:
    generator = torch.Generator().manual_seed(0)
    time = flow_times(6000, generator)
    times = with_clean_prefix(time, 6, 3, generator)
    lengths = (times == 0).sum(1)
    assert torch.equal(times == 0, torch.arange(6) < lengths.unsqueeze(1))
    rest = time.unsqueeze(1).expand(-1, 6)[times > 0]
    assert torch.equal(times[times > 0], rest)
    shares = torch.bincount(lengths, minlength=4) / 6000
    assert len(shares) == 4
    assert (shares - 0.25).abs().max() < 0.03


class Recorded(torch.nn.Module):
    """Notes what the loss is given."""

    def forward(self, **inputs):  # type: ignore[no-untyped-def]
        self.inputs = inputs
        raise StopIteration


def settings(**changes: object) -> TrainingConfig:
    model = {"preset": "small", "changes": SMALL_CHANGES}
    return TrainingConfig.model_validate({"batch_size": 4, "model": model, **changes})


def test_other_random_numbers_do_not_depend_on_it(
    demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    seen = {}
    for longest in (0, 4):
        config = settings(rtc_max_delay=longest)
        sizes = model_sizes(config)
        start = make_start(config, None, sizes, demonstrations)
        prompt = prompt_encoder(start, tmp_path)
        objective = make_objective(config, start, prompt, torch.device("cpu"))
        network = Recorded()
        with pytest.raises(StopIteration):
            objective(network, demonstrations.batch(np.arange(4)), 7)
        seen[longest] = network.inputs
    assert torch.equal(seen[0]["noise"], seen[4]["noise"])
    assert seen[0]["time"].shape == (4,) and seen[4]["time"].shape == (4, 6)
    assert torch.equal(seen[4]["time"].amax(1), seen[0]["time"])
    generator = flow_generator(0, 7)
    torch.randn(seen[0]["noise"].shape, generator=generator)
    assert torch.equal(flow_times(4, generator), seen[0]["time"])


@pytest.mark.parametrize("draws", [1, 2])
def test_clean_rows_do_not_count_in_the_loss(
    draws: int, demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    """With a target that only clean rows miss, the loss is that of the others alone."""
    config = settings(rtc_max_delay=5, flow_draws=draws)
    sizes = model_sizes(config)
    start = make_start(config, None, sizes, demonstrations)
    prompt = prompt_encoder(start, tmp_path)
    objective = make_objective(config, start, prompt, torch.device("cpu"))
    network = AdaMoEPolicy(sizes)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)  # velocity 0: the loss is the mean of (noise - actions)^2
    batch = demonstrations.batch(np.arange(4))
    found = objective(network, batch, 3).parts["flow"]
    generator = flow_generator(0, 3)
    noise = torch.randn(4 * draws, 6, sizes.action_dim, generator=generator)
    times = with_clean_prefix(flow_times(4 * draws, generator), 6, 5, generator)
    actions = torch.from_numpy(objective._vectors.encode_actions(batch.actions, batch.state))
    error = (noise - actions.repeat_interleave(draws, 0)).square().mean(-1)
    assert (times == 0).any() and (times > 0).any()
    torch.testing.assert_close(found, error[times > 0].mean(), rtol=1e-5, atol=1e-6)


def test_the_checkpoint_says_what_it_was_trained_for(
    demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    write_demonstrations(tmp_path / "data", demonstrations.episodes, demonstrations.layout)
    config = settings(
        steps=2,
        threads=1,
        rtc_max_delay=3,
        data={"dataset": tmp_path / "data", "cache": tmp_path / "pictures"},
    )
    folder = train(config, tmp_path / "run")
    assert read_checkpoint(folder).manifest.rtc_max_delay == 3


def test_a_prefix_of_the_whole_chunk_is_refused() -> None:
    with pytest.raises(ContractError, match="rtc_max_delay: expected less than the 6 rows"):
        model_sizes(settings(rtc_max_delay=6))
