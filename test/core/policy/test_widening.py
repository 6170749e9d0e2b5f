# SPDX-License-Identifier: Apache-2.0
"""A wider dense policy makes the narrow one's chunks, with as many parameters as a mixture uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from policy_support import make_checkpoint, observation, tiny_config

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.model.config import MoEConfig
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.runtime import PolicyRuntime
from adamoe_ros.policy.upcycling import count_parameters, widen_checkpoint

DENSE = {"moe.variant": "dense", "moe.num_experts": 0, "moe.top_k": 0}


def test_the_same_chunk_from_a_wider_network(tmp_path: Path) -> None:
    narrow = make_checkpoint(tmp_path / "narrow", tiny_config(**DENSE))
    wide = widen_checkpoint(narrow, tmp_path / "wide", 2, 0.1, seed=0)
    old, new = (PolicyRuntime(read_checkpoint(f), "cpu") for f in (narrow, wide))
    assert new.checkpoint.config.expert.mlp == 2 * old.checkpoint.config.expert.mlp
    chunks = [r.infer(observation(), r.noise(1)).normalized for r in (old, new)]
    assert np.allclose(chunks[0], chunks[1], atol=1e-6)
    layer = new.engine.network.expert.layers[0].ffn  # type: ignore[attr-defined]
    first, second = layer.gate.weight.chunk(2)
    assert not torch.equal(first, second) and (first - second).abs().max() < first.abs().max()


def test_two_widths_are_the_active_parameters_of_one_expert_beside_the_shared() -> None:
    dense = tiny_config(**DENSE)
    wide = tiny_config(**DENSE, **{"expert.mlp": 2 * dense.expert.mlp})
    mixture = tiny_config()
    assert mixture.moe == MoEConfig("adamoe", 4, 1)
    active = count_parameters(mixture, torch.float32).active
    routers = 2 * 2 * 4 * dense.expert.width  # layers, router and adapter, experts
    assert count_parameters(wide, torch.float32).active == active - routers


def test_a_mixture_is_not_widened(tmp_path: Path) -> None:
    mixture = make_checkpoint(tmp_path / "mixture")
    with pytest.raises(ContractError, match="dense"):
        widen_checkpoint(mixture, tmp_path / "wide", 2, 0.1, seed=0)
