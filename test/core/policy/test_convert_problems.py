# SPDX-License-Identifier: Apache-2.0
"""What does not fit is named, all at once, with exit code 2, and nothing is written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import foreign
import numpy as np
import policy_support as support
import pytest
import samples
import torch
from safetensors.torch import load_file, save_file
from test_torch_formats import FACTS, assert_weights, convert, dense

from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.runtime import PolicyRuntime

JAX = ["--horizon", 6, "--prompt-length", 10]
LLM = "PaliGemma/llm"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """Lines of the error, which say what to do."""

    def read() -> list[str]:
        lines = capsys.readouterr().err.splitlines()
        assert all(": expected " in line and "; " in line for line in lines), lines
        return lines

    return read


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return foreign.official("official_dense")[0]


@pytest.fixture
def openpi(tmp_path: Path) -> Path:
    """A PyTorch checkpoint of 14 joints with statistics and tokenizer."""
    model = samples.policy(replace(dense(), action_dim=16, state_dim=16))
    ours = support.write_dense(tmp_path / "ours", model, prompt_style="openpi")
    assert convert("--to", "openpi-torch", ours, tmp_path / "theirs") == 0
    assets = tmp_path / "theirs/assets/trossen"
    assets.mkdir(parents=True)
    (assets / "norm_stats.json").write_bytes((ours / "norm_stats.json").read_bytes())
    return tmp_path / "theirs"


def nothing_written(folder: Path) -> bool:
    return not [path.name for path in folder.iterdir() if "out" in path.name]


def test_every_kind_of_tensor_problem_at_once(tmp_path: Path, weights, said) -> None:
    del weights["state_proj/bias"]
    weights["PaliGemma/llm/layers/attn/lora_a"] = np.zeros(3, np.float32)
    swapped = [f"{LLM}/layers/mlp/gating_einsum", f"{LLM}/layers/mlp/linear"]
    first, second = (weights[name] for name in swapped)
    weights[swapped[0]], weights[swapped[1]] = second, first
    weights["action_out_proj/kernel"][3, 4] = np.nan
    weights[f"{LLM}/layers/mlp_1/linear"][2, 5, 6] = -np.inf
    weights["action_in_proj/bias"] = weights["action_in_proj/bias"].astype(np.int64)
    source = foreign.write_npz(tmp_path / "w.npz", weights)
    assert convert("--from", "openpi-jax", source, tmp_path / "out", *JAX) == 2
    lines = said()
    for name, word in (
        ("state_proj/bias", "none"),
        ("attn/lora_a", "no such tensor"),
        (swapped[0], "another tensor"),
        (swapped[1], "another tensor"),
        ("action_out_proj/kernel", "NaN"),
        ("mlp_1/linear", "NaN or inf"),
        ("action_in_proj/bias", "int64"),
    ):
        assert sum(name in line and word in line for line in lines) == 1, name
    assert len(lines) == 7
    assert nothing_written(tmp_path)


def test_a_nan_alone_is_found_while_copying(tmp_path: Path, weights, said) -> None:
    weights[f"{LLM}/layers/mlp_1/linear"][3, 5, 6] = np.nan
    weights["PaliGemma/llm/final_norm/scale"][0] = np.inf
    foreign.write_orbax(tmp_path / "params", weights)
    assert convert("--from", "openpi-jax", tmp_path, tmp_path / "out", *JAX) == 2
    lines = said()
    assert len(lines) == 2
    assert any("mlp_1/linear" in line for line in lines)
    assert any("final_norm/scale" in line for line in lines)
    assert nothing_written(tmp_path)


def test_a_value_too_large_for_the_dtype_is_found(tmp_path: Path, weights, said) -> None:
    weights["state_proj/kernel"][0, 0] = 1e6
    source = foreign.write_npz(tmp_path / "w.npz", weights)
    arguments = ["--from", "openpi-jax", source, tmp_path / "out", *JAX]
    assert convert(*arguments, "--dtype", "float16") == 2
    assert "state_proj/kernel" in said()[0]
    assert nothing_written(tmp_path)
    assert convert(*arguments, "--dtype", "bfloat16") == 0


@pytest.mark.parametrize("share", [0.0001, 0.5, 0.999])
def test_a_truncated_safetensors_file(share: float, openpi: Path, tmp_path: Path, said) -> None:
    path = openpi / "model.safetensors"
    os.truncate(path, int(path.stat().st_size * share))
    assert convert("--from", "openpi-torch", openpi, tmp_path / "out") == 2
    assert len(said()) == 1
    assert nothing_written(tmp_path)


@pytest.mark.parametrize("share", [0.3, 0.9999])
def test_a_truncated_npz(share: float, weights, tmp_path: Path, said) -> None:
    source = foreign.write_npz(tmp_path / "w.npz", weights)
    os.truncate(source, int(source.stat().st_size * share))
    assert convert("--from", "openpi-jax", source, tmp_path / "out", *JAX) == 2
    assert len(said()) == 1
    assert nothing_written(tmp_path)


@pytest.mark.parametrize("ocdbt", [True, False])
def test_a_truncated_orbax_folder(ocdbt: bool, weights, tmp_path: Path, said) -> None:
    params = foreign.write_orbax(tmp_path / "params", weights, ocdbt=ocdbt)
    files = [path for path in params.rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    assert convert("--from", "openpi-jax", tmp_path, tmp_path / "out", *JAX) == 2
    lines = said()
    assert lines and all("params" in line for line in lines)
    assert nothing_written(tmp_path)


def test_a_missing_chunk(weights, tmp_path: Path, said) -> None:
    params = foreign.write_orbax(tmp_path / "params", weights, ocdbt=False)
    (params / "params.PaliGemma.llm.layers.mlp.linear/0.0.0").unlink()
    (params / "params.PaliGemma.llm.final_norm.scale/0").unlink()
    assert convert("--from", "openpi-jax", tmp_path, tmp_path / "out", *JAX) == 2
    assert len(said()) == 2
    assert nothing_written(tmp_path)


def test_a_wrong_layout_name(openpi: Path, weights, tmp_path: Path, said) -> None:
    source = foreign.write_npz(tmp_path / "w.npz", weights)
    out = tmp_path / "out"
    for layout, place in (
        ("openpi-torch", source),
        ("openpi-jax", openpi),
        ("lerobot", openpi),
        ("transformers", openpi),
        ("transformers", tmp_path / "nowhere"),
    ):
        assert convert("--from", layout, place, out, *JAX) == 2
        assert len(said()) == 1
    assert nothing_written(tmp_path)


def test_dense_weights_are_no_mixture(weights, tmp_path: Path, said) -> None:
    source = foreign.write_npz(tmp_path / "w.npz", weights)
    assert convert("--from", "adamoe-jax", source, tmp_path / "out", *JAX, "--top-k", 1) == 2
    assert sum("moe_ffn_1" in line for line in said()) == 3
    weights = foreign.official("official_adamoe_k1")[0]
    source = foreign.write_npz(tmp_path / "m.npz", weights)
    assert convert("--from", "openpi-jax", source, tmp_path / "out", *JAX) == 2
    assert sum("moe_ffn_1" in line for line in said()) == 4
    assert nothing_written(tmp_path)


def test_what_no_tensor_tells_must_be_given(weights, tmp_path: Path, said) -> None:
    weights = foreign.official("official_adamoe_k1")[0]
    source = foreign.write_npz(tmp_path / "w.npz", weights)
    assert convert("--from", "adamoe-jax", source, tmp_path / "out") == 2
    lines = said()
    assert len(lines) == 2
    assert "--horizon" in lines[0] and "--top-k" in lines[1]
    assert nothing_written(tmp_path)


def test_zero_spread(openpi: Path, tmp_path: Path, said) -> None:
    path = openpi / "assets/trossen/norm_stats.json"
    tree = json.loads(path.read_text())
    tree["norm_stats"]["state"]["std"][4] = 0.0
    tree["norm_stats"]["actions"]["std"][2] = 0.0
    path.write_text(json.dumps(tree))
    for facts in ([], FACTS):  # also where nobody names the joints
        assert convert("--from", "openpi-torch", openpi, tmp_path / "out", *facts) == 2
        lines = said()
        assert len(lines) == 2
        assert "state.std" in lines[0] and "[4]" in lines[0] and "actions.std" in lines[1]
    assert nothing_written(tmp_path)


def test_a_tokenizer_of_another_model(openpi: Path, tmp_path: Path, said) -> None:
    from tokenizers import Tokenizer, models

    words = {f"word{number}": number for number in range(500)}
    Tokenizer(models.WordLevel(words, unk_token="word0")).save(str(tmp_path / "big.json"))
    arguments = ["--from", "openpi-torch", openpi, tmp_path / "out", *FACTS, "--tokenizer"]
    assert convert(*arguments, tmp_path / "big.json") == 2
    assert "64 entries, got 500" in said()[0]
    (tmp_path / "no.json").write_text("{}")
    assert convert(*arguments, tmp_path / "no.json") == 2
    assert len(said()) == 1
    assert convert(*arguments, tmp_path / "nowhere.json") == 2
    assert len(said()) == 1
    assert nothing_written(tmp_path)


def test_facts_that_cannot_be(openpi: Path, tmp_path: Path, said) -> None:
    arguments = ["--from", "openpi-torch", openpi, tmp_path / "out"]
    assert convert(*arguments, "--gripper-open", 1, "--control-rate", -5, "--horizon", 0) == 2
    assert len(said()) == 3
    assert convert(*arguments, *FACTS, "--joints", "left*20") == 2
    assert any("joints" in line for line in said())
    assert convert(*arguments, *FACTS, "--joints", "left*2,left_0") == 2
    assert any("every role once" in line for line in said())
    assert convert(*arguments, *FACTS, "--cameras", "a,a,") == 2
    assert any("camera_slots" in line for line in said())
    assert convert(*arguments, *FACTS, "--joints", "left*6", "--adapt-to-pi", "openpi") == 2
    assert any("14 joints" in line for line in said())
    assert convert(*arguments, "--asset", "franka") == 2
    assert "trossen" in said()[0]
    assert convert(openpi, tmp_path / "out") == 2
    assert "--from or --to" in said()[0]
    assert nothing_written(tmp_path)


def test_with_every_fact_it_acts(openpi: Path, tmp_path: Path) -> None:
    facts = [*FACTS, "--adapt-to-pi", "openpi", "--relative-actions", "joints"]
    slots = ["--cameras", ",".join(support.SLOTS)]
    arguments = ["--from", "openpi-torch", openpi, tmp_path / "out"]
    assert convert(*arguments, *facts, *slots) == 0
    checkpoint = read_checkpoint(tmp_path / "out")
    manifest = checkpoint.manifest
    assert not manifest.raw_only
    assert manifest.camera_slots == support.SLOTS
    assert (manifest.adapt_to_pi, manifest.prompt_style) == ("openpi", "openpi")
    assert (manifest.normalization, manifest.normalization_eps) == ("mean_std", 1e-6)
    relative = [joint.representation == "relative" for joint in manifest.joints]
    assert relative == [True] * 6 + [False] + [True] * 6 + [False]
    assert checkpoint.statistics == support.statistics()
    runtime = PolicyRuntime(checkpoint, "cpu")
    output = runtime.infer(support.observation(), runtime.noise(0))
    assert output.actions.shape == (6, 14) and np.isfinite(output.actions).all()
    assert convert(*arguments, *facts, *slots) == 2, "the folder exists"
    assert convert(*arguments, *facts, *slots, "--raw-only", "--overwrite") == 0
    assert read_checkpoint(tmp_path / "out").manifest.raw_only


@pytest.mark.parametrize("fact", range(0, len(FACTS), 2))
def test_without_any_one_fact_it_is_raw_only(fact: int, openpi: Path, tmp_path: Path) -> None:
    facts = [*FACTS, "--adapt-to-pi", "none", "--relative-actions", "none"]
    if "gripper" in str(facts[fact]):
        facts = facts[:6] + facts[10:]
    else:
        facts = facts[:fact] + facts[fact + 2 :]
    assert convert("--from", "openpi-torch", openpi, tmp_path / "out", *facts) == 0
    assert read_checkpoint(tmp_path / "out").manifest.raw_only


def test_padding_of_early_statistics_is_left_out(openpi: Path, tmp_path: Path) -> None:
    path = openpi / "assets/trossen/norm_stats.json"
    tree = json.loads(path.read_text())
    for vector in tree["norm_stats"].values():
        for values in vector.values():
            values += [0.0] * 18
    path.write_text(json.dumps(tree))
    for number, facts in enumerate(([], FACTS)):
        out = tmp_path / f"{number}"
        assert convert("--from", "openpi-torch", openpi, out, *facts) == 0
        stats = json.loads((out / "norm_stats.json").read_text())["norm_stats"]
        assert stats["state"]["mean"] == list(support.statistics().state.mean)


def test_an_interrupted_conversion_leaves_nothing(weights, tmp_path: Path) -> None:
    """Interrupted while it writes; the reader is slowed down so that it cannot finish before."""
    source = foreign.write_npz(tmp_path / "w.npz", weights)
    code = (
        "import sys, time\n"
        "from adamoe_ros.policy.checkpoint_formats import importing\n"
        "from adamoe_ros.cli.main import main\n"
        "real = importing.narrowed\n"
        "def slow(tensor, dtype):\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(0.2)\n"
        "    return real(tensor, dtype)\n"
        "importing.narrowed = slow\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["convert", "--from", "openpi-jax", source, tmp_path / "out", *JAX]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("writing" in line for line in process.stdout)
        assert (tmp_path / ".out.partial").is_dir()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(timeout=60) == 130
    assert nothing_written(tmp_path)


def test_a_damaged_checkpoint_of_ours_is_not_exported(tmp_path: Path, said) -> None:
    model = samples.policy(dense())
    ours = support.write_dense(tmp_path / "ours", model)
    tensors = load_file(ours / "model.safetensors")
    tensors["state_proj.bias"][0] = torch.nan
    save_file(tensors, ours / "model.safetensors")
    assert convert("--to", "transformers", ours, tmp_path / "out") == 2
    assert "state_proj.bias" in said()[0]
    tensors["surplus"] = tensors.pop("state_proj.weight")
    save_file(tensors, ours / "model.safetensors")
    assert convert("--to", "transformers", ours, tmp_path / "out") == 2
    assert len(said()) == 2
    assert nothing_written(tmp_path)


def test_the_right_one_still_converts(openpi: Path, tmp_path: Path) -> None:
    assert convert("--from", "openpi-torch", openpi, tmp_path / "out", "--dtype", "float32") == 0
    model = samples.policy(replace(dense(), action_dim=16, state_dim=16))
    assert_weights(tmp_path / "out", model)
