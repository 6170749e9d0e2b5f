# SPDX-License-Identifier: Apache-2.0
"""Golden values of the MoE layer, computed once with the authors' JAX code in float32."""

from __future__ import annotations

import pytest
import torch

from adamoe_ros.model.config import MoEConfig
from adamoe_ros.model.moe import MoEFeedForward
from adamoe_ros.model.router_losses import moe_statistics

D, HIDDEN, E, TOKENS = 8, 12, 4, 5


def wave(shape: tuple[int, ...], a: float, b: float, c: float) -> torch.Tensor:
    """c sin(a i + b) over the row-major flat index i."""
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (c * torch.sin(a * i + b)).float().view(shape)


def layer(variant: str, top_k: int) -> MoEFeedForward:
    moe = MoEFeedForward(D, HIDDEN, MoEConfig(variant, E, top_k))
    hidden = wave((2, E, D, HIDDEN), 0.9, 0.5, 0.5)
    weights = {
        "router.weight": wave((D, E), 1.3, 0.1, 0.6).T,
        "experts.gate": hidden[0].mT,
        "experts.up": hidden[1].mT,
        "experts.down": wave((E, HIDDEN, D), 1.1, 0.2, 0.5).mT,
    }
    if variant != "vanilla":
        seen = D + (E if variant == "csmoe" else 0)
        weights["scale_adapter.weight"] = wave((seen, E), 0.37, 0.9, 0.4).T
    found = moe.load_state_dict(weights, strict=False)
    assert all(name.startswith("shared.") for name in found.missing_keys)
    assert not found.unexpected_keys
    return moe


X = wave((TOKENS, D), 0.7, 0.3, 1.0)
GOLDEN = {
    "adamoe k=1": (
        layer("adamoe", 1), [[3], [3], [0], [0], [0]],
        [-.000920, .018449, .017657, -.002431, -.019862, -.015588, .005721, .020778],
        [.000475, .005770, .004759, -.001453, -.006076, -.004060, .002393, .006231],
        (.0284045, .5476359),
    ),
    "adamoe k=2": (
        layer("adamoe", 2), [[3, 2], [3, 0], [0, 3], [0, 1], [0, 1]],
        [-.010120, .010438, .019590, .007333, -.012937, -.019070, -.004363, .015112],
        [.007759, .011403, .002586, -.009057, -.010803, -.000743, .010129, .009932],
        (-.0289467, .8194351),
    ),
    "csmoe k=2": (
        layer("csmoe", 2), [[3, 2], [3, 0], [0, 3], [0, 1], [0, 1]],
        [-.007842, -.000539, .007353, .007210, -.000813, -.007947, -.006397, .002144],
        [.007256, .009346, .001222, -.008237, -.008695, .000349, .009012, .007826],
        (-.0325769, .4699202),
    ),
}  # fmt: skip
LOSSES = {"adamoe k=1": (0.10058025, 0.52), "adamoe k=2": (0.15767986, 1.2)}


@torch.no_grad()
@pytest.mark.parametrize("static", [False, True], ids=["sparse", "static"])
@pytest.mark.parametrize("name", GOLDEN)
def test_routed_output(name: str, static: bool):
    moe, selected, first, last, (total, absolute) = GOLDEN[name]
    moe.static_shapes = static
    trace = []
    out = moe.routed(X, trace)
    assert trace[0].selected.tolist() == selected
    torch.testing.assert_close(out[0], torch.tensor(first), rtol=0, atol=6e-7)
    torch.testing.assert_close(out[4], torch.tensor(last), rtol=0, atol=6e-7)
    assert out.sum().item() == pytest.approx(total, abs=1e-6)
    assert out.abs().sum().item() == pytest.approx(absolute, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_auxiliary_losses(name: str):
    moe, selected, *_ = GOLDEN[name]
    statistics = moe_statistics([moe.route(X)])
    balance, squares = LOSSES[name]
    assert statistics.load_balancing.item() == pytest.approx(balance, abs=5e-8)
    assert statistics.load_balancing_switch.item() == pytest.approx(balance * E * E, rel=1e-6)
    assert statistics.activation_square_sum.item() == pytest.approx(squares, abs=1e-6)
    assert statistics.z_loss.item() * 1e-4 == pytest.approx(0.00028397, abs=5e-9)
    chosen = [e for row in selected for e in row]
    assert statistics.selection_counts[0].tolist() == [chosen.count(e) for e in range(E)]


def test_load_balancing_gradient_flows_through_probabilities_only():
    moe = layer("adamoe", 1)
    moe_statistics([moe.route(X)]).load_balancing.sum().backward()
    assert moe.router.weight.grad.abs().max() > 0
    assert moe.scale_adapter.weight.grad is None


def test_vanilla_weighs_by_probability():
    moe = layer("vanilla", 2)
    routing = moe.route(X)
    expected = routing.probabilities.gather(1, routing.selected)
    torch.testing.assert_close(routing.scales, expected, rtol=0, atol=0)


def test_mean_scale_counts_selected_tokens_only():
    moe = layer("adamoe", 1)
    routing = moe.route(X)
    scales = moe_statistics([routing]).mean_scale[0]
    torch.testing.assert_close(scales[3], routing.scales[:2].mean())
    assert scales[1].item() == 0


def test_bfloat16_router_breaks_ties_towards_the_lower_expert():
    moe = MoEFeedForward(D, HIDDEN, MoEConfig("adamoe", E, 2, router_dtype="bfloat16"))
    torch.nn.init.zeros_(moe.router.weight)
    routing = moe.route(X)
    assert routing.logits.dtype == torch.bfloat16
    assert routing.selected.tolist() == [[0, 1]] * TOKENS
