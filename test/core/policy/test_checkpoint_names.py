# SPDX-License-Identifier: Apache-2.0
"""Checkpoints whose tensors have other names, and statistics with more or other keys than needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import policy_support as support
import pytest
import samples
import torch
from safetensors.torch import load_file, save_file
from test_torch_formats import FACTS, assert_weights, convert, dense

from adamoe_ros.cli.main import main
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.policy.normalise import load_norm_stats

WIDE = replace(dense(), action_dim=16, state_dim=16)


def renamed(folder: Path, change: Callable[[str], str]) -> Path:
    """An openpi checkpoint whose tensors are named otherwise."""
    ours = support.write_dense(folder / "ours", samples.policy(WIDE), prompt_style="openpi")
    assert convert("--to", "openpi-torch", ours, folder / "theirs") == 0
    path = folder / "theirs/model.safetensors"
    tensors = load_file(path)
    save_file({change(name): tensor for name, tensor in tensors.items()}, path)
    return folder / "theirs"


def imported(source: Path, out: Path) -> int:
    return convert("--from", "openpi-torch", source, out, *FACTS)


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        (lambda name: f"module.{name}", "module."),
        (lambda name: f"_orig_mod.{name}", "_orig_mod."),
        (lambda name: f"module._orig_mod.{name}", "_orig_mod., module."),
        (lambda name: f"policy.net.{name}", "policy.net."),
        (lambda name: f"state.module.{name}", "state.module."),
        (lambda name: name.replace(".layers.", ".layers._orig_mod."), "_orig_mod."),
        (lambda name: name.replace(".self_attn.", ".self_attn._fsdp_wrapped_module."), "_fsdp"),
    ],
)
def test_what_wrappers_put_into_names_is_taken_off(
    tmp_path: Path, change: Callable[[str], str], taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = renamed(tmp_path, change)
    assert imported(source, tmp_path / "out") == 0
    assert f"taken off the names of the tensors: {taken}" in capsys.readouterr().out
    assert_weights(tmp_path / "out", samples.policy(WIDE))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda name: f"base_model.model.{name}.lora_A",
            ("unmerged LoRA", "named base_model.model."),
        ),
        (lambda name: f"student.{name[::-1]}", ("named student.", "older spelling")),
        (lambda name: name.replace("_proj", "_projection"), ("unknown", "missing")),
        (lambda name: name.replace(".", "/"), ("as JAX code names them",)),
    ],
)
def test_one_cause_is_told_once(
    tmp_path: Path,
    change: Callable[[str], str],
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = renamed(tmp_path, change)
    capsys.readouterr()
    assert imported(source, tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 12
    assert all(word in lines[0] for word in words), lines[0]
    assert lines[-1].split(": ")[-1].startswith("and ") and lines[-1].endswith(" more")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change",
    [lambda t: torch.full_like(t, torch.nan), lambda t: t.to(torch.int8), lambda t: t.reshape(-1)],
    ids=["NaN", "int8", "flat"],
)
def test_values_that_are_all_wrong_are_told_once(
    tmp_path: Path,
    change: Callable[[torch.Tensor], torch.Tensor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = renamed(tmp_path, lambda name: name)
    path = source / "model.safetensors"
    save_file({name: change(tensor) for name, tensor in load_file(path).items()}, path)
    capsys.readouterr()
    assert imported(source, tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 12 and lines[-1].endswith(" more")


@pytest.mark.parametrize("command", ["convert", "upcycle", "infer"])
def test_a_checkpoint_of_ours_with_a_prefix(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = support.write_dense(tmp_path / "ours", samples.policy(WIDE), prompt_style="openpi")
    path = ours / "model.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in load_file(path).items()}, path)
    out = str(tmp_path / "out")
    arguments = {
        "convert": ["convert", "--to", "openpi-torch", str(ours), out],
        "upcycle": ["upcycle", str(ours), out],
        "infer": [
            "infer",
            "--raw",
            "--checkpoint",
            str(ours),
            "--inputs",
            "none.npz",
            "--out",
            out,
        ],
    }[command]
    capsys.readouterr()
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 12
    assert command == "infer" or "module." in lines[0]


# --- statistics ---------------------------------------------------------------------------------

VECTOR = {"mean": [0.0, 1.0], "std": [1.0, 2.0]}
MORE = {"min": [0, 0], "max": [1, 1], "count": [9], "q10": [0, 0], "q50": [0, 0]}


@pytest.mark.parametrize(
    ("document", "left"),
    [
        ({"state": VECTOR, "actions": VECTOR}, ""),
        ({"norm_stats": {"state": VECTOR | MORE, "actions": VECTOR}}, "state.min, state.max"),
        ({"norm_stats": {"state": VECTOR, "actions": VECTOR}, "version": 2}, "version"),
        ({"state": VECTOR, "actions": VECTOR, "action": MORE, "reward": {}}, "action, reward"),
        (
            {
                "observation.state": VECTOR | MORE,
                "action": VECTOR | MORE,
                "observation.images.cam_high": {"mean": [[[0.5]]]},
                "timestamp": {"mean": [3.0]},
            },
            "observation.images.cam_high, timestamp, state.min",
        ),
        ({"state": VECTOR, "action": VECTOR}, ""),
    ],
)
def test_statistics_with_more_than_is_needed(
    tmp_path: Path, document: Any, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "norm_stats.json"
    path.write_text(json.dumps(document))
    read = load_norm_stats(path)
    assert read.state.mean == (0.0, 1.0) and read.actions.std == (1.0, 2.0)
    assert (f"left alone: {left}" in caplog.text) if left else not caplog.text


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"state": VECTOR}, "actions"),
        ({"action": VECTOR}, "state"),
        ({"state": {"mean": [0.0]}, "actions": VECTOR}, "std"),
        ({"state": VECTOR, "actions": [1, 2]}, "actions"),
        ([], "norm_stats.json"),
        ({}, "state"),
        ({"norm_stats": None, "state": {"mean": "x", "std": []}, "actions": VECTOR}, "mean"),
    ],
)
def test_statistics_that_lack_something(tmp_path: Path, document: Any, words: str) -> None:
    path = tmp_path / "norm_stats.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ContractError, match=words):
        load_norm_stats(path)
