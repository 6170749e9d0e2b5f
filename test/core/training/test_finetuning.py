# SPDX-License-Identifier: Apache-2.0
"""Freezing, low-rank changes, gradient checkpointing, clipping, precision: each does what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.model.gemma import GemmaLayer
from adamoe_ros.model.moe import MoEFeedForward
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.finetuning import add_lora, parts, plain_state, prepare_parts
from adamoe_ros.training.trainer import Trainer
from adamoe_ros.training.training_config import (
    LoraConfig,
    NetworkConfig,
    TrainingConfig,
    load_config,
)

MakeTrainer = Callable[..., Trainer]
FAST = [f"optimiser.{group}.peak_lr=1e-3" for group in ("base", "experts", "router")]


def config(*more: str) -> TrainingConfig:
    return load_config(None, [*FAST, "batch_size=4", "steps=3", "tensorboard=false", *more])


def gradients(trainer: Trainer, batch: Any) -> dict[str, torch.Tensor]:
    losses = trainer.objective(trainer.network, batch, 0)
    trainer.network.zero_grad()
    losses.total.backward()
    named = trainer.network.named_parameters()
    return {n: p.grad.clone() for n, p in named if p.grad is not None}


def test_parts_cover_the_network(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    network: Any = make_trainer(config(), tmp_path).network
    found = parts(network)
    inside = {"experts", "router"}
    ids = [id(p) for n, ms in found.items() if n not in inside for m in ms for p in m.parameters()]
    reader = [id(p) for n, p in network.named_parameters() if n.startswith("reader.")]
    assert sorted(ids) == sorted(id(p) for p in network.parameters())
    assert set(reader) <= set(ids)


@pytest.mark.parametrize("part", ["vision", "prefix", "experts", "router"])
def test_a_frozen_part_stays(part: str, make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(config(f"model.freeze=[{part}]"), tmp_path)
    network: Any = trainer.network
    frozen = {id(p) for module in parts(network)[part] for p in module.parameters()}
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    trainer.run()
    for name, parameter in network.named_parameters():
        if id(parameter) in frozen:
            assert torch.equal(parameter, before[name]), name
    assert not torch.equal(network.action_out_proj.weight, before["action_out_proj.weight"])


def test_wrong_parts_are_named(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    network: Any = make_trainer(config(), tmp_path).network
    with pytest.raises(ContractError, match=r"model\.freeze: expected parts: vision.*got eyes"):
        prepare_parts(network, NetworkConfig(freeze=("eyes",)), 0)
    with pytest.raises(ContractError, match="something to train"):
        everything = tuple(name for name in parts(network))
        prepare_parts(network, NetworkConfig(freeze=everything), 0)


def test_low_rank_changes(
    make_trainer: MakeTrainer, demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    """The first loss is unchanged; matrices stay, their change has the rank; merging keeps it."""
    plain = make_trainer(config(), tmp_path / "plain")
    batch = demonstrations.batch(np.arange(4))
    first = plain.objective(plain.network, batch, 0).total
    lora = LoraConfig(rank=2, alpha=4.0)
    trainer = make_trainer(config("model.lora={rank: 2, alpha: 4.0}"), tmp_path / "lora")
    assert torch.equal(trainer.objective(trainer.network, batch, 0).total, first)
    trainer.run()
    after = plain_state(trainer.network.state_dict(), lora)
    before = plain.network.state_dict()
    assert sorted(after) == sorted(before)
    for name in ("expert.layers.0.attn.q.weight", "prefix.layers.0.ffn.down.weight"):
        change = after[name] - before[name]
        assert 1 <= int(torch.linalg.matrix_rank(change, atol=1e-7)) <= 2, name
    experts = after["expert.layers.0.ffn.experts.up"] - before["expert.layers.0.ffn.experts.up"]
    assert all(int(torch.linalg.matrix_rank(e, atol=1e-7)) <= 2 for e in experts)
    assert torch.equal(
        after["expert.layers.0.attn_norm.weight"], before["expert.layers.0.attn_norm.weight"]
    )
    router = "expert.layers.0.ffn.router.weight"
    assert not torch.equal(after[router], before[router])  # too small for factors: trained as it is
    trained = sum(p.numel() for g in trainer.optimiser.param_groups for p in g["params"])
    assert trained < sum(p.numel() for p in plain.network.parameters())
    plain.network.load_state_dict(after)
    left, right = (t.objective(t.network, batch, 0).total for t in (plain, trainer))
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)


def test_low_rank_groups(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Factors of experts learn with the experts' schedule."""
    trainer = make_trainer(config("model.lora={rank: 2}"), tmp_path)
    groups = {group["name"]: group["params"] for group in trainer.optimiser.param_groups}
    layers = [m for m in trainer.network.modules() if isinstance(m, MoEFeedForward)]
    assert len(groups["experts"]) == 6 * len(layers)  # A and B of gate, up, down
    assert len(groups["router"]) == 2 * len(layers)


@pytest.mark.parametrize("draws", [1, 2])
def test_gradient_checkpointing_changes_nothing(
    draws: int, make_trainer: MakeTrainer, demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    batch = demonstrations.batch(np.arange(4))
    more = [f"flow_draws={draws}", "loss.z_weight=0.1"]
    plain = make_trainer(config(*more), tmp_path / "plain")
    saving = make_trainer(config("gradient_checkpointing=true", *more), tmp_path / "saving")
    calls: list[int] = []
    for module in saving.network.modules():
        if isinstance(module, GemmaLayer):
            module.ffn_norm.register_forward_hook(lambda *_: calls.append(1))
    wanted, got = (gradients(trainer, batch) for trainer in (plain, saving))
    assert wanted.keys() == got.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-5, atol=1e-7, msg=name)
    layers = sum(isinstance(m, GemmaLayer) for m in saving.network.modules())
    assert len(calls) == 2 * (
        layers - 1
    )  # twice each, but the prefix's last, which only shows keys


def test_clipping_bounds_the_norm(
    make_trainer: MakeTrainer, demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    """What the optimiser sees has the norm; what is logged is the norm before."""
    trainer = make_trainer(config("optimiser.clip_norm=0.01", "log_every=1"), tmp_path)
    seen: list[float] = []

    def note(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        rows = [p.grad for g in optimiser.param_groups for p in g["params"] if p.grad is not None]
        seen.append(float(torch.cat([row.flatten() for row in rows]).norm()))

    trainer.optimiser.register_step_pre_hook(note)
    trainer.run()
    assert len(seen) == 3 and seen == pytest.approx([0.01] * 3, rel=1e-3)


def test_bfloat16_keeps_float32_masters(
    make_trainer: MakeTrainer, demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    trainer = make_trainer(config("precision=bfloat16"), tmp_path)
    seen: dict[str, torch.dtype] = {}
    for name, module in trainer.network.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(
                lambda _, args, out, name=name: seen.update({name: out.dtype})
            )
    routed: list[torch.dtype] = []
    for module in trainer.network.modules():
        if isinstance(module, MoEFeedForward):
            route = module.route

            def noted(x: torch.Tensor, route: Any = route) -> Any:
                routed.append(route(x).probabilities.dtype)
                return route(x)

            module.route = noted  # type: ignore[method-assign]
    trainer.run()
    assert seen["expert.layers.0.attn.q"] is torch.bfloat16
    assert set(routed) == {torch.float32}
    assert {p.dtype for p in trainer.network.parameters()} == {torch.float32}
    moments = [v for state in trainer.optimiser.state.values() for v in state.values()]
    assert {value.dtype for value in moments} == {torch.float32}
    assert {p.dtype for p in trainer.average.module.parameters()} == {torch.float32}


def test_a_target_without_matrices(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    network: Any = make_trainer(config(), tmp_path).network
    with pytest.raises(ContractError, match=r"model\.lora\.targets"):
        add_lora(network, LoraConfig(targets=("nothing",)), torch.Generator())


def test_the_z_loss_is_added_with_its_weight(
    make_trainer: MakeTrainer, demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    batch = demonstrations.batch(np.arange(4))
    totals = []
    for weight in (0.0, 0.5):
        trainer = make_trainer(config(f"loss.z_weight={weight}"), tmp_path / str(weight))
        losses = trainer.objective(trainer.network, batch, 0)
        totals.append(losses.total.detach())
    torch.testing.assert_close(totals[1] - totals[0], 0.5 * losses.parts["z"], rtol=1e-4, atol=1e-5)
