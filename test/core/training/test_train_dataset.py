# SPDX-License-Identifier: Apache-2.0
"""``adamoe train`` on LeRobot datasets of both versions and on bags, from every kind of start."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dataset_support import (
    DENSE,
    NETWORK,
    ROLES,
    as_others_make_it,
    train_command,
    write_bag,
    write_dataset,
    write_profile,
)

from adamoe_ros.data.lerobot.dataset_schema import Version
from adamoe_ros.policy.checkpoint import read_checkpoint

MEANING = {"embodiment": "vx300s_dual", "roles": ROLES}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ours, version 3.0, with PNG pictures."""
    return write_dataset(tmp_path_factory.mktemp("ours") / "set")


@pytest.fixture(scope="module")
def dense(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense checkpoint trained on it."""
    out = tmp_path_factory.mktemp("dense") / "run"
    changes = {"model.changes": {**NETWORK, **DENSE}}
    assert train_command(out, **{"data.dataset": str(dataset)}, **changes) == 0
    return out / "checkpoint"


def test_bags_become_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From recorded bags to a checkpoint in one command, and the dataset is kept."""
    bags = {
        "paths": [str(write_bag(tmp_path / "bags" / name)) for name in ("one", "two")],
        "robot": str(write_profile(tmp_path / "robot.yaml")),
    }
    data = {"data.dataset": str(tmp_path / "set"), "data.bags": bags}
    assert train_command(tmp_path / "run", **data) == 0
    assert "bags: 2/2" in capsys.readouterr().err
    manifest = read_checkpoint(tmp_path / "run" / "checkpoint").manifest
    assert manifest.state_roles == tuple(ROLES)
    assert manifest.instructions == ("lift the bar",)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2
    # the second run neither converts nor decodes
    shutil.rmtree(tmp_path / "bags")
    assert train_command(tmp_path / "again", **data) == 0
    weights = [tmp_path / run / "checkpoint" / "model.safetensors" for run in ("run", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(("version", "lossless"), [("v3.0", False), ("v2.1", True)])
def test_a_dataset_of_others(version: Version, lossless: bool, tmp_path: Path) -> None:
    """Cameras by other names, and columns that only the settings explain."""
    folder = as_others_make_it(write_dataset(tmp_path / "set", version, lossless))
    data = {"data.dataset": str(folder), "data.meaning": MEANING}
    cameras = {"top": "cam_high", "wrist": "observation.images.cam_left_wrist"}
    views = {"model.changes": {**NETWORK, "num_views": 2}, "data.cameras": cameras}
    assert train_command(tmp_path / "run", **data, **views) == 0
    manifest = read_checkpoint(tmp_path / "run" / "checkpoint").manifest
    assert manifest.camera_slots == ("top", "wrist")
    assert (manifest.embodiment, manifest.control_rate_hz) == ("vx300s_dual", 25.0)


@pytest.mark.parametrize("variant", ["adamoe", "csmoe", "vanilla"])
def test_a_dense_checkpoint_is_upcycled(
    variant: str, dense: Path, dataset: Path, tmp_path: Path
) -> None:
    before = (dense / "model.safetensors").read_bytes()
    settings = {"model.checkpoint": str(dense), "model.upcycle": {"variant": variant}}
    assert train_command(tmp_path / "run", **{"data.dataset": str(dataset)}, **settings) == 0
    made = read_checkpoint(tmp_path / "run" / "checkpoint")
    assert (made.config.moe.variant, made.config.moe.num_experts) == (variant, 4)
    tensors = made.load_network().state_dict()
    source = read_checkpoint(dense).load_network().state_dict()["expert.layers.0.ffn.gate.weight"]
    for expert in tensors["expert.layers.0.ffn.experts.gate"]:
        torch.testing.assert_close(expert, source, rtol=0, atol=2e-3)
    assert (dense / "model.safetensors").read_bytes() == before


def test_what_a_checkpoint_gives(dense: Path, dataset: Path, tmp_path: Path) -> None:
    """All: its statistics; meaning or weights: the data's own, here the same data's."""
    base = read_checkpoint(dense)
    assert base.statistics is not None
    for inherit in ("all", "meaning", "weights"):
        settings: dict[str, Any] = {"model.checkpoint": str(dense), "model.inherit": inherit}
        settings["model.changes"] = {"horizon": 12}  # no tensor knows of it
        out = tmp_path / inherit
        assert train_command(out, **{"data.dataset": str(dataset)}, **settings) == 0
        made = read_checkpoint(out / "checkpoint")
        assert made.config.horizon == 12 and made.statistics is not None
        assert made.manifest.joints == base.manifest.joints
        np.testing.assert_allclose(made.statistics.state.mean, base.statistics.state.mean)


def test_weights_alone_take_another_robot(dense: Path, dataset: Path, tmp_path: Path) -> None:
    folder = as_others_make_it(shutil.copytree(dataset, tmp_path / "set"))
    other = {**MEANING, "embodiment": "another", "gripper_open": 0.0, "gripper_closed": 1.0}
    data = {"data.dataset": str(folder), "data.meaning": other}
    start = {"model.checkpoint": str(dense), "model.inherit": "weights"}
    assert train_command(tmp_path / "run", **data, **start) == 0
    manifest = read_checkpoint(tmp_path / "run" / "checkpoint").manifest
    assert manifest.embodiment == "another"
    assert manifest.gripper is not None and manifest.gripper.open == 0.0
