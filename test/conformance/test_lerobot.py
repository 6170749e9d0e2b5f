# SPDX-License-Identifier: Apache-2.0
"""LeRobot opens what we write and we read what it writes: the same rows, sentences and pictures."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_support import motion, simulated_robot, write_mcap
from numpy.typing import NDArray

from adamoe_ros.data.bag_conversion import ConvertSettings
from adamoe_ros.data.bag_conversion_many import ConversionJob, convert_bags
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.units import units_for
from adamoe_ros.data.validate import validate

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / ".venv-lerobot" / "bin" / "python"
PROFILE = simulated_robot(type="compressed")
Columns = dict[str, NDArray[Any]]


def judge(*words: object) -> None:
    command = [str(PYTHON), str(HERE / "lerobot_judge.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def theirs(folder: Path) -> Columns:
    """A dataset as LeRobot reads it."""
    judge("read", folder, folder.with_suffix(".npz"))
    with np.load(folder.with_suffix(".npz")) as found:
        return dict(found)


def ours(folder: Path) -> Columns:
    """The same as we read it."""
    dataset = Dataset(folder)
    found: dict[str, list[Any]] = {}
    for entry in dataset.episodes:
        for row, (observation, action) in enumerate(dataset.observations(entry)):
            values = {
                "observation.state": observation.state,
                "action": action,
                "timestamp": row / dataset.fps,
                "episode_index": entry.index,
                "frame_index": row,
                "sentences": observation.instruction,
            }
            values |= {dataset.cameras[slot]: p for slot, p in observation.images.items()}
            for name, value in values.items():
                found.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in found.items()}


def same(folder: Path, most: int) -> dict[str, Any]:
    """Compare both readers; pictures may be ``most`` levels apart (two ways from YUV to RGB)."""
    mine, other = ours(folder), theirs(folder)
    other.pop("chunks")
    assert set(mine) == set(other)
    differences = {}
    for name, values in mine.items():
        assert len(values) == len(other[name])
        if name == "sentences":
            assert values.tolist() == other[name].tolist()
        elif values.ndim == 4:
            off = np.abs(values.astype(int) - other[name].astype(int))
            assert off.max() <= most, name
            differences[name] = int(off.max())
        else:
            np.testing.assert_allclose(values.astype(np.float32), other[name], atol=1e-6)
    return {"rows": len(mine["action"]), "largest difference of pictures": differences}


@pytest.mark.parametrize("fps", [25.0, 12.5])
@pytest.mark.parametrize("images", ["video", "png"])
def test_it_opens_what_we_write(
    tmp_path: Path, images: str, fps: float, report: dict[str, Any]
) -> None:
    bags = [
        write_mcap(tmp_path / f"bag_{i}", motion(PROFILE, 1.0 + 0.4 * i, instruction=f"task {i}"))
        for i in range(2)
    ]
    settings = ConvertSettings(fps=fps, lossless=images == "png")
    job = ConversionJob(
        bags, tmp_path / "set", PROFILE, units_for(PROFILE, None, "1_open"), settings
    )
    convert_bags(job, lambda *_: None)
    report[f"ours, {images}, {fps:g} Hz"] = same(tmp_path / "set", 0 if images == "png" else 2)


@pytest.mark.parametrize("images", ["video", "png"])
def test_we_read_what_it_writes(tmp_path: Path, images: str, report: dict[str, Any]) -> None:
    folder = tmp_path / "set"
    judge("write", folder, images)
    assert [f.line for f in validate(Dataset(folder)) if f.level != "note"] == []
    mine = ours(folder)
    lengths = (12, 17)
    rows = [(e, f) for e, length in enumerate(lengths) for f in range(length)]
    state = np.array([[e + f / 100] * 3 for e, f in rows], np.float32)
    np.testing.assert_array_equal(mine["observation.state"].astype(np.float32), state)
    np.testing.assert_array_equal(mine["action"].astype(np.float32), state + np.float32(0.5))
    sentences = ["lift the bar" if f < 9 else "push it" for _, f in rows]
    assert mine["sentences"].tolist() == sentences
    levels = np.array([10 + 8 * f + 90 * e for e, f in rows])
    shown = mine["observation.images.cam_high"].mean(axis=(1, 2, 3))
    assert np.abs(shown - levels).max() <= (3 if images == "video" else 0)
    report[f"LeRobot's, {images}"] = same(folder, 0 if images == "png" else 2)
