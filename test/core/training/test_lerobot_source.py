# SPDX-License-Identifier: Apache-2.0
"""The training loader gives the observations that replay gives: one bag, three ways."""

from __future__ import annotations

from pathlib import Path

import foreign_dataset
import numpy as np
import pytest
from bag_support import motion, simulated_robot, write_mcap

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.observation import Observation
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.bag_conversion import ConvertSettings
from adamoe_ros.data.bag_conversion_many import ConversionJob, convert_bags
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.observations import BagStream
from adamoe_ros.data.units import units_for
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.lerobot_source import Reading, dataset_layout, load_episodes
from adamoe_ros.training.picture_cache import model_pictures
from adamoe_ros.training.training_config import MeaningConfig

PROFILE = simulated_robot(type="compressed")
SIZE = (28, 28)


def made(folder: Path, gripper: str = "1_open", fps: int = 25) -> tuple[Path, list[Observation]]:
    bag_folder = write_mcap(folder / "bag", motion(PROFILE, 1.0))
    units = units_for(PROFILE, None, gripper)
    settings = ConvertSettings(fps=fps, lossless=True, precision="float64")
    convert_bags(
        ConversionJob([bag_folder], folder / "out", PROFILE, units, settings), lambda *_: None
    )
    with Bag(bag_folder) as bag:
        stream = BagStream(bag, PROFILE, units.state.apply)
        seen = [event.value.load() for event in stream.events() if event.kind == "observation"]
    return folder / "out", seen


@pytest.mark.parametrize("fps", [25, 50])
def test_training_sees_what_replay_sees(tmp_path: Path, fps: int) -> None:
    folder, seen = made(tmp_path, fps=fps)
    episodes, layout = load_episodes(folder, Reading(SIZE, tmp_path / "cache"))
    episode = episodes[0]
    assert layout.camera_slots == tuple(PROFILE.cameras)
    assert layout.control_rate_hz == fps and layout.roles[6] == "left_gripper"
    assert len(episode.steps) == len(seen)
    np.testing.assert_array_equal(episode.steps, np.arange(len(seen)) * (fps // 25))
    for index, observation in enumerate(seen):
        pictures = model_pictures(observation.images.values(), SIZE)
        np.testing.assert_array_equal(episode.images[index], pictures)
        np.testing.assert_array_equal(episode.state[index], observation.state.astype(np.float32))
    assert episode.instructions == ("lift the bar",) * len(seen)


def test_a_dataset_that_does_not_say_what_its_numbers_mean(tmp_path: Path) -> None:
    folder, _ = made(tmp_path, "driver")
    with pytest.raises(ContractError, match="gripper ends"):
        dataset_layout(Dataset(folder))


def test_every_row_is_trained_with_its_own_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sentences by task_index; rows without one are left out and counted."""
    table = foreign_dataset.rows()
    for row in table:
        row["task_index"] = row["frame_index"] // 3
    folder = foreign_dataset.write_v30(tmp_path / "set", table=table)
    tasks = [{"task_index": n, "task": text} for n, text in enumerate(("lift", "push", " "))]
    foreign_dataset.write_rows(folder / foreign_dataset.TASKS, tasks)
    meaning = MeaningConfig(
        embodiment="two_arms",
        roles=tuple(foreign_dataset.NAMES),
        gripper_open=1.0,
        gripper_closed=0.0,
    )
    episodes, layout = load_episodes(folder, Reading(SIZE, tmp_path / "cache", meaning=meaning))
    data = DemonstrationSet(episodes, layout, rows=4)
    assert [e.instructions for e in episodes] == [("lift",) * 3 + ("push",) * 3] * 3
    assert data.sentences() == ("lift", "push")
    assert np.bincount(data.tasks()).tolist() == [9, 9]
    assert data.batch(np.array([2, 3])).instructions == ("lift", "push")
    told = capsys.readouterr().err
    assert "episode 1: left out: 2 rows without an instruction" in told
    assert [len(e.actions) for e in episodes] == [6, 8, 7]  # chunks reach over them


def test_a_rate_is_the_policys_rate(tmp_path: Path) -> None:
    folder = foreign_dataset.write_v30(tmp_path / "set", fps=29.97)
    dataset = Dataset(folder)
    meaning = MeaningConfig(
        embodiment="two_arms",
        roles=tuple(foreign_dataset.NAMES),
        gripper_open=1.0,
        gripper_closed=0.0,
    )
    assert dataset_layout(dataset, None, meaning).control_rate_hz == 29.97


def test_depth_maps_and_rows_of_nobody_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = [line for line in foreign_dataset.lines(video=False) if line["episode_index"] != 1]
    folder = foreign_dataset.write_v30(tmp_path / "set", listed=listed)
    depth = "observation.images.cam_high_depth"
    foreign_dataset.change_info(
        folder, lambda i: i["features"].update({depth: i["features"][foreign_dataset.CAMERA]})
    )
    meaning = MeaningConfig(
        embodiment="two_arms",
        roles=tuple(foreign_dataset.NAMES),
        gripper_open=1.0,
        gripper_closed=0.0,
    )
    episodes, layout = load_episodes(folder, Reading(SIZE, meaning=meaning))
    assert layout.camera_slots == ("cam_high",)
    assert [round(float(e.state[0, 0])) for e in episodes] == [0, 2]
    told = capsys.readouterr().err
    assert "depth maps are left out: cam_high_depth" in told
    assert "a line on episode 1" in told
    with pytest.raises(ContractError, match="a depth map"):
        load_episodes(folder, Reading(SIZE, cameras={"cam_high": depth}, meaning=meaning))
