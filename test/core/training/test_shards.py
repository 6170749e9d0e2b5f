# SPDX-License-Identifier: Apache-2.0
"""Demonstrations on disk come back as they were; folders that do not fit are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.generate_shards import generate_missing, shard_path
from adamoe_ros.training.shards import FORMAT, read_shards, write_shard
from adamoe_ros.training.training_config import GenerateConfig


def test_round_trip(demonstrations: DemonstrationSet, tmp_path: Path) -> None:
    first, *others = demonstrations.episodes
    write_shard(shard_path(tmp_path, 0), [first], demonstrations.layout)
    write_shard(shard_path(tmp_path, 1), others, demonstrations.layout)
    back = read_shards(tmp_path, rows=6)
    assert back.layout == demonstrations.layout
    for mine, theirs in zip(back.episodes, demonstrations.episodes, strict=True):
        for name in ("images", "steps", "state", "actions", "objects"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
        assert (mine.instructions, mine.seed) == (theirs.instructions, theirs.seed)
        assert isinstance(mine.images.base, np.memmap)  # shared by the processes of a machine
    assert len(read_shards(tmp_path, rows=6, most=1).episodes) == 1


def test_shards_of_two_robots_are_refused(demonstrations: DemonstrationSet, tmp_path: Path) -> None:
    write_shard(shard_path(tmp_path, 0), demonstrations.episodes, demonstrations.layout)
    other = replace(demonstrations.layout, embodiment="another")
    write_shard(shard_path(tmp_path, 1), demonstrations.episodes, other)
    with pytest.raises(ContractError, match="two folders"):
        read_shards(tmp_path, rows=6)


def test_no_shards_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"data\.generate"):
        read_shards(tmp_path, rows=6)


def header() -> str:
    layout = {"camera_slots": [], "roles": [], "embodiment": "", "control_rate_hz": 50}
    episodes = [{"instructions": [], "tasks": [], "seed": 0}]
    return json.dumps({"format": FORMAT, "layout": layout, "episodes": episodes})


def test_files_of_another_format_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros(1))
    (tmp_path / "b.npz").write_bytes(b"cut off")
    with pytest.raises(ContractError, match=r"a\.npz.*format"):
        read_shards(tmp_path, rows=6)
    (tmp_path / "a.npz").unlink()
    with pytest.raises(ContractError, match=r"b\.npz"):
        read_shards(tmp_path, rows=6)
    np.savez_compressed(tmp_path / "b.npz", **{"header": header(), "0/images": np.zeros(1)})
    with pytest.raises(ContractError, match=r"b\.npz.*compressed pictures"):
        read_shards(tmp_path, rows=6)


def test_generation_completes_and_refuses_other_settings(tmp_path: Path) -> None:
    settings = GenerateConfig(episodes=3, every=80, noise=(0.0, 0.01))
    assert generate_missing(settings, (24, 32), tmp_path, shard=2) == 3
    data = read_shards(tmp_path, rows=50)
    assert [episode.seed for episode in data.episodes] == list(range(100_000, 100_003))
    assert data.layout.roles[6] == "left_gripper" and data.layout.embodiment == "vx300s_dual"
    grippers = data.action_rows()[:, [6, 13]]
    assert grippers.min() == pytest.approx(0, abs=1e-6)  # closed
    assert grippers.max() == pytest.approx(1, abs=1e-6)  # open
    assert data.episodes[0].images.shape[1:] == (3, 24, 32, 3)
    whole = shard_path(tmp_path, 0).read_bytes()
    shard_path(tmp_path, 2).unlink()
    assert generate_missing(settings, (24, 32), tmp_path, shard=2) == 1
    assert shard_path(tmp_path, 0).read_bytes() == whole
    with pytest.raises(ContractError, match="image_size"):
        generate_missing(settings, (48, 64), tmp_path)
