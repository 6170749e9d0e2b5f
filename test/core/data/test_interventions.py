# SPDX-License-Identifier: Apache-2.0
"""Who led the arms, row by row: from control_status in a bag to dataset and training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bag_support import simulated_robot
from led_bag import GIVEN, TAKEN, write_led_bag

from adamoe_ros.data.bag_conversion import ConvertSettings
from adamoe_ros.data.bag_conversion_many import ConversionJob, convert_bags
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.lerobot.dataset_schema import INFO
from adamoe_ros.data.to_bag import episode_to_bag
from adamoe_ros.data.units import units_for
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.lerobot_source import Reading, load_episodes

PROFILE = simulated_robot(type="compressed")
FRAMES, FPS = 50, 25


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("led")
    settings = ConvertSettings(fps=FPS, lossless=True)
    job = ConversionJob(
        [write_led_bag(folder / "bag", PROFILE, FRAMES / FPS)],
        folder / "out",
        PROFILE,
        units_for(PROFILE, None, "1_open"),
        settings,
    )
    found: list[dict[str, Any]] = []
    convert_bags(job, lambda bag, facts, lines: found.append(dict(facts or {})))
    return folder / "out", found


def led_frames() -> np.ndarray:
    times = np.arange(FRAMES) / FPS
    return (times >= TAKEN) & (times < GIVEN)


def test_every_row_says_whether_a_human_led(dataset: tuple[Path, list[dict[str, Any]]]) -> None:
    out, facts = dataset
    read = Dataset(out)
    rows = read.interventions(read.episodes[0])
    np.testing.assert_array_equal(rows, led_frames()[: len(rows)])
    assert facts[0]["frames_led_by_a_human"] == rows.sum() > 10
    info = json.loads((out / INFO).read_text())
    assert info["features"]["intervention"] == {"dtype": "bool", "shape": [1], "names": None}
    column = pq.read_table(next((out / "data").rglob("*.parquet"))).column("intervention")
    assert column.type == pa.bool_()


@pytest.mark.parametrize("change", ["without", "lerobot"])
def test_datasets_of_others(
    dataset: tuple[Path, list[dict[str, Any]]], tmp_path: Path, change: str
) -> None:
    """Without such a column nobody led; LeRobot's other name for it is known."""
    out = tmp_path / "theirs"
    shutil.copytree(dataset[0], out)
    info = json.loads((out / INFO).read_text())
    feature = info["features"].pop("intervention")
    path = next((out / "data").rglob("*.parquet"))
    table = pq.read_table(path)
    place = table.schema.get_field_index("intervention")
    values = table.column("intervention").cast(pa.float32())
    table = table.remove_column(place)
    if change == "lerobot":
        name = "complementary_info.is_intervention"
        info["features"][name] = feature | {"dtype": "float32"}
        table = table.append_column(name, values)
    (out / INFO).write_text(json.dumps(info))
    pq.write_table(table, path)
    read = Dataset(out)
    wanted = led_frames() if change == "lerobot" else np.zeros(FRAMES, bool)
    rows = read.interventions(read.episodes[0])
    np.testing.assert_array_equal(rows, wanted[: len(rows)])


def test_back_in_a_bag_and_from_there_again(
    dataset: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    read, units = Dataset(dataset[0]), units_for(PROFILE, None, "1_open")
    episode_to_bag(read, read.episodes[0], tmp_path / "bag", PROFILE, units)
    settings = ConvertSettings(fps=FPS, lossless=True)
    job = ConversionJob([tmp_path / "bag"], tmp_path / "again", PROFILE, units, settings)
    convert_bags(job, lambda *_: None)
    again = Dataset(tmp_path / "again")
    rows = again.interventions(again.episodes[0])
    np.testing.assert_array_equal(rows, led_frames()[: len(rows)])


def test_training_samples_know_it(dataset: tuple[Path, list[dict[str, Any]]]) -> None:
    episodes, layout = load_episodes(dataset[0], Reading((48, 64)))
    led = DemonstrationSet(episodes, layout, 10).led()
    np.testing.assert_array_equal(led, led_frames()[: len(led)])
