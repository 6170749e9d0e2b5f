# SPDX-License-Identifier: Apache-2.0
"""pi0.5: openpi's numbers for condition and adaRMS, and the expert against one written for reading.

The golden values are what openpi's JAX code gives in float32 for tensors c sin(a i + b).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import samples
import torch
from torch import Tensor

from adamoe_ros.model.conditioning import FrozenRows, SamplingOptions
from adamoe_ros.model.config import MoEConfig, adamoe_pi05, pi05, preset, tiny
from adamoe_ros.model.flow import time_embedding
from adamoe_ros.model.gemma import AdaRMSNorm
from adamoe_ros.model.layers import initialise
from adamoe_ros.model.moe import FeedForward
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.model.weights import parameter_shapes

VARIANTS = {
    "dense": MoEConfig(),
    "adamoe": MoEConfig("adamoe", 4, 2),
    "csmoe": MoEConfig("csmoe", 4, 1),
    "vanilla": MoEConfig("vanilla", 4, 1),
}


def wave(*shape: int, a: float, b: float, c: float) -> Tensor:
    return (c * torch.sin(a * torch.arange(math.prod(shape)).double() + b)).float().view(shape)


def golden(text: str) -> list[float]:
    return [float(number) for number in text.split()]


@torch.no_grad()
def test_adarms_golden_values() -> None:
    norm = AdaRMSNorm(8)
    norm.modulation.weight.copy_(wave(8, 24, a=0.9, b=0.4, c=0.5).T)
    norm.modulation.bias.copy_(wave(24, a=1.1, b=0.1, c=0.3))
    x = wave(2, 3, 8, a=0.7, b=0.3, c=1.0)
    x[1] *= 1e-3  # makes the epsilon visible
    h, gate = norm(x, wave(2, 8, a=0.5, b=0.2, c=0.8).unsqueeze(1))
    assert gate is not None
    first = ".364356 1.002395 1.223951 .902623 .399377 -.464108 -1.583094 -1.842862"
    last = ".185244 -.841311 -1.321086 -.790675 -.020820 .498697 .880814 .878152"
    gates = (
        "-.381382 .014171 .403994 .400616 .009718 -.377583 -.384860 -.026307",
        "-.231859 -.019884 .212133 .196146 -.052622 -.250616 -.164671 .120469",
    )
    np.testing.assert_allclose(h[0, 0], golden(first), atol=1.1e-6)
    np.testing.assert_allclose(h[1, 2], golden(last), atol=1.1e-6)
    np.testing.assert_allclose(gate[:, 0], [golden(g) for g in gates], atol=1.1e-6)
    assert h.sum().item() == pytest.approx(-0.0768175, abs=5e-6)
    assert h.abs().sum().item() == pytest.approx(39.825314, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (0.5, "-.020754 .345562 .397231 .033185 -.167803 -.140832 .008791 .025264"),
        (0.1, "-.087366 .231962 .451089 .144838 -.156965 -.191796 -.052504 .082851"),
    ],
)
def test_condition_golden_values(time: float, expected: str) -> None:
    sizes = replace(tiny(), architecture="pi05", expert=replace(tiny().expert, width=8))
    model = AdaMoEPolicy(sizes)
    model.time_mlp_in.weight.copy_(wave(8, 8, a=0.9, b=0.4, c=0.5).T)
    model.time_mlp_in.bias.copy_(wave(8, a=1.1, b=0.1, c=0.3))
    model.time_mlp_out.weight.copy_(wave(8, 8, a=1.3, b=0.2, c=0.5).T)
    model.time_mlp_out.bias.copy_(wave(8, a=0.7, b=0.5, c=0.3))
    found = model.condition(torch.tensor([time]))
    assert found is not None
    np.testing.assert_allclose(found[0, 0], golden(expected), atol=1.1e-6)


def test_parameters_at_full_size() -> None:
    def count(config, start=""):
        shapes = parameter_shapes(config)
        return sum(math.prod(s) for name, s in shapes.items() if name.startswith(start))

    assert count(pi05()) == 3_353_433_872
    assert count(pi05(), "expert.") == 427_932_672
    projections = ("action_", "time_mlp_", "state_proj")
    assert sum(count(pi05(), start) for start in projections) == 2_165_792
    adaptive = {n: s for n, s in parameter_shapes(pi05()).items() if ".modulation." in n}
    assert len(adaptive) == 2 * 37
    assert sum(map(math.prod, adaptive.values())) == 37 * 3_148_800
    assert count(adamoe_pi05()) == 4_259_550_992
    assert count(adamoe_pi05(), "expert.") == 1_334_049_792
    assert count(adamoe_pi05(8)) == 5_165_668_112


def sizes(variant: str):
    return replace(tiny(), architecture="pi05", moe=VARIANTS[variant])


@pytest.fixture(params=VARIANTS)
def case(request):
    model = samples.policy(sizes(request.param))
    cameras, prompts = [[1, 0, 1], [1, 1, 1]], [10, 4]
    return model, samples.inputs(model.config, cameras, prompts)


def geglu(x: Tensor, ffn: FeedForward) -> Tensor:
    gate = torch.nn.functional.gelu(ffn.gate.weight @ x, approximate="tanh")
    return ffn.down.weight @ (gate * (ffn.up.weight @ x))


def feed_forward(x: Tensor, ffn) -> Tensor:
    """One token."""
    if isinstance(ffn, FeedForward):
        return geglu(x, ffn)
    p = (ffn.router.weight @ x).softmax(0)
    scale = p
    if ffn.config.variant == "adamoe":
        scale = p + ffn.scale_adapter.weight @ x
    elif ffn.config.variant == "csmoe":
        scale = (ffn.scale_adapter.weight @ torch.cat([x, p])).softmax(0)
    out = 0.5 * geglu(x, ffn.shared)
    for e in p.topk(ffn.config.top_k).indices.tolist():
        gate = torch.nn.functional.gelu(ffn.experts.gate[e] @ x, approximate="tanh")
        out = out + 0.5 * scale[e] * (ffn.experts.down[e] @ (gate * (ffn.experts.up[e] @ x)))
    return out


def expected_velocity(model: AdaMoEPolicy, cache, row: int, x_t: Tensor, time: Tensor) -> Tensor:
    """(H, A) of one observation, token by token; time (H,)."""
    heads, size = model.config.prefix.heads, model.config.prefix.head_dim
    count = int(cache.length[row])

    def norm(x, layer, c):
        weight, bias = layer.modulation.weight, layer.modulation.bias
        scale, shift, gate = (weight @ c + bias).split(len(x))
        return x / (x.square().mean() + 1e-6).sqrt() * (1 + scale) + shift, gate

    def turned(x, place):
        half = x.shape[-1] // 2
        angle = place * 10_000.0 ** (-torch.arange(half) / half)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    silu = torch.nn.functional.silu
    tokens, conditions = [], []
    for x, t in zip(x_t, time, strict=True):
        tokens.append(model.action_in_proj(x))
        conditions.append(
            silu(model.time_mlp_out(silu(model.time_mlp_in(time_embedding(t, tokens[0].shape[0])))))
        )
    for layer, (keys, values) in zip(model.expert.layers, cache.layers, strict=True):
        normed = [norm(x, layer.attn_norm, c) for x, c in zip(tokens, conditions, strict=True)]
        own_keys = [turned(layer.attn.k(h), count + i) for i, (h, _) in enumerate(normed)]
        own_values = [layer.attn.v(h) for h, _ in normed]
        k = torch.cat([keys[row, 0, :count], torch.stack(own_keys)])
        v = torch.cat([values[row, 0, :count], torch.stack(own_values)])
        for i, (h, gate) in enumerate(normed):
            q = turned(layer.attn.q(h).view(heads, size), count + i)
            mixed = ((q @ k.T) / math.sqrt(size)).softmax(-1) @ v
            tokens[i] = tokens[i] + gate * layer.attn.o(mixed.flatten())
        for i, c in enumerate(conditions):
            h, gate = norm(tokens[i], layer.ffn_norm, c)
            tokens[i] = tokens[i] + gate * feed_forward(h, layer.ffn)
    final = [norm(x, model.expert.norm, c)[0] for x, c in zip(tokens, conditions, strict=True)]
    return torch.stack([model.action_out_proj(h) for h in final])


@torch.no_grad()
@pytest.mark.parametrize("given_rows", [0, 2])
def test_velocity_is_the_plain_ones(case, given_rows: int) -> None:
    model, inputs = case
    cache = model.encode_state(model.encode_prefix(**inputs), inputs["state"])
    x_t = samples.chunk(model.config, 2)
    time = torch.tensor([[0.8], [0.3]]).repeat(1, model.config.horizon)
    time[:, :given_rows] = 0.0
    found = model.velocity(cache, x_t, time if given_rows else time[:, 0])
    expected = torch.stack([expected_velocity(model, cache, r, x_t[r], time[r]) for r in range(2)])
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-5)
    torch.testing.assert_close(model.velocity(cache, x_t, time), expected, rtol=0, atol=3e-5)
    joint = model.velocity_joint(cache, inputs["state"], x_t, time)
    torch.testing.assert_close(joint, found, rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_state_is_never_read(case) -> None:
    model, inputs = case
    noise = samples.chunk(model.config, 2)
    one = model.sample(**inputs, noise=noise).actions
    other = model.sample(**{**inputs, "state": inputs["state"] + 5}, noise=noise).actions
    assert torch.equal(one, other)


def test_small_pi05_locates_objects_without_the_state() -> None:
    model = samples.policy(preset("small_pi05"))
    inputs = samples.inputs(model.config, [[1, 1, 1]], [20])
    cache = model.encode_prefix(**inputs)
    other = model.encode_prefix(**{**inputs, "state": inputs["state"] + 5})
    assert cache.objects is not None and torch.equal(cache.objects, other.objects)


def test_starts_as_the_identity_and_gates_learn_first() -> None:
    model = AdaMoEPolicy(sizes("adamoe"))
    initialise(model, torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        assert (".modulation." not in name) or not parameter.any(), name
    inputs = samples.inputs(model.config, [[1, 1, 1]], [6])
    chunks = samples.chunk(model.config, 1), samples.chunk(model.config, 1, 5)
    model.loss(
        **inputs, actions=chunks[0], noise=chunks[1], time=torch.tensor([0.4])
    ).flow.backward()
    layer = model.expert.layers[0]
    gates = layer.ffn_norm.modulation.weight.grad.chunk(3)[2]
    assert gates.abs().max() > 0
    assert not layer.ffn.shared.up.weight.grad.any()


@torch.no_grad()
def test_frozen_rows_stay_and_steer_the_others() -> None:
    model = samples.policy(sizes("adamoe"))
    inputs = samples.inputs(model.config, [[1, 1, 1]], [6])
    noise, given = samples.chunk(model.config, 1), samples.chunk(model.config, 1, 7)
    mask = torch.arange(model.config.horizon)[None] < 2
    options = SamplingOptions(frozen=FrozenRows(given, mask))
    out = model.sample(**inputs, noise=noise, options=options).actions
    free = model.sample(**inputs, noise=noise).actions
    assert torch.equal(out[:, :2], given[:, :2])
    assert (out[:, 2:] - free[:, 2:]).abs().max() > 1e-3
