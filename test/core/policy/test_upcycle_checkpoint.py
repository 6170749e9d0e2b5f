# SPDX-License-Identifier: Apache-2.0
"""``adamoe upcycle`` on checkpoint folders."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import policy_support as support
import pytest
import samples
import torch

from adamoe_ros.cli.main import main
from adamoe_ros.model.config import ModelConfig, MoEConfig, adamoe_pi0, adamoe_pi05, tiny
from adamoe_ros.model.dense_to_moe import UpcycleSettings, upcycle_from_dense
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.upcycling import count_parameters

CONFIG = replace(tiny(), moe=MoEConfig(), action_dim=16, state_dim=16)


@pytest.fixture(params=["pi0", "pi05"])
def config(request: pytest.FixtureRequest) -> ModelConfig:
    return replace(CONFIG, architecture=request.param)


@pytest.fixture
def dense(config: ModelConfig, tmp_path: Path) -> Path:
    meaning = {"architecture": config.architecture}
    return support.write_dense(tmp_path / "dense", samples.policy(config), **meaning)


def upcycle(folder: Path, *options: str) -> int:
    return main(["upcycle", str(folder), str(folder.parent / "out"), *options])


def test_weights_and_meaning_are_taken_over(
    config: ModelConfig, dense: Path, tmp_path: Path, capsys
) -> None:
    options = ["--experts", "3", "--top-k", "2", "--noise", "0.01", "--seed", "5"]
    assert upcycle(dense, *options) == 0
    before, after = read_checkpoint(dense), read_checkpoint(tmp_path / "out")
    assert after.config == replace(config, moe=MoEConfig("adamoe", 3, 2))
    assert after.manifest.model_dump(exclude={"provenance"}) == before.manifest.model_dump(
        exclude={"provenance"}
    )
    assert "seed 5" in after.manifest.provenance.notes
    assert after.statistics == before.statistics
    generator = torch.Generator().manual_seed(5)
    state = before.load_network().state_dict()
    expected = upcycle_from_dense(state, after.config, UpcycleSettings(0.01), generator)
    found = after.load_network().state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(values, expected[name]) for name, values in found.items())
    said = capsys.readouterr().out
    total = sum(values.numel() for values in found.values())
    expert = 3 * 24 * 32 * 2  # gate, up, down of both layers
    assert f"{total:,} total, {total - expert:,} active" in said
    assert re.search(r"memory: [\d.]+ GB", said)


def test_preserve_gives_the_dense_output(config: ModelConfig, dense: Path, tmp_path: Path) -> None:
    assert upcycle(dense, "--preserve", "--noise", "0.01") == 0
    inputs, noise = samples.inputs(config, [[1, 1, 0]], [5]), samples.chunk(config, 1)
    first, second = (
        read_checkpoint(folder).load_network().sample(**inputs, noise=noise).actions
        for folder in (dense, tmp_path / "out")
    )
    assert torch.equal(first, second)
    assert upcycle(dense, "--overwrite") == 0
    third = read_checkpoint(tmp_path / "out").load_network().sample(**inputs, noise=noise).actions
    assert not torch.equal(first, third)


@pytest.mark.parametrize("variant", ["csmoe", "vanilla"])
def test_other_variants(variant: str, dense: Path, tmp_path: Path) -> None:
    assert upcycle(dense, "--variant", variant) == 0
    assert read_checkpoint(tmp_path / "out").load_network().config.moe.variant == variant


@pytest.mark.parametrize(
    "options", [["--top-k", "5"], ["--experts", "0"], ["--noise", "-1"], ["--router-std", "nan"]]
)
def test_wrong_options(options: list[str], dense: Path, tmp_path: Path, capsys) -> None:
    assert upcycle(dense, *options) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_mixture_stays_one(tmp_path: Path, capsys) -> None:
    assert upcycle(support.make_checkpoint(tmp_path / "moe")) == 2
    assert "dense" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_counts_at_full_size() -> None:
    count = count_parameters(adamoe_pi0(), torch.bfloat16)
    assert (count.total, count.active) == (4_144_165_648, 3_464_688_400)
    assert count.stored_bytes == 2 * count.total
    assert count_parameters(adamoe_pi0(4, 2), torch.bfloat16).active == 3_691_180_816
    assert count_parameters(adamoe_pi0(8), torch.bfloat16).total == 5_050_282_768
    newer = [count_parameters(adamoe_pi05(4, k), torch.bfloat16) for k in (1, 2)]
    assert [count.total for count in newer] == [4_259_550_992] * 2
    assert [count.active for count in newer] == [3_580_073_744, 3_806_566_160]
    assert count_parameters(adamoe_pi05(8), torch.bfloat16).total == 5_165_668_112
