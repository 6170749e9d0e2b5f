# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders: whole or not there, and every mismatch named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from policy_support import make_checkpoint, manifest, network, statistics, tiny_config

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.policy.checkpoint import read_checkpoint, write_checkpoint
from adamoe_ros.policy.tensor_file import TensorSpec, specs_of, write_tensors


def test_what_is_written_is_read(tmp_path: Path) -> None:
    config = tiny_config()
    found = read_checkpoint(make_checkpoint(tmp_path / "made", config))
    assert found.config == config
    assert found.manifest == manifest()
    assert found.statistics == statistics()
    loaded = found.load_network()
    for name, tensor in network(config).state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize(("stored", "running"), [("float16", "float32"), ("bfloat16", "bfloat16")])
def test_the_stored_dtype_decides_the_running_one(
    tmp_path: Path, stored: str, running: str
) -> None:
    config = tiny_config()
    tensors = {n: t.to(getattr(torch, stored)) for n, t in network(config).state_dict().items()}
    write_checkpoint(
        tmp_path / "made", config, manifest(tokenizer=None), statistics(), specs_of(tensors),
        tensors.items(),
    )  # fmt: skip
    assert read_checkpoint(tmp_path / "made").load_network().dtype is getattr(torch, running)


@pytest.mark.parametrize(
    "name",
    ["config.json", "manifest.json", "model.safetensors", "norm_stats.json", "tokenizer.json"],
)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = make_checkpoint(tmp_path / "made")
    (folder / name).unlink()
    with pytest.raises(ContractError) as error:
        read_checkpoint(folder)
    assert len(error.value.problems) == 1
    assert name in error.value.problems[0]


@pytest.mark.parametrize("key", ["normalization", "normalization_eps"])
def test_a_normalisation_that_is_not_told_is_one_line(tmp_path: Path, key: str) -> None:
    folder = make_checkpoint(tmp_path / "made")
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: None}))
    with pytest.raises(ContractError, match=f"{key}: expected a"):
        read_checkpoint(folder).vectors()


def test_every_mismatch_is_named_at_once(tmp_path: Path) -> None:
    folder = make_checkpoint(
        tmp_path / "made", camera_slots=("cam_high",), tokenizer_size=99, adapt_to_pi="none"
    )
    stats = json.loads((folder / "norm_stats.json").read_text())
    stats["norm_stats"]["state"]["std"][3] = 0.0
    stats["norm_stats"]["actions"]["mean"].pop()
    (folder / "norm_stats.json").write_text(json.dumps(stats))
    with pytest.raises(ContractError) as error:
        read_checkpoint(folder)
    text = "\n".join(error.value.problems)
    for part in ("camera_slots", "state.std", "actions.mean", "99 entries"):
        assert part in text
    assert len(error.value.problems) == 4


def test_a_truncated_weight_file_is_one_line(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "made")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(ContractError, match="whole safetensors file"):
        read_checkpoint(folder).load_network()


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    config = tiny_config()
    tensors = network(config).state_dict()
    missing = list(tensors.items())[:-1]
    with pytest.raises(ValueError, match="got"):
        write_checkpoint(
            tmp_path / "made", config, manifest(), statistics(), specs_of(tensors), missing
        )
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept_unless_told(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "made")
    before = (folder / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(ContractError, match="a new folder"):
        make_checkpoint(folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_a_surplus_tensor_is_our_bug(tmp_path: Path) -> None:
    one = torch.zeros(2)
    with pytest.raises(ValueError, match="expected None"):
        write_tensors(
            tmp_path / "x", {"a": TensorSpec((2,), torch.float32)}, [("a", one), ("b", one)]
        )
