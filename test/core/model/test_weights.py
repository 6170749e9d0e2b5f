# SPDX-License-Identifier: Apache-2.0
"""Loading accounts for every tensor and copies none."""

from __future__ import annotations

import pytest
import samples
import torch

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.model.config import adamoe_pi0, tiny
from adamoe_ros.model.weights import is_finite, load_policy, parameter_shapes

SOURCE = samples.policy(tiny())


def state() -> dict[str, torch.Tensor]:
    return dict(SOURCE.state_dict())


def test_loaded_policy_computes_the_same_without_copies():
    model = load_policy(tiny(), state())
    inputs = samples.inputs(tiny(), [[1, 1, 0]], [3])
    noise = samples.chunk(tiny(), 1)
    expected = SOURCE.sample(**inputs, noise=noise).actions
    assert torch.equal(model.sample(**inputs, noise=noise).actions, expected)
    places = {name: tensor.data_ptr() for name, tensor in state().items()}
    assert {name: p.data_ptr() for name, p in model.named_parameters()} == places
    assert not any(p.requires_grad for p in model.parameters())


def test_dtype_is_converted():
    model = load_policy(tiny(), state(), dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_every_problem_is_named_at_once():
    tensors = state()
    del tensors["state_proj.bias"]
    tensors["surplus"] = torch.zeros(1)
    tensors["embed.weight"] = tensors["embed.weight"].T
    tensors["action_out_proj.bias"] = torch.full((8,), torch.nan)
    tensors["vision.norm.bias"] = torch.full((16,), torch.inf)
    with pytest.raises(ContractError) as error:
        load_policy(tiny(), tensors, where="model.safetensors")
    lines = error.value.problems
    assert len(lines) == 5
    for name in ("state_proj.bias", "surplus", "embed.weight", "action_out_proj.bias"):
        assert sum(line.startswith(f"model.safetensors: {name}:") for line in lines) == 1


def test_shapes_at_full_size_allocate_nothing():
    shapes = parameter_shapes(adamoe_pi0())
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 4_144_165_648


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, True), (float("nan"), False), (float("-inf"), False)]
)
def test_finite(value, expected):
    tensor = torch.zeros(3, 4, dtype=torch.bfloat16)
    tensor[1, 2] = value
    assert is_finite(tensor) is expected
