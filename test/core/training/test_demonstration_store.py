# SPDX-License-Identifier: Apache-2.0
"""Demonstrations on disk come back as they were; folders that do not fit are refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adamoe_ros.cli.main import main
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.data.lerobot.dataset_schema import OURS
from adamoe_ros.training import suite_dataset
from adamoe_ros.training.data_source import read_data
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.demonstration_store import (
    generate_missing,
    read_demonstrations,
    write_demonstrations,
)
from adamoe_ros.training.lerobot_source import Reading, load_episodes
from adamoe_ros.training.training_config import DataConfig, GenerateConfig

SIZE = (24, 24)


def opened(folder: Path, size: tuple[int, int] = SIZE):
    return load_episodes(folder, Reading(size, folder.with_name("pictures")))


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("led", [None, np.array([True, False, True])])
def test_round_trip(
    first: int, led: np.ndarray | None, demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    """Rows before the first picture are left out; everything else is equal to the bit."""
    wanted = [replace(e, steps=e.steps + first, led=led) for e in demonstrations.episodes]
    write_demonstrations(tmp_path / "data", wanted, demonstrations.layout)
    episodes, layout = opened(tmp_path / "data")
    assert layout == demonstrations.layout
    for mine, theirs in zip(episodes, wanted, strict=True):
        for name in ("images", "state", "objects"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
        np.testing.assert_array_equal(mine.steps, theirs.steps - first)
        np.testing.assert_array_equal(mine.actions, theirs.actions[first:])
        np.testing.assert_array_equal(mine.led, np.zeros(3, bool) if led is None else led)
        for name in ("instructions", "tasks", "seed"):
            assert getattr(mine, name) == getattr(theirs, name)
        assert isinstance(mine.images, np.memmap)  # shared by the processes of a machine
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert main(["dataset", "validate", str(tmp_path / "data")]) == 0


@pytest.mark.parametrize("note", [None, 3, {}, {"task": ["a"]}, {"task": "lift", "seed": "x"}])
def test_damaged_notes_of_an_episode_name_no_task(
    note: object, demonstrations: DemonstrationSet, tmp_path: Path
) -> None:
    write_demonstrations(tmp_path / "data", demonstrations.episodes, demonstrations.layout)
    path = tmp_path / "data" / OURS
    ours = json.loads(path.read_text())
    length = ours["episodes"][1]["length"]
    known = {"length": length, **note} if isinstance(note, dict) else note
    path.write_text(json.dumps({**ours, "tasks": ["lift"], "episodes": [known] * 9}))
    episodes, _ = opened(tmp_path / "data")
    assert [episode.seed for episode in episodes] == list(range(len(episodes)))
    assert all(episode.tasks == episode.instructions for episode in episodes)


def test_what_nobody_knows_is_none(demonstrations: DemonstrationSet, tmp_path: Path) -> None:
    episodes = [replace(episode, objects=None) for episode in demonstrations.episodes]
    write_demonstrations(tmp_path / "data", episodes, demonstrations.layout)
    assert opened(tmp_path / "data")[0][0].objects is None
    with pytest.raises(ContractError, match="expected a new folder"):
        write_demonstrations(tmp_path / "data", episodes, demonstrations.layout)


def test_no_source_is_one_line(model_config, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"data: expected data\.dataset or data\.generate"):
        read_data(DataConfig(folder=tmp_path), model_config, None)


SETTINGS = GenerateConfig(episodes=3, every=80, noise=(0.0, 0.01))


def test_generation_goes_on_and_refuses_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lift_bar"
    monkeypatch.setattr(suite_dataset, "_BATCH", 1)
    with monkeypatch.context() as patched:

        def stop(*arguments: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(suite_dataset, "assemble", stop)
        with pytest.raises(KeyboardInterrupt):
            generate_missing(SETTINGS, (24, 32), folder)
    shutil.rmtree(tmp_path / ".lift_bar.staging" / "lift_bar-100002")
    assert generate_missing(SETTINGS, (24, 32), folder) == 1
    assert generate_missing(SETTINGS, (24, 32), folder) == 0
    data = DataConfig(folder=tmp_path, cache=tmp_path / "pictures", generate=(SETTINGS,))
    found = read_demonstrations(data, (24, 32), rows=50)
    assert [episode.seed for episode in found.episodes] == list(range(100_000, 100_003))
    assert {task for episode in found.episodes for task in episode.tasks} == {"lift_bar"}
    assert found.layout.roles[6] == "left_gripper" and found.layout.embodiment == "vx300s_dual"
    grippers = found.action_rows()[:, [6, 13]]
    assert grippers.min() == pytest.approx(0, abs=1e-6)  # closed
    assert grippers.max() == pytest.approx(1, abs=1e-6)  # open
    assert found.episodes[0].images.shape[1:] == (3, 24, 32, 3)
    fewer = data.model_copy(update={"episodes": 2})
    assert len(read_demonstrations(fewer, (24, 32), rows=50).episodes) == 2
    with pytest.raises(ContractError, match="image_size"):
        generate_missing(SETTINGS, (48, 64), folder)
    assert generate_missing(SETTINGS.model_copy(update={"episodes": 4}), (24, 32), folder) == 4
    path = folder / OURS
    path.write_text(json.dumps({**json.loads(path.read_text()), "asked": None}))
    with pytest.raises(ContractError, match="delete it or set another"):
        generate_missing(SETTINGS, (24, 32), folder)
    (tmp_path / "npz").mkdir()
    with pytest.raises(ContractError, match="delete it or set another"):
        generate_missing(SETTINGS, (24, 32), tmp_path / "npz")
