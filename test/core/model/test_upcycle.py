# SPDX-License-Identifier: Apache-2.0
"""A dense policy becomes a mixture: shapes, noise, independence, and the preserving form."""

from __future__ import annotations

from dataclasses import replace

import pytest
import samples
import torch

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.model.config import MoEConfig, tiny
from adamoe_ros.model.dense_to_moe import UpcycleSettings, upcycle_from_dense
from adamoe_ros.model.policy_model import AdaMoEPolicy

DENSE = samples.policy(replace(tiny(), moe=MoEConfig()))
MIXTURES = [
    MoEConfig("adamoe", 4, 1),
    MoEConfig("adamoe", 8, 2),
    MoEConfig("csmoe", 4, 2),
    MoEConfig("vanilla", 3, 3),
]


def upcycled(moe: MoEConfig, seed: int = 0, **settings) -> AdaMoEPolicy:
    config = replace(tiny(), moe=moe)
    generator = torch.Generator().manual_seed(seed)
    state = upcycle_from_dense(DENSE.state_dict(), config, UpcycleSettings(**settings), generator)
    model = AdaMoEPolicy(config)
    model.load_state_dict(state)
    return model.eval()


@pytest.mark.parametrize("moe", MIXTURES, ids=str)
def test_experts_are_copies_and_the_rest_is_untouched(moe):
    model, dense = upcycled(moe), DENSE.state_dict()
    ffn, start = model.expert.layers[1].ffn, "expert.layers.1.ffn"
    for part in ("gate", "up", "down"):
        weight = dense[f"{start}.{part}.weight"]
        assert torch.equal(getattr(ffn.shared, part).weight, weight)
        assert all(torch.equal(expert, weight) for expert in getattr(ffn.experts, part))
    for name, tensor in model.state_dict().items():
        if ".ffn." not in name or name.startswith("prefix."):
            assert torch.equal(tensor, dense[name])


def test_router_and_adapter_are_drawn_independently():
    ffn = upcycled(MoEConfig("adamoe", 64, 1)).expert.layers[0].ffn
    router, adapter = ffn.router.weight, ffn.scale_adapter.weight
    assert router.std().item() == pytest.approx(0.006, rel=0.1)
    assert adapter.std().item() == pytest.approx(0.006, rel=0.1)
    assert torch.corrcoef(torch.stack([router.flatten(), adapter.flatten()]))[0, 1].abs() < 0.1


def test_noise_differs_between_experts_and_has_its_deviation():
    ffn = upcycled(MoEConfig("adamoe", 4, 1), noise_std=0.01).expert.layers[0].ffn
    difference = ffn.experts.gate - ffn.shared.gate.weight
    assert difference.std().item() == pytest.approx(0.01, rel=0.1)
    assert (difference[0] - difference[1]).std() > 0.01


def test_same_seed_same_weights():
    first, again, other = (upcycled(MIXTURES[0], seed, noise_std=0.01) for seed in (3, 3, 4))
    pairs = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    name = "expert.layers.0.ffn.router.weight"
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("moe", MIXTURES, ids=str)
def test_preserving_form_equals_the_dense_model_bit_for_bit(moe, dtype):
    inputs = samples.inputs(tiny(), [[1, 1, 0]], [5])
    noise = samples.chunk(tiny(), 1)
    model = upcycled(moe, preserve=True, noise_std=0.01).to(dtype)
    dense = samples.policy(DENSE.config).to(dtype)
    expected = dense.sample(**inputs, noise=noise).actions
    assert torch.equal(model.sample(**inputs, noise=noise).actions, expected)
    assert not torch.equal(upcycled(moe).to(dtype).sample(**inputs, noise=noise).actions, expected)


def test_preserved_experts_learn():
    model = upcycled(MIXTURES[0], preserve=True)
    inputs = samples.inputs(tiny(), [[1, 1, 1]], [5])
    noise, actions = samples.chunk(tiny(), 1), samples.chunk(tiny(), 1, seed=4)
    model.loss(**inputs, actions=actions, noise=noise, time=torch.tensor([0.5])).flow.backward()
    down = model.expert.layers[0].ffn.experts.down
    assert down.grad.abs().max() > 0


def test_a_dense_target_is_refused():
    with pytest.raises(ContractError, match="experts"):
        upcycled(MoEConfig())


def test_a_mixture_as_source_is_refused():
    state = upcycled(MIXTURES[0]).state_dict()
    with pytest.raises(ContractError, match="dense"):
        upcycle_from_dense(state, tiny(), UpcycleSettings(), torch.Generator())
