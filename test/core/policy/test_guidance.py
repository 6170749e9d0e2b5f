# SPDX-License-Identifier: Apache-2.0
"""Guidance of the flow: the paper's pseudo-code, both Jacobians, no weight, the frozen prefix."""

from __future__ import annotations

import numpy as np
import pytest
import samples
import torch
from torch import Tensor, nn

from adamoe_ros.control import rtc_math
from adamoe_ros.model.conditioning import (
    FREE,
    ChunkGuidance,
    SamplingOptions,
    guidance_weight,
    stack_options,
)
from adamoe_ros.model.config import small, tiny
from adamoe_ros.model.flow import euler_times, integrate_flow
from adamoe_ros.policy.actor import condition_on

H, A = 8, 3


class SmallPolicy(nn.Module):
    """A nonlinear velocity that mixes rows and dimensions, in float64."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(H * A + H, 40, generator=generator).double() * 0.3)
        self.second = nn.Parameter(torch.randn(40, H * A, generator=generator).double() * 0.3)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        hidden = torch.tanh(torch.cat([x.flatten(1), t], 1) @ self.first)
        return (hidden @ self.second).reshape(x.shape)


def given(seed: int = 3, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """x, target and weights of H = 8, d = 2, s = 3."""
    generator = torch.Generator().manual_seed(seed)
    x, target = torch.randn(2, 1, H, A, generator=generator, dtype=dtype)
    return x, target, torch.tensor(rtc_math.soft_mask(H, 2, 3), dtype=dtype)[None, :, None]


def paper_weight(tau: float, beta: float) -> float:
    """The paper's clipped weight, as it is written there."""
    if tau in (0.0, 1.0):
        return beta
    r2 = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
    return min(beta, (1 - tau) / (tau * r2))


def paper_chunk(velocity, noise: Tensor, target: Tensor, weights: Tensor, n: int, beta: float):
    """Algorithm 1 (GuidedInference) with the paper's tau = 0 -> 1 and v = dA / dtau, in a loop."""
    action, flat = noise.clone(), weights.expand_as(target).flatten()
    for step in range(n):
        tau = step / n

        def field(a: Tensor, tau: float = tau) -> Tensor:
            return -velocity(a, torch.full(a.shape[:2], 1 - tau, dtype=a.dtype))

        def denoised(a: Tensor, tau: float = tau, field=field) -> Tensor:
            return a + (1 - tau) * field(a)

        error = flat * (target - denoised(action)).flatten()
        jacobian = torch.autograd.functional.jacobian(denoised, action).reshape(H * A, H * A)
        pull = (error @ jacobian).reshape(action.shape)
        action = action + (field(action) + paper_weight(tau, beta) * pull) / n
    return action


@pytest.mark.parametrize(("steps", "beta"), [(5, 5.0), (10, 10.0), (8, 3.0)])
def test_whole_sampling_is_the_papers_pseudo_code(steps: int, beta: float) -> None:
    policy = SmallPolicy()
    noise, target, weights = given()
    guidance = ChunkGuidance(target, weights, beta, "vjp")
    x = noise.clone()
    for step in range(steps):  # integrate_flow computes in float32
        t = torch.full((1, H), 1 - step / steps, dtype=torch.float64)
        x = x - guidance(policy, x, t) / steps
    expected = paper_chunk(policy, noise, target, weights, steps, beta)
    torch.testing.assert_close(x, expected.detach(), rtol=0, atol=1e-12)
    found = integrate_flow(
        lambda x, t: policy(x.double(), t.double()).float(),
        noise,
        euler_times(steps),
        SamplingOptions(guidance=ChunkGuidance(target.float(), weights.float(), beta, "vjp")),
    )
    torch.testing.assert_close(found.double(), expected.detach(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("jacobian", ["identity", "vjp"])
@pytest.mark.parametrize("time", [1.0, 0.8, 0.5, 0.1])
def test_one_step_against_autograd_in_float64(jacobian: str, time: float) -> None:
    policy = SmallPolicy()
    x, target, weights = given()
    t = torch.full((1, H), time, dtype=torch.float64)
    with torch.no_grad():  # as in AdaMoEPolicy.sample
        found = ChunkGuidance(target, weights, 6.0, jacobian)(policy, x, t)  # type: ignore[arg-type]
        v = policy(x, t)
    error = weights * (target - (x - time * v))

    def guess(a: Tensor) -> Tensor:
        inner = policy(a, t) if jacobian == "vjp" else v  # identity: v is taken as constant
        return a - time * inner

    whole = torch.autograd.functional.jacobian(guess, x).reshape(H * A, H * A)
    if jacobian == "identity":
        torch.testing.assert_close(whole, torch.eye(H * A, dtype=torch.float64))
    pull = (error.flatten() @ whole).reshape(x.shape)
    expected = v - paper_weight(1 - time, 6.0) * pull
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert not found.requires_grad


@pytest.mark.parametrize("config", [tiny(), small()], ids=["tiny", "small"])
def test_vjp_of_the_real_network_against_its_whole_jacobian(config) -> None:
    """Weights in float64; the network hands its velocity out in float32, hence the tolerance."""
    config = config.changed({"horizon": 5, "action_dim": 4})
    model = samples.policy(config).double()
    inputs = {
        name: value.double() if value.is_floating_point() else value
        for name, value in samples.inputs(config, [[1, 1, 1]], [4]).items()
    }
    with torch.no_grad():
        cache = model.encode_state(model.encode_prefix(**inputs), inputs["state"])
    x, target = samples.chunk(config, 2).double().unsqueeze(1)
    weights = torch.tensor(rtc_math.soft_mask(5, 1, 1))[None, :, None]
    t = torch.full((1, 5), 0.6, dtype=torch.float64)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return model.velocity(cache, x, t)

    with torch.no_grad():  # as in AdaMoEPolicy.sample
        found = ChunkGuidance(target, weights, 5.0, "vjp")(velocity, x, t)
        v = velocity(x, t)
    whole = torch.autograd.functional.jacobian(lambda a: a - 0.6 * velocity(a, t), x)
    error = (weights * (target - (x - 0.6 * v))).flatten()
    pull = (error @ whole.reshape(20, 20)).reshape(x.shape)
    assert (pull - error.reshape(x.shape)).abs().max() > 1e-3  # not the identity by chance
    expected = v - paper_weight(0.4, 5.0) * pull
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("jacobian", ["identity", "vjp"])
@pytest.mark.parametrize("config", [tiny(), small()], ids=["tiny", "small"])
def test_without_weight_it_is_exactly_unguided_sampling(config, jacobian: str) -> None:
    model = samples.policy(config)
    inputs = samples.inputs(config, [[1, 1, 1]], [4])
    noise, target = samples.chunk(config, 1), samples.chunk(config, 1, seed=9)
    free = model.sample(**inputs, noise=noise).actions
    shape = (1, config.horizon, 1)
    for guidance in (
        ChunkGuidance(target, torch.zeros(shape), 5.0, jacobian),  # type: ignore[arg-type]
        ChunkGuidance(target, torch.ones(shape), 0.0, jacobian),  # type: ignore[arg-type]
    ):
        assert torch.equal(
            model.sample(**inputs, noise=noise, options=SamplingOptions(guidance=guidance)).actions,
            free,
        )


def gaussian_policy(generator: torch.Generator):
    """The exact, linear flow of chunks that are a smooth random walk: x -> velocity."""
    walk = torch.tril(torch.ones(H, H, dtype=torch.float64)) * 0.5
    covariance = walk @ walk.T
    mean = torch.randn(H, A, generator=generator, dtype=torch.float64)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        time, dtype = t[0, 0].item(), x.dtype
        signal = (1 - time) * covariance
        total = (1 - time) ** 2 * covariance + time**2 * torch.eye(H, dtype=torch.float64)
        gain = signal @ torch.linalg.inv(total)
        guess = mean + gain @ (x.double() - (1 - time) * mean)
        return ((x.double() - guess) / time).to(dtype)

    return velocity, mean


@pytest.mark.parametrize("jacobian", ["identity", "vjp"])
def test_a_linear_policy_converges_to_the_frozen_prefix(jacobian: str) -> None:
    """Frozen rows come out as given, the better the more steps; the rest goes on from there."""
    generator = torch.Generator().manual_seed(1)
    velocity, mean = gaussian_policy(generator)
    d, draws = 4, 64
    noise = torch.randn(draws, H, A, generator=generator, dtype=torch.float64)
    target = mean + 0.8
    weights = torch.tensor(rtc_math.hard_mask(H, d))[None, :, None]
    free = integrate_flow(velocity, noise, euler_times(10)) - target
    errors, after = [], []
    for steps in (5, 10, 20, 40):
        guidance = ChunkGuidance(target, weights, float(steps), jacobian)  # type: ignore[arg-type]
        options = SamplingOptions(guidance=guidance)
        found = integrate_flow(velocity, noise, euler_times(steps), options) - target
        errors.append(found[:, :d].abs().mean().item())
        after.append(found[:, d].mean().abs().item())
    assert errors[0] < 0.25 * free[:, :d].abs().mean()
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.06 * free[:, :d].abs().mean()
    # what is not frozen goes on from the prefix instead of from the free mean
    assert max(after) < free[:, d].mean().abs()


@pytest.mark.parametrize("beta", [5.0, 100.0])
def test_weights_are_the_papers(beta: float) -> None:
    times = torch.linspace(0, 1, 21, dtype=torch.float64)
    expected = [paper_weight(1 - t, beta) for t in times.tolist()]
    np.testing.assert_allclose(guidance_weight(times, beta), expected, rtol=1e-12)


def test_weights_on_given_numbers() -> None:
    times = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.8, 1.0])
    expected = [100.0, 9.111, 4.25, 2.762, 2.167, 2.0, 4.25, 100.0]
    np.testing.assert_allclose(guidance_weight(times, 100.0), expected, atol=1e-3)


def test_guide_gives_what_the_plan_asked_for() -> None:
    rows = np.random.default_rng(0).normal(size=(H, A))
    soft = condition_on(rows, rtc_math.soft_mask(H, 2, 3), 0, 8.0)
    assert soft.frozen is None
    assert soft.guidance is not None and soft.guidance.weights.shape == (1, H, 1)
    np.testing.assert_allclose(soft.guidance.target[0], rows, rtol=1e-6)
    hard = condition_on(rows, None, 3, 8.0)
    assert hard.guidance is None
    assert hard.frozen is not None and hard.frozen.mask.tolist() == [[True] * 3 + [False] * 5]


@pytest.mark.parametrize("jacobian", ["identity", "vjp"])
def test_a_batch_is_conditioned_as_each_alone(jacobian: str) -> None:
    config = tiny()
    model = samples.policy(config)
    rng = np.random.default_rng(0)
    shape = (config.horizon, config.action_dim)
    weights = rtc_math.soft_mask(config.horizon, 1, 2)
    parts = [
        FREE,
        condition_on(rng.normal(size=shape), weights, 0, 5.0, jacobian),
        condition_on(rng.normal(size=shape), None, 2, 5.0, jacobian),
        condition_on(rng.normal(size=shape), weights, 0, 5.0, jacobian),
    ]
    inputs = samples.inputs(config, [[1, 1, 1]] * 4, [4] * 4)
    noise = samples.chunk(config, 4)

    def sample(part, chosen: slice):
        own = {name: value[chosen] for name, value in inputs.items()}
        return model.sample(**own, noise=noise[chosen], options=part).actions

    together = sample(stack_options(parts), slice(None))
    for number, part in enumerate(parts):
        alone = sample(part, slice(number, number + 1))
        torch.testing.assert_close(together[number : number + 1], alone, rtol=0, atol=1e-4)
    assert stack_options([FREE, FREE]) == FREE
