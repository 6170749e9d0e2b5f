# SPDX-License-Identifier: Apache-2.0
"""Velocities, samples, losses and gradients against transformers' native PI0, in float32."""

from __future__ import annotations

import oracle
import pytest
import samples
import torch

from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.model.config import MoEConfig, tiny
from adamoe_ros.model.policy_model import AdaMoEPolicy

DENSE = MoEConfig()
BATCHES = {
    "all cameras": ([[1, 1, 1]], [5]),
    "one absent, empty prompt": ([[1, 0, 1]], [0]),
    "two absent, full prompt": ([[1, 0, 0]], [10]),
    "different masks": ([[1, 1, 1], [1, 0, 0], [1, 0, 1]], [3, 10, 0]),
    "different prompts": ([[1, 1, 1], [1, 1, 1]], [10, 4]),
    "same number, other cameras": ([[1, 1, 0], [1, 0, 1]], [4, 4]),
}
MIXTURES = {
    "dense": DENSE,
    "adamoe k=1": MoEConfig("adamoe", 4, 1),
    "adamoe k=2": MoEConfig("adamoe", 4, 2),
    "adamoe k=E": MoEConfig("adamoe", 4, 4),
    "csmoe k=2": MoEConfig("csmoe", 4, 2),
    "vanilla k=2": MoEConfig("vanilla", 4, 2),
}


def make(moe: MoEConfig) -> AdaMoEPolicy:
    changes = {f"moe.{key}": value for key, value in vars(moe).items()}
    return samples.policy(tiny().changed(changes))


@torch.no_grad()
def check(model: AdaMoEPolicy, cameras: list[list[int]], prompts: list[int]) -> None:
    reference = oracle.build(model)
    inputs = samples.inputs(model.config, cameras, prompts)
    theirs = oracle.arguments(model, inputs)
    noise = samples.chunk(model.config, len(cameras))
    time = torch.linspace(0.2, 0.9, len(cameras))

    expected = reference(**theirs, noise=noise, timestep=time).logits
    prefix = model.encode_prefix(**inputs)
    cache = model.encode_state(prefix, inputs["state"])
    joint = model.velocity_joint(prefix, inputs["state"], noise, time)
    torch.testing.assert_close(model.velocity(cache, noise, time), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(joint, expected, rtol=0, atol=1e-5)

    expected = reference.sample_actions(**theirs, noise=noise, num_steps=10)
    found = model.sample(**inputs, noise=noise, options=SamplingOptions(10)).actions
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("mixture", ["dense", "adamoe k=1"])
@pytest.mark.parametrize("batch", BATCHES)
def test_every_kind_of_batch(batch, mixture):
    check(make(MIXTURES[mixture]), *BATCHES[batch])


@pytest.mark.parametrize("mixture", [name for name in MIXTURES if name != "dense"])
def test_every_mixture(mixture):
    check(make(MIXTURES[mixture]), *BATCHES["different masks"])


@torch.no_grad()
@pytest.mark.parametrize("favoured", [True, False], ids=["all on one", "one without"])
def test_skewed_routing(favoured):
    """A large constant in the residual stream lets the router decide for every token alike."""
    model = make(MIXTURES["adamoe k=1"])
    model.state_proj.bias[0] = model.action_time_mlp_out.bias[0] = 60.0
    for layer in model.expert.layers:
        layer.ffn_norm.weight[0] = 0.0
        layer.ffn.router.weight[:, 0] = 0.0
        layer.ffn.router.weight[2, 0] = 5.0 if favoured else -5.0
    inputs = samples.inputs(model.config, [[1, 1, 1], [1, 1, 0]], [3, 6])
    sample = model.sample(
        **inputs,
        noise=samples.chunk(model.config, 2),
        options=SamplingOptions(3, trace=True),
    )
    counts = sample.statistics().selection_counts
    assert ((counts[:, 2] == counts.sum(1)) if favoured else (counts[:, 2] == 0)).all()
    assert (counts > 0).any(1).all()
    check(model, [[1, 1, 1], [1, 1, 0]], [3, 6])


@pytest.mark.parametrize("mixture", MIXTURES)
def test_loss_and_gradient_of_every_parameter(mixture):
    model = make(MIXTURES[mixture])
    reference = oracle.build(model)
    inputs = samples.inputs(model.config, *BATCHES["different masks"])
    actions, noise = samples.chunk(model.config, 3, seed=5), samples.chunk(model.config, 3)
    time = torch.tensor([0.3, 0.55, 0.9])
    loss = model.loss(**inputs, actions=actions, noise=noise, time=time).flow
    theirs = oracle.arguments(model, inputs)
    expected = reference(**theirs, actions=actions, noise=noise, timestep=time).loss
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-5)

    loss.backward()
    expected.backward()
    ours = dict(model.named_parameters())
    seen, moved = set(), 0
    for name, parameter in reference.named_parameters():
        our = oracle.our_name(name, model.config)
        if our is None:
            continue
        seen.add(our)
        gradient = torch.zeros_like(ours[our]) if ours[our].grad is None else ours[our].grad
        wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        wanted = wanted.reshape(gradient.shape)
        tolerance = 1e-5 * max(1.0, wanted.abs().max().item())
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=tolerance, msg=our)
        moved += bool(wanted.any())
    assert seen == set(ours)
    assert moved > 0.8 * len(seen)
