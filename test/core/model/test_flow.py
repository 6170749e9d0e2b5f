# SPDX-License-Identifier: Apache-2.0
"""Time embedding, training pair and integrator."""

from __future__ import annotations

import pytest
import torch

from adamoe_ros.model.conditioning import ChunkGuidance, FrozenRows, SamplingOptions
from adamoe_ros.model.flow import euler_times, integrate_flow, noisy_actions, time_embedding


@pytest.mark.parametrize(
    ("time", "sines", "cosines"),
    [
        (0.5, [0, 0, 1, 0.70711], [1, -1, 0, 0.70711]),
        (0.1, [0, 0, 1, 0.15643], [1, -1, 0, 0.98769]),
    ],
)
def test_time_embedding_golden(time, sines, cosines):
    """In float32 the angle at t = 0.5 is 785.4, which holds no more than 6e-5 rad."""
    found = time_embedding(torch.tensor([time]), 8)[0]
    torch.testing.assert_close(found, torch.tensor([*sines, *cosines]).float(), rtol=0, atol=4e-5)


def test_integration_is_exact_for_a_straight_field():
    generator = torch.Generator().manual_seed(0)
    data, noise = torch.randn(2, 3, 5, 4, generator=generator)
    seen = []

    def velocity(x, t):
        seen.append(t[0, 0].item())
        return noise - data

    found = integrate_flow(velocity, noise, euler_times(10))
    torch.testing.assert_close(found, data, rtol=0, atol=1e-6)
    assert seen == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_frozen_rows_stay_at_their_values_with_time_zero():
    noise, actions = torch.randn(1, 4, 2), torch.full((1, 4, 2), 7.0)
    mask = torch.tensor([[True, True, False, False]])

    def velocity(x, t):
        assert (x[mask] == 7).all()
        assert (t[mask] == 0).all()
        assert (t[~mask] > 0).all()
        return torch.ones_like(x)

    found = integrate_flow(
        velocity, noise, euler_times(5), SamplingOptions(frozen=FrozenRows(actions, mask))
    )
    assert (found[mask] == 7).all()
    torch.testing.assert_close(found[~mask], noise[~mask] - 1)


def test_guidance_pulls_to_the_target_where_it_has_weight():
    noise, target = torch.randn(1, 4, 2), torch.full((1, 4, 2), 3.0)
    weights = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 4, 1)
    options = SamplingOptions(guidance=ChunkGuidance(target, weights, 4.0))
    found = integrate_flow(lambda x, t: torch.zeros_like(x), noise, euler_times(4), options)
    assert torch.equal(found[:, 2:], noise[:, 2:])
    assert (found[:, :2] - 3.0).abs().max() < 0.3 * (noise[:, :2] - 3.0).abs().max()


def test_no_steps_is_our_bug():
    with pytest.raises(ValueError, match="at least 1"):
        integrate_flow(lambda x, t: x, torch.zeros(1, 1, 1), euler_times(0))


def test_training_pair_with_a_time_per_row():
    actions, noise = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    x_t, target = noisy_actions(actions, noise, torch.tensor([[0.0, 0.25]]))
    assert x_t[0, :, 0].tolist() == [0.0, 0.25]
    assert (target == 1).all()
