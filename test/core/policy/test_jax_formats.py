# SPDX-License-Identifier: Apache-2.0
"""openpi's and AdaMoE's JAX checkpoints: the authors' numbers, and every way Orbax stores them."""

from __future__ import annotations

from pathlib import Path

import foreign
import ml_dtypes
import numpy as np
import official
import pytest
import torch

from adamoe_ros.cli.main import main
from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.checkpoint_formats.openpi_jax import adamoe_rules, dense_rules
from adamoe_ros.policy.checkpoint_formats.orbax_source import open_orbax
from adamoe_ros.policy.checkpoint_formats.rules import assembled, vote, wanted_shape
from adamoe_ros.policy.checkpoint_formats.sources import open_safetensors

CASES = {"official_dense": "openpi-jax", "official_adamoe_k1": "adamoe-jax"}
OPTIONS = ["--horizon", "6", "--prompt-length", "10"]


def convert(layout: str, source: Path, out: Path, *options: str) -> int:
    chosen = ["--top-k", "1"] if layout == "adamoe-jax" else []
    return main(["convert", "--from", layout, str(source), str(out), *OPTIONS, *chosen, *options])


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = open_safetensors(folder)
    return {name: found[name].read() for name in sorted(found)}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(values, second[name]) for name, values in first.items())


@pytest.fixture(scope="module", params=CASES)
def converted(request, tmp_path_factory) -> tuple[dict[str, np.ndarray], AdaMoEPolicy, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    weights, data = foreign.official(request.param)
    source = foreign.write_npz(folder / "weights.npz", weights)
    assert convert(CASES[request.param], source, folder / "ours") == 0
    return data, read_checkpoint(folder / "ours").load_network(), folder / "ours"


def test_the_authors_samples(converted) -> None:
    data, model, _ = converted
    noise = torch.from_numpy(data["noise_sample"])
    sample = model.sample(**official.inputs(data), noise=noise, options=SamplingOptions(10))
    np.testing.assert_allclose(sample.actions.numpy(), data["sample"], rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_authors_loss_and_router_statistics(converted) -> None:
    data, model, _ = converted
    given = {
        name: torch.from_numpy(data[key])
        for name, key in (("actions", "actions"), ("noise", "noise_train"), ("time", "time"))
    }
    loss = model.loss(**official.inputs(data), **given)
    np.testing.assert_allclose(loss.rows.numpy(), data["loss"], rtol=0, atol=1e-5)
    if model.config.moe.variant == "dense":
        return
    found = {
        "info/load_balancing_loss": loss.moe.load_balancing.mean(),
        "info/z_loss": loss.moe.z_loss.mean() * 1e-4,
        "info/activation_square_sum": loss.moe.activation_square_sum.mean(),
    }
    for key, value in found.items():
        assert value.item() == pytest.approx(float(data[key]), rel=2e-6), key


def test_without_facts_it_is_raw_only(converted) -> None:
    checkpoint = read_checkpoint(converted[2])
    manifest = checkpoint.manifest
    assert manifest.raw_only and checkpoint.statistics is None
    assert manifest.adapt_to_pi is manifest.gripper is manifest.tokenizer is None
    assert manifest.joints == () and manifest.control_rate_hz is None
    for fact in ("statistics", "tokenizer", "adapt_to_pi", "relative", "control_rate_hz"):
        assert fact in manifest.provenance.notes


FORMS = {
    "ocdbt": {},
    "ocdbt of a training run": {"value": True},
    "ocdbt of three processes": {"processes": 3, "value": True},
    "ocdbt in pieces": {"split": 2},
    "ocdbt in uneven pieces": {"split": 3},
    "ocdbt without compression": {"packed": False, "split": 2},
    "folders": {"ocdbt": False},
    "folders of a training run": {"ocdbt": False, "value": True, "split": 2},
    "zarr 3": {"driver": "zarr3"},
    "zarr 3 in folders": {"driver": "zarr3", "ocdbt": False, "split": 2},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_orbax_gives_the_same_bits(form: str, tmp_path: Path, converted_moe) -> None:
    weights, expected = converted_moe
    foreign.write_orbax(tmp_path / "source/params", weights, **FORMS[form])
    assert convert("adamoe-jax", tmp_path / "source", tmp_path / "ours") == 0
    assert_same(tensors(tmp_path / "ours"), expected)


@pytest.fixture(scope="module")
def converted_moe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moe")
    weights, _ = foreign.official("official_adamoe_k1")
    small = dict(weights)
    assert convert("adamoe-jax", foreign.write_npz(folder / "w.npz", small), folder / "ours") == 0
    return small, tensors(folder / "ours")


@pytest.mark.parametrize("name", CASES)
def test_back_to_jax_is_bit_exact(name: str, tmp_path: Path) -> None:
    weights, _ = foreign.official(name)
    source = foreign.write_npz(tmp_path / "w.npz", weights)
    assert convert(CASES[name], source, tmp_path / "ours") == 0
    ours = tensors(tmp_path / "ours")
    rules = adamoe_rules(adapter=True) if CASES[name] == "adamoe-jax" else dense_rules()
    sizes = vote(rules, {name: array.shape for name, array in weights.items()})
    assert {rule.source for rule in rules} == set(weights)
    for rule in rules:
        back = assembled(rule, ours, sizes, torch.float32)
        assert np.array_equal(back.numpy(), weights[rule.source]), rule.source


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("ocdbt", [True, False])
def test_half_precision_keeps_its_bits(dtype, ocdbt: bool, tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(dtype)
    for packed in (True, False):
        folder = tmp_path / str(packed)
        foreign.write_orbax(folder, {"a/b": array}, ocdbt=ocdbt, packed=packed, split=2)
        tensor = open_orbax(folder)["a/b"]
        for values in (tensor.read(), torch.stack(list(tensor.slabs()))):
            assert np.array_equal(values.view(torch.int16).numpy(), array.view(np.int16))


def test_bfloat16_in_an_npz(tmp_path: Path) -> None:
    weights, _ = foreign.official("official_dense")
    rounded = {name: array.astype(ml_dtypes.bfloat16) for name, array in weights.items()}
    assert (
        convert("openpi-jax", foreign.write_npz(tmp_path / "w.npz", rounded), tmp_path / "a") == 0
    )
    source = foreign.write_npz(tmp_path / "f.npz", weights)
    assert convert("openpi-jax", source, tmp_path / "b", "--dtype", "bfloat16") == 0
    assert_same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))


@pytest.mark.parametrize("variant", ["csmoe", "vanilla"])
def test_the_variant_shows_in_the_shapes(variant: str, tmp_path: Path) -> None:
    weights, _ = foreign.official("official_adamoe_k1")
    name = "PaliGemma/llm/layers/moe_ffn_1/w_gating_scale"
    scale = weights.pop(name)
    if variant == "csmoe":
        extra = np.ones((scale.shape[0], 4, 4), np.float32)
        weights[name] = np.concatenate([scale, extra], 1)
    source = foreign.write_npz(tmp_path / "w.npz", weights)
    assert convert("adamoe-jax", source, tmp_path / "ours", "--router-dtype", "bfloat16") == 0
    moe = read_checkpoint(tmp_path / "ours").config.moe
    assert (moe.variant, moe.num_experts, moe.router_dtype) == (variant, 4, "bfloat16")
    read_checkpoint(tmp_path / "ours").load_network()


def test_names_and_shapes_at_full_size() -> None:
    """Of the reference's table."""
    sizes = {
        "patch": 14, "tokens": 256, "vision": 1152, "vision_layers": 27, "vision_heads": 16,
        "vision_head": 72, "vision_mlp": 4304, "prefix": 2048, "layers": 18, "heads": 8,
        "head": 256, "kv_heads": 1, "prefix_mlp": 16384, "expert": 1024, "expert_mlp": 4096,
        "vocab": 257152, "state": 32, "action": 32, "experts": 4, "seen": 1024,
    }  # fmt: skip
    shapes = {rule.source: wanted_shape(rule, sizes) for rule in adamoe_rules(adapter=True)}
    dense = {rule.source for rule in dense_rules()}
    assert len(shapes) - len(dense) == 4
    total = sum(torch.Size(shapes[name]).numel() for name in dense)
    assert total == 3_238_048_528
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 4_144_165_648
    img, llm = "PaliGemma/img", "PaliGemma/llm/layers"
    block = f"{img}/Transformer/encoderblock"
    attention = f"{block}/MultiHeadDotProductAttention_0"
    expected = {
        f"{img}/embedding/kernel": (14, 14, 3, 1152),
        f"{img}/pos_embedding": (1, 256, 1152),
        f"{block}/LayerNorm_1/bias": (27, 1152),
        f"{attention}/query/kernel": (27, 1152, 16, 72),
        f"{attention}/value/bias": (27, 16, 72),
        f"{attention}/out/kernel": (27, 16, 72, 1152),
        f"{block}/MlpBlock_0/Dense_0/kernel": (27, 1152, 4304),
        f"{img}/head/kernel": (1152, 2048),
        "PaliGemma/llm/embedder/input_embedding": (257152, 2048),
        f"{llm}/attn/q_einsum_1/w": (18, 8, 1024, 256),
        f"{llm}/attn/kv_einsum/w": (18, 2, 1, 2048, 256),
        f"{llm}/attn/attn_vec_einsum/w": (18, 8, 256, 2048),
        f"{llm}/mlp/gating_einsum": (18, 2, 2048, 16384),
        f"{llm}/mlp_1/linear": (18, 4096, 1024),
        f"{llm}/pre_ffw_norm_1/scale": (18, 1024),
        "PaliGemma/llm/final_norm/scale": (2048,),
        "action_time_mlp_in/kernel": (2048, 1024),
        f"{llm}/moe_ffn_1/w_gating": (18, 1024, 4),
        f"{llm}/moe_ffn_1/w_gating_scale": (18, 1024, 4),
        f"{llm}/moe_ffn_1/w_expert_hidden": (18, 2, 4, 1024, 4096),
        f"{llm}/moe_ffn_1/w_expert_output": (18, 4, 4096, 1024),
    }
    assert {name: shapes[name] for name in expected} == expected
