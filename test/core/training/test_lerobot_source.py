# SPDX-License-Identifier: Apache-2.0
"""The training loader gives the observations that replay gives: one bag, three ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_support import motion, simulated_robot, write_mcap

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.observation import Observation
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.convert import ConvertSettings
from adamoe_ros.data.convert_many import ConversionJob, convert_bags
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.observations import BagStream
from adamoe_ros.data.units import units_for
from adamoe_ros.training.lerobot_source import Reading, dataset_layout, load_episodes
from adamoe_ros.training.picture_cache import model_pictures

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
