# SPDX-License-Identifier: Apache-2.0
"""Datasets with one thing wrong each: it is found, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_support import motion, picture, raw_image, simulated_robot, write_mcap

from adamoe_ros.data.bag_conversion import ConvertSettings
from adamoe_ros.data.bag_conversion_many import ConversionJob, convert_bags
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.units import units_for
from adamoe_ros.data.validate import validate

PROFILE = simulated_robot()


def made(folder: Path, change: Callable[[list[Any]], list[Any]] = lambda records: records) -> Path:
    records = change(list(motion(PROFILE, 2.0)))
    bag = write_mcap(folder / "bag", records)
    job = ConversionJob(
        [bag],
        folder / "out",
        PROFILE,
        units_for(PROFILE, None, "1_open"),
        ConvertSettings(fps=25, lossless=True),
    )
    convert_bags(job, lambda *_: None)
    return folder / "out"


def errors(path: Path) -> list[str]:
    return [f.line for f in validate(Dataset(path), PROFILE) if f.level == "error"]


def test_a_good_dataset_has_no_findings(tmp_path: Path) -> None:
    found = validate(Dataset(made(tmp_path)), PROFILE)
    assert [finding.level for finding in found] == ["note"] and "licence" in found[0].line
    (tmp_path / "out/README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert validate(Dataset(tmp_path / "out"), PROFILE) == []


def test_joints_out_of_range(tmp_path: Path) -> None:
    def shifted(records: list[Any]) -> list[Any]:
        for record in records:
            if record[1] == "/follower_left/joint_states":
                record[3].position[1] += 3.0
        return records

    found = errors(made(tmp_path, shifted))
    assert any("observation.state: left_1" in line for line in found)


def test_swapped_joints(tmp_path: Path) -> None:
    def swapped(records: list[Any]) -> list[Any]:
        for record in records:
            if record[1] == "/follower_left/joint_commands":
                record[3].position[[0, 3]] = record[3].position[[3, 0]]
        return records

    found = errors(made(tmp_path, swapped))
    assert any("action left_0" in line and "left_3" in line for line in found)


def test_another_order_of_names(tmp_path: Path) -> None:
    path = made(tmp_path)
    info = json.loads((path / "meta/info.json").read_text())
    names = info["features"]["action"]["names"]
    names[0], names[1] = names[1], names[0]
    (path / "meta/info.json").write_text(json.dumps(info))
    found = errors(path)
    assert len(found) == 1 and "another order" in found[0]


@pytest.mark.parametrize("value", [{}, "", [], None])
def test_stored_statistics_that_are_no_numbers(tmp_path: Path, value: Any) -> None:
    path = made(tmp_path)
    stored = json.loads((path / "meta/stats.json").read_text())
    stored["action"]["q90"][2] = value
    (path / "meta/stats.json").write_text(json.dumps(stored))
    found = errors(path)
    assert len(found) == 1 and "action" in found[0]


def test_a_frozen_camera(tmp_path: Path) -> None:
    def frozen(records: list[Any]) -> list[Any]:
        still = picture(3, 1)
        for index, (time_ns, topic, kind, message) in enumerate(records):
            if topic == "/cam_left_wrist/image_raw" and index > 200:
                stamp = message.header.stamp
                same = raw_image(still, stamp.sec * 10**9 + stamp.nanosec)
                records[index] = (time_ns, topic, kind, same)
        return records

    found = errors(made(tmp_path, frozen))
    assert len(found) == 1 and "cam_left_wrist" in found[0] and "frozen" in found[0]


def test_gaps_and_duplicates(tmp_path: Path) -> None:
    def gap(records: list[Any]) -> list[Any]:
        start = records[0][0]
        return [r for r in records if not (r[2].endswith("Image") and 0.5e9 < r[0] - start < 0.9e9)]

    found = validate(Dataset(made(tmp_path, gap)), PROFILE)
    assert {finding.level for finding in found} == {"warning", "note"}
    text = "\n".join(finding.line for finding in found)
    assert "1 gaps, the longest 0.4" in text
    assert "repeat the observation before" in text


@pytest.mark.parametrize("what", ["total_frames", "file"])
def test_a_dataset_that_is_not_whole(tmp_path: Path, what: str) -> None:
    from adamoe_ros.contract.errors import ContractError

    path = made(tmp_path)
    if what == "file":
        (path / "data/chunk-000/file-000.parquet").unlink()
        with pytest.raises(ContractError, match="no such file"):
            Dataset(path)
        return
    info = json.loads((path / "meta/info.json").read_text())
    info["total_frames"] = 7
    (path / "meta/info.json").write_text(json.dumps(info))
    assert errors(path) == ["info.json: total_frames: expected 50, got 7; make the dataset again"]


def test_nan_in_the_data(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = made(tmp_path) / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    rows = np.array(table.column("action").to_pylist(), np.float32)
    rows[7, 2] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    place = table.column_names.index("action")
    pq.write_table(table.set_column(place, table.schema.field(place), column), path)
    assert any("NaN or inf in frame 7" in line for line in errors(tmp_path / "out"))
