# SPDX-License-Identifier: Apache-2.0
"""Products, router, mixture forms and 8-bit weights against the eager layer."""

from __future__ import annotations

import engine_cases
import pytest
import torch
from torch.nn import functional as F

from adamoe_ros.model.moe import FeedForward, MoEFeedForward
from adamoe_ros.policy.engines import linears, weight_forms
from adamoe_ros.policy.engines.attention import Heads, attend, attend_heads
from adamoe_ros.policy.engines.feed_forward import ChunkedGated
from adamoe_ros.policy.engines.routing import make_router, ranks
from adamoe_ros.policy.engines.weight_forms import WeightForms

FORMS = ("sparse", "wide", "grouped")


@pytest.fixture(autouse=True)
def _small_weights_are_packed(monkeypatch):
    monkeypatch.setattr(linears, "_WORTH_PACKING", 0)
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def layer_of(name: str) -> MoEFeedForward:
    return engine_cases.network(engine_cases.CONFIGS[name]()).expert.layers[0].ffn


def dense_layer(width: int, hidden: int) -> FeedForward:
    layer = FeedForward(width, hidden)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return layer


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["k=1", "k=2", "k=E", "csmoe k=2", "vanilla"])
def test_every_form_is_the_layer(name, packed, form):
    layer = layer_of(name)
    for rows in (1, 6, 50):
        x, residual = torch.randn(rows, 24), torch.randn(rows, 24)
        wanted = residual + layer(x.unsqueeze(0))[0]
        mixture = WeightForms(packed=packed, mixture=form).mixture_of(layer, rows)
        trace = []
        assert engine_cases.relative(mixture(x, residual.clone(), trace), wanted) < 1e-6
        assert torch.equal(trace[0].selected, layer.route(x).selected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("favoured", [True, False], ids=["all on one", "one without"])
def test_skewed_routing(form, favoured):
    layer = layer_of("k=1")
    layer.router.weight[2] = 0
    layer.router.weight[2, 0] = 50.0 if favoured else -50.0
    x, residual = torch.rand(9, 24) + 1, torch.zeros(9, 24)
    chosen = layer.route(x).selected
    assert (chosen == 2).all() if favoured else (chosen != 2).all()
    found = WeightForms(mixture=form).mixture_of(layer, 9)(x, residual.clone(), None)
    assert engine_cases.relative(found, layer(x.unsqueeze(0))[0]) < 1e-6


def test_ties_go_to_the_lower_number():
    probabilities = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.1, 0.4]])
    assert ranks(probabilities).tolist() == [[0, 1, 2, 3], [2, 0, 3, 1]]
    order = probabilities.sort(dim=-1, descending=True, stable=True).indices
    assert torch.equal(ranks(probabilities).argsort(1), order)
    assert torch.equal(probabilities.argmax(1), order[:, 0])  # what one choice relies on


def test_router_in_bfloat16_replays_the_eager_one():
    config = engine_cases.CONFIGS["k=2"]().changed({"moe.router_dtype": "bfloat16"})
    layer = engine_cases.network(config).expert.layers[0].ffn
    x = torch.randn(50, 24)
    found, wanted = make_router(layer)(x)[0], layer.route(x)
    assert found.logits.dtype == torch.bfloat16
    assert (found.selected == wanted.selected).float().mean() > 0.95  # near-ties may flip


@pytest.mark.parametrize("hidden", [24, 50, 64, 7])
def test_chunks_add_up_to_the_layer(hidden):
    layer = dense_layer(24, hidden)
    x, residual = torch.randn(9, 24), torch.randn(9, 24)
    before = residual.clone()
    chunked = ChunkedGated.of(layer.gate.weight, layer.up.weight, layer.down.weight, wanted=16)
    assert sum(len(gate) for gate, _, _ in chunked.parts) == hidden
    assert engine_cases.relative(chunked(x, residual), residual + layer(x)) < 1e-6
    assert torch.equal(residual, before)  # a block's input is not its layer's to change


@pytest.mark.parametrize(
    ("rows", "dtype", "home", "chunked"),
    [
        (300, torch.float32, True, True),
        (300, torch.float32, False, False),
        (300, torch.bfloat16, True, False),
        (51, torch.float32, True, False),
    ],
)
def test_a_wide_dense_layer_is_chunked_where_mkl_is_fast(monkeypatch, rows, dtype, home, chunked):
    monkeypatch.setattr(weight_forms, "mkl_is_at_home", lambda: home)
    layer = dense_layer(8, 4096).to(dtype)
    made = WeightForms(packed=True).mixture_of(layer, rows)
    assert isinstance(made.layer, ChunkedGated) == chunked
    x, residual = torch.randn(rows, 8).to(dtype), torch.randn(rows, 8).to(dtype)
    close = 1e-6 if dtype == torch.float32 else 2e-2
    assert engine_cases.relative(made(x, residual, None), residual + layer(x)) < close


@pytest.mark.parametrize("rows", [1, 6, 7, 12, 17])
def test_mkl_products_of_any_number_of_rows(rows):
    """Laid out for six: fewer are filled up, more are cut."""
    if not torch.backends.mkl.is_available():
        pytest.skip("a torch without MKL")
    weight, bias = torch.randn(20, 16), torch.randn(20)
    x, other = torch.randn(rows, 16), torch.randn(rows, 20)
    before = other.clone()
    made, plain = linears.MklLinear(weight, bias, 6), linears.PlainLinear(weight, bias)
    for found, wanted in (
        (made(x), plain(x)),
        (made(x.unsqueeze(0)), plain(x.unsqueeze(0))),
        (made.gelu(x), plain.gelu(x)),
        (made.plus(x, other), plain.plus(x, other)),
    ):
        assert found.shape == wanted.shape and engine_cases.relative(found, wanted) < 1e-6
    assert torch.equal(other, before)


@pytest.mark.parametrize(
    ("rows", "fixed", "dtype", "mkl"),
    [
        (50, True, torch.float32, True),
        (50, False, torch.float32, False),
        (50, True, torch.bfloat16, False),
        (1, True, torch.float32, False),
        (800, True, torch.float32, False),
    ],
)
def test_where_mkl_packs(monkeypatch, rows, fixed, dtype, mkl):
    monkeypatch.setattr(linears, "mkl_packing_works", lambda: True)
    made = []
    monkeypatch.setattr(linears, "MklLinear", lambda *a: made.append(a) or "mkl")
    linears.packed_linear(torch.randn(16, 16).to(dtype), None, rows, fixed)
    assert bool(made) == mkl


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_products_run_here(dtype):
    """The guard must not hide that the fast path is off on the machines that tests run on."""
    assert linears.packing_works(dtype)
    assert linears.mkl_packing_works() == linears.mkl_is_at_home()
    weight, bias = torch.randn(512, 256).to(dtype), torch.randn(512).to(dtype)
    x, other = torch.randn(2, 7, 256).to(dtype), torch.randn(2, 7, 512).to(dtype)
    packed, plain = linears.packed_linear(weight, bias, 50), linears.PlainLinear(weight, bias)
    assert isinstance(packed, linears.PackedLinear)
    close = 1e-5 if dtype == torch.float32 else 2e-2
    for found, wanted in (
        (packed(x), plain(x)),
        (packed.gelu(x), plain.gelu(x)),
        (packed.plus(x, other), plain.plus(x, other)),
    ):
        assert found.shape == wanted.shape
        assert engine_cases.relative(found, wanted) < close


@pytest.mark.parametrize("how", ["missing", "raises", "wrong numbers"])
def test_without_private_operators_the_plain_product_stands_in(monkeypatch, how):
    class Broken(linears.PackedLinear):
        def __init__(self, weight, bias, rows):
            if how == "missing":
                raise AttributeError("no operator mkldnn::_reorder_linear_weight")
            super().__init__(weight, bias, rows)

        def _run(self, x, follower, form):
            if how == "raises":
                raise RuntimeError("could not create a primitive")
            return super()._run(x, follower, form) + 1

    linears.packing_works.cache_clear()
    monkeypatch.setattr(linears, "PackedLinear", Broken)
    try:
        assert not linears.packing_works(torch.float32)
        layer, x = layer_of("k=1"), torch.randn(6, 24)
        mixture = WeightForms(packed=True, mixture="sparse").mixture_of(layer, 6)
        found = mixture(x, torch.zeros(6, 24), None)
        assert engine_cases.relative(found, layer(x.unsqueeze(0))[0]) < 1e-6
        assert isinstance(mixture.shared.gate, linears.PlainLinear)
    finally:
        linears.packing_works.cache_clear()


def test_packing_is_refused_for_types_without_it():
    assert not linears.packing_works(torch.float16)


def test_attention_by_products_is_attention():
    query, keys = torch.randn(2, 2, 12, 8), torch.randn(2, 2, 9, 8)
    values, mask = torch.randn(2, 2, 9, 8), torch.zeros(2, 1, 1, 9)
    mask[0, ..., 7:] = torch.finfo(torch.bfloat16).min
    for given in (mask, mask[1:], None):
        wanted = F.scaled_dot_product_attention(query, keys, values, attn_mask=given)
        lowered = [t.bfloat16() for t in (query, keys, values)]
        found = attend(*lowered, None if given is None else given.bfloat16())
        assert engine_cases.relative(found, wanted) < 2e-2
    assert torch.equal(
        attend(query, keys, values, mask),
        F.scaled_dot_product_attention(query, keys, values, attn_mask=mask),
    )


def test_attention_of_pictures_is_attention():
    mixed = torch.randn(2, 9, 3, 4, 12).permute(2, 0, 3, 1, 4)  # a view, as the joint product's
    wanted = F.scaled_dot_product_attention(*mixed).transpose(1, 2)
    assert torch.equal(attend_heads(*mixed), wanted)
    assert engine_cases.relative(attend_heads(*mixed.bfloat16()), wanted) < 2e-2


@pytest.mark.parametrize("queries", [0, 4])
def test_paired_heads_give_the_same_scores(queries):
    """Rows in the other order, rotated as complex numbers: queries and keys agree as before."""
    plain = Heads(2, 2, 8)
    paired = plain._replace(paired=True)
    weights = [torch.randn(n * 8, 24) for n in (queries, 2, 2) if n]
    x, positions = torch.randn(3, 5, 24), torch.arange(15).view(3, 5)
    found = []
    for heads in (plain, paired):
        rows = torch.cat([*map(heads.laid, weights[:-1]), weights[-1]])
        found.append(heads.split(F.linear(x, rows), heads.table(positions)))
    (q0, k0, v0), (q1, k1, v1) = found
    assert q0.shape == q1.shape == (3, 2, queries // 2 * 5, 8)
    torch.testing.assert_close(q1 @ k1.mT, q0 @ k0.mT, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(k1.square().sum(-1), k0.square().sum(-1))
    assert torch.equal(v0, v1) and not torch.allclose(k0, k1)


def test_eight_bits_keep_half_a_level():
    weight = torch.randn(3, 40, 32)
    levels, scale = linears.quantise(weight)
    assert levels.dtype == torch.int8 and levels.abs().max() == 127
    gap = (levels.float() * scale.unsqueeze(-1) - weight).abs()
    assert (gap <= 0.5001 * scale.unsqueeze(-1)).all()
    assert not linears.quantise(torch.zeros(4, 4))[0].any()


@pytest.mark.parametrize("form", ["sparse", "wide"])
def test_eight_bit_layer_is_near(form):
    layer = layer_of("k=2")
    x, residual = torch.randn(50, 24), torch.randn(50, 24)
    wanted = residual + layer(x.unsqueeze(0))[0]
    found = WeightForms(mixture=form, int8=True).mixture_of(layer, 50)(x, residual.clone(), None)
    assert 1e-5 < engine_cases.relative(found, wanted) < 0.03
