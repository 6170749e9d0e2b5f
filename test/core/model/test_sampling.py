# SPDX-License-Identifier: Apache-2.0
"""What the sampler keeps, drops and reports."""

from __future__ import annotations

from dataclasses import replace

import pytest
import samples
import torch

from adamoe_ros.model.conditioning import ChunkGuidance, FrozenRows, SamplingOptions
from adamoe_ros.model.config import MoEConfig, small, tiny
from adamoe_ros.model.moe import MoEFeedForward

CONFIGS = {"tiny": tiny(), "small": replace(small(), flow_steps=4)}


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    return samples.policy(CONFIGS[request.param])


@torch.no_grad()
def test_joint_pass_equals_cached_pass(model):
    inputs = samples.inputs(model.config, [[1, 1, 1], [0, 1, 1]], [4, 7])
    x_t = samples.chunk(model.config, 2)
    time = torch.rand(2, model.config.horizon)
    prefix = model.encode_prefix(**inputs)
    cache = model.encode_state(prefix, inputs["state"])
    joint = model.velocity_joint(prefix, inputs["state"], x_t, time)
    torch.testing.assert_close(model.velocity(cache, x_t, time), joint, rtol=0, atol=1e-5)


def test_batch_equals_its_samples_one_by_one(model):
    cameras, prompts = [[1, 1, 1], [1, 0, 1], [0, 0, 1]], [4, 0, 9]
    inputs = samples.inputs(model.config, cameras, prompts)
    noise = samples.chunk(model.config, 3)
    together = model.sample(**inputs, noise=noise).actions
    for b in range(3):
        one = {name: tensor[b : b + 1] for name, tensor in inputs.items()}
        alone = model.sample(**one, noise=noise[b : b + 1]).actions
        torch.testing.assert_close(together[b : b + 1], alone, rtol=0, atol=1e-4)


@torch.no_grad()
def test_absent_cameras_and_padding_are_neither_read_nor_computed(model):
    inputs = samples.inputs(model.config, [[1, 0, 1]], [4])
    dirty = {name: tensor.clone() for name, tensor in inputs.items()}
    dirty["images"][:, 1] = torch.nan
    dirty["token_ids"][:, 4:] = 3
    clean = model.encode_prefix(**inputs)
    extra = 1 if model.config.aux_positions else 0
    expected = 2 * model.config.vision.tokens + extra + 4
    assert clean.layers[0][0].shape[2] == expected == int(clean.length)
    assert clean.mask is None
    noise = samples.chunk(model.config, 1)
    first, second = (model.sample(**i, noise=noise).actions for i in (inputs, dirty))
    assert torch.equal(first, second)


def test_sampling_leaves_the_cache_alone(model):
    inputs = samples.inputs(model.config, [[1, 1, 1]], [4])
    noise = samples.chunk(model.config, 1)
    with torch.no_grad():
        cache = model.encode_state(model.encode_prefix(**inputs), inputs["state"])
    first, second = (model.sample_from(cache, noise).actions for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, model.sample(**inputs, noise=noise).actions)


def test_static_shapes_give_the_same_chunk(model):
    inputs = samples.inputs(model.config, [[1, 1, 1]], [4])
    noise = samples.chunk(model.config, 1)
    sparse = model.sample(**inputs, noise=noise).actions
    layers = [m for m in model.modules() if isinstance(m, MoEFeedForward)]
    for layer in layers:
        layer.static_shapes = True
    static = model.sample(**inputs, noise=noise).actions
    for layer in layers:
        layer.static_shapes = False
    torch.testing.assert_close(static, sparse, rtol=0, atol=1e-5)


def test_routing_is_reported_per_step_and_layer(model):
    config = model.config
    inputs = samples.inputs(config, [[1, 1, 1], [1, 1, 1]], [4, 4])
    noise = samples.chunk(config, 2)
    sample = model.sample(**inputs, noise=noise, options=SamplingOptions(3, trace=True))
    depth, tokens = config.prefix.depth, config.action_tokens
    assert sample.selected().shape == (3, depth, 2, tokens, config.moe.top_k)
    statistics = sample.statistics()
    assert statistics.selection_counts.shape == (depth, config.moe.num_experts)
    assert (statistics.selection_counts.sum(1) == 3 * 2 * tokens * config.moe.top_k).all()
    selected = sample.selected()[:, 0].flatten()
    counted = torch.bincount(selected, minlength=config.moe.num_experts)
    assert torch.equal(counted, statistics.selection_counts[0])


def test_a_dense_model_reports_no_routing():
    model = samples.policy(replace(tiny(), moe=MoEConfig()))
    inputs = samples.inputs(model.config, [[1, 1, 1]], [4])
    sample = model.sample(
        **inputs, noise=samples.chunk(model.config, 1), options=SamplingOptions(trace=True)
    )
    assert sample.statistics() is None


def test_frozen_rows_come_back_and_change_the_rest(model):
    config = model.config
    inputs = samples.inputs(config, [[1, 1, 1]], [4])
    noise = samples.chunk(config, 1)
    given = samples.chunk(config, 1, seed=9)
    mask = torch.arange(config.horizon).unsqueeze(0) < config.action_patch
    options = SamplingOptions(frozen=FrozenRows(given, mask))
    frozen = model.sample(**inputs, noise=noise, options=options).actions
    free = model.sample(**inputs, noise=noise).actions
    assert torch.equal(frozen[mask], given[mask])
    assert (frozen[~mask] - free[~mask]).abs().max() > 1e-4


@torch.no_grad()
def test_given_rows_do_not_count_in_the_loss(model):
    config = model.config
    inputs = samples.inputs(config, [[1, 1, 1]], [4])
    actions, noise = samples.chunk(config, 1, seed=5), samples.chunk(config, 1)
    time = torch.full((1, config.horizon), 0.5)
    time[:, : config.action_patch] = 0
    loss = model.loss(**inputs, actions=actions, noise=noise, time=time)
    assert (loss.rows[:, : config.action_patch] == 0).all()
    expected = loss.rows[:, config.action_patch :].mean()
    torch.testing.assert_close(loss.flow, expected)


def test_guidance_may_differentiate_through_the_network(model):
    inputs = samples.inputs(model.config, [[1, 1, 1]], [4])
    noise = samples.chunk(model.config, 1)
    target = samples.chunk(model.config, 1, seed=9)
    guidance = ChunkGuidance(target, torch.ones(1, model.config.horizon, 1), 0.5, "vjp")
    free = model.sample(**inputs, noise=noise).actions
    options = SamplingOptions(guidance=guidance)
    near = model.sample(**inputs, noise=noise, options=options).actions
    assert (near - target).norm() < (free - target).norm()


@pytest.mark.parametrize("router", ["float32", "bfloat16"])
def test_bfloat16_stays_close_to_float32(router):
    config = tiny().changed({"moe.router_dtype": router, "moe.top_k": 4})
    model = samples.policy(config)
    inputs = samples.inputs(config, [[1, 1, 1]], [4])
    noise = samples.chunk(config, 1)
    expected = model.sample(**inputs, noise=noise).actions
    found = model.to(torch.bfloat16).sample(
        **inputs, noise=noise, options=SamplingOptions(trace=True)
    )
    assert found.actions.dtype == torch.float32
    assert found.routing[0][0].logits.dtype == getattr(torch, router)
    assert (found.actions - expected).abs().max() < 0.1


def test_autocast_keeps_the_router_in_float32():
    model = samples.policy(small())
    inputs = samples.inputs(small(), [[1, 1, 1]], [4])
    noise = samples.chunk(small(), 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sample = model.sample(**inputs, noise=noise, options=SamplingOptions(2, trace=True))
        loss = model.loss(**inputs, actions=noise, noise=noise, time=torch.tensor([0.5]))
    assert sample.routing[0][0].logits.dtype == torch.float32
    loss.flow.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
