# SPDX-License-Identifier: Apache-2.0
"""The network computes what the authors' JAX code computed on the same weights and inputs."""

from __future__ import annotations

import numpy as np
import official
import pytest
import torch

from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.model.config import MoEConfig
from adamoe_ros.model.policy_model import AdaMoEPolicy

CASES = {
    "official_dense": MoEConfig(),
    "official_adamoe_k1": MoEConfig("adamoe", 4, 1),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    data = official.load(request.param)
    model = AdaMoEPolicy(official.config(CASES[request.param]))
    model.load_state_dict(official.weights(data))
    return data, model.eval(), official.inputs(data)


def test_ten_step_samples(case):
    data, model, inputs = case
    sample = model.sample(
        **inputs, noise=torch.from_numpy(data["noise_sample"]), options=SamplingOptions(10)
    )
    np.testing.assert_allclose(sample.actions.numpy(), data["sample"], rtol=0, atol=1e-4)


@torch.no_grad()
def test_loss_and_router_statistics(case):
    data, model, inputs = case
    tensors = (torch.from_numpy(data[name]) for name in ("actions", "noise_train", "time"))
    loss = model.loss(**inputs, **dict(zip(("actions", "noise", "time"), tensors, strict=True)))
    np.testing.assert_allclose(loss.rows.numpy(), data["loss"], rtol=0, atol=1e-5)
    assert loss.flow.item() == pytest.approx(data["loss"].mean(), abs=1e-5)
    assert (loss.moe is None) == (model.config.moe.variant == "dense")
    if loss.moe is not None:
        balance, z = loss.moe.load_balancing.mean(), loss.moe.z_loss.mean() * 1e-4
        squares = loss.moe.activation_square_sum.mean()
        assert balance.item() == pytest.approx(data["info/load_balancing_loss"], rel=2e-6)
        assert z.item() == pytest.approx(data["info/z_loss"], rel=2e-6)
        assert squares.item() == pytest.approx(data["info/activation_square_sum"], rel=2e-6)
