# SPDX-License-Identifier: Apache-2.0
"""The loop on the real architecture: groups, exact continuation, overfitting, balance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.model.config import preset
from adamoe_ros.model.moe import MoEFeedForward
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.training.demonstration_set import Batch, DemonstrationSet
from adamoe_ros.training.optimiser import parameter_groups
from adamoe_ros.training.trainer import LOG_FILE, Trainer
from adamoe_ros.training.training_config import TrainingConfig, load_config
from adamoe_ros.training.training_log import read_lines

MakeTrainer = Callable[..., Trainer]
_FAST = [
    *(f"optimiser.{g}.peak_lr=3e-3" for g in ("base", "experts", "router")),
    *(f"optimiser.{g}.warmup_steps=5" for g in ("base", "experts", "router")),
    "batch_size=8",
    "ema_decay=0.9",
    "log_every=10",
]


def _config(*more: str) -> TrainingConfig:
    return load_config(None, [*_FAST, *more])


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_groups_partition_all_parameters(name: str) -> None:
    with torch.device("meta"):
        network = AdaMoEPolicy(preset(name))
    groups = parameter_groups(network)
    ids = [id(p) for parameters in groups.values() for p in parameters]
    assert sorted(ids) == sorted(id(p) for p in network.parameters())
    layers = [m for m in network.modules() if isinstance(m, MoEFeedForward)]
    assert len(groups["experts"]) == 3 * len(layers)
    assert len(groups["router"]) == 2 * len(layers)  # router and scale adapter
    shared = {id(p) for layer in layers for p in layer.shared.parameters()}
    assert shared <= {id(p) for p in groups["base"]}


def test_dense_network_has_only_base() -> None:
    with torch.device("meta"):
        network = AdaMoEPolicy(
            preset("tiny").changed({"moe.variant": "dense", "moe.num_experts": 0, "moe.top_k": 0})
        )
    groups = parameter_groups(network)
    assert not groups["experts"] and not groups["router"] and groups["base"]


def test_kill_and_resume_is_bit_equal(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    config = _config("steps=20", "save_every=8", "augment={state_noise: 0.1, brightness: 0.2}")
    straight = make_trainer(config, tmp_path / "straight")
    straight.run()

    killed = make_trainer(config, tmp_path / "killed")
    killed.run(until=11)
    (tmp_path / "killed" / ".state.partial").mkdir()
    (tmp_path / "killed" / ".state.partial" / "__0_0.distcp").write_bytes(b"cut off while saving")
    again = make_trainer(config, tmp_path / "killed")
    again.resume()
    assert again.step == 11
    again.run()

    for module in ("network", "average"):
        left, right = (
            getattr(t, module) if module == "network" else t.average.module
            for t in (straight, again)
        )
        for (name, a), b in zip(left.named_parameters(), right.parameters(), strict=True):
            assert torch.equal(a, b), name
    logs = [read_lines(tmp_path / folder / LOG_FILE)[-1] for folder in ("straight", "killed")]
    assert logs[0]["loss"] == logs[1]["loss"] and logs[0]["step"] == 20


def test_resume_refuses_other_data(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(_config("steps=2"), tmp_path).run()
    with pytest.raises(ContractError, match="seed 0"):
        make_trainer(_config("steps=2", "seed=1"), tmp_path).resume()


def test_tiny_data_is_overfitted(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    rates = [f"optimiser.{group}.peak_lr=5e-3" for group in ("base", "experts", "router")]
    config = _config("steps=200", "batch_size=12", "flow_draws=6", "log_every=10", *rates)
    make_trainer(config, tmp_path, **{"expert.width": 64, "expert.mlp": 64}).run()
    rows = read_lines(tmp_path / LOG_FILE)
    assert rows[-1]["objects"] < 1e-2 * rows[0]["objects"]
    assert rows[-1]["flow"] < 0.1 * rows[0]["flow"]


def test_several_draws_equal_the_networks_own_loss(
    make_trainer: MakeTrainer, demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    trainer = make_trainer(_config(), tmp_path)
    batch = demonstrations.batch(np.arange(5))
    captured: dict[str, Any] = {}

    class Spy(torch.nn.Module):
        def forward(self, **inputs: Any) -> Any:
            captured.update(inputs)
            return trainer.network(**inputs)

    alone = trainer.objective(Spy(), batch, 0)
    losses = trainer.network(**captured)
    assert float(losses.flow.detach()) == pytest.approx(float(alone.parts["flow"]), rel=1e-5)
    assert float(losses.objects.detach()) == pytest.approx(float(alone.parts["objects"]), rel=1e-5)
    twice = captured | {
        k: captured[k].repeat_interleave(2, 0) for k in ("actions", "noise", "time")
    }
    doubled = trainer.network(**twice)
    assert float(doubled.flow.detach()) == pytest.approx(float(alone.parts["flow"]), rel=1e-5)


def _collapse_router(trainer: Trainer, batch: Batch) -> None:
    """Point expert 0's router row at the mean token, so that it wins nearly everywhere."""
    layers = [m for m in trainer.network.modules() if isinstance(m, MoEFeedForward)]
    for layer in layers:
        seen: list[torch.Tensor] = []
        hook = layer.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        trainer.objective(trainer.network, batch, 0)
        hook.remove()
        mean = seen[0].detach().flatten(0, -2).mean(0)
        with torch.no_grad():
            layer.router.weight.zero_()
            layer.router.weight[0] = 3 * mean / mean.square().sum()


@pytest.mark.parametrize(("form", "coefficient"), [("authors", 5.0), ("switch", 0.3)])
def test_balance_loss_spreads_a_collapsed_router(
    form: str,
    coefficient: float,
    make_trainer: MakeTrainer,
    demonstrations: DemonstrationSet,
    tmp_path: Path,
) -> None:
    def shares(weight: float) -> tuple[float, float]:
        balance = f"loss.balance={{form: {form}, start: {weight}, end: {weight}}}"
        config = _config("steps=60", "log_every=1", "optimiser.router.peak_lr=2e-2", balance)
        trainer = make_trainer(config, tmp_path / str(weight))
        _collapse_router(trainer, demonstrations.batch(np.arange(8)))
        trainer.run()
        rows = read_lines(tmp_path / str(weight) / LOG_FILE)
        return rows[0]["top_expert_share"], float(
            np.mean([row["top_expert_share"] for row in rows[-5:]])
        )

    before, after = shares(coefficient)
    assert before > 0.9
    assert after < 0.5
    assert shares(0.0)[1] > 0.8


def test_nan_stops_with_one_line(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(_config("steps=5", "log_every=1"), tmp_path)
    with torch.no_grad():
        trainer.network.get_parameter("action_out_proj.bias").fill_(float("nan"))
    with pytest.raises(ContractError, match="finite loss"):
        trainer.run()
    assert not list(tmp_path.glob("state*"))
