# SPDX-License-Identifier: Apache-2.0
"""What public dataset linters look for, one fault each, beside a whole dataset that has none.

The table in doc/bags.md names these cases.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from foreign_dataset import (
    CAMERA,
    DATA,
    EPISODES,
    FPS,
    NAMES,
    change_info,
    info,
    lines,
    picture,
    png,
    write_json,
    write_rows,
)

from adamoe_ros.data.dataset_checks import Finding
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.validate import validate

LENGTHS = (120, 150)
Rows = list[dict[str, Any]]


def moving(episode: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, J) states that follow the actions two rows later."""
    times = np.arange(length)[:, None] / FPS
    speeds = 1.0 + 0.2 * np.arange(len(NAMES)) + 0.1 * episode

    def place(time: np.ndarray) -> np.ndarray:
        return 0.4 * np.sin(speeds * time + np.arange(len(NAMES)))

    return place(times - 2 / FPS), place(times)


def whole_rows() -> Rows:
    table: Rows = []
    for e, length in enumerate(LENGTHS):
        states, actions = moving(e, length)
        for f in range(length):
            table.append(
                {
                    "observation.state": states[f].astype(np.float32).tolist(),
                    "action": actions[f].astype(np.float32).tolist(),
                    "timestamp": f / FPS,
                    "frame_index": f,
                    "episode_index": e,
                    "index": len(table),
                    "task_index": 0,
                    CAMERA: png(picture(40 + f)),
                }
            )
    return table


def statistics(rows: np.ndarray) -> dict[str, list[float]]:
    return {
        "min": rows.min(0).tolist(),
        "max": rows.max(0).tolist(),
        "mean": rows.mean(0).tolist(),
        "std": rows.std(0).tolist(),
        "count": [len(rows)],
    }


def column(table: Rows, key: str, episode: int | None = None) -> np.ndarray:
    return np.array([r[key] for r in table if episode in (None, r["episode_index"])])


def write(folder: Path, table: Rows | None = None) -> Path:
    """Whole but for what ``table`` has; statistics fit what is there."""
    table = whole_rows() if table is None else table
    document = info(video=False) | {"total_episodes": len(LENGTHS), "total_frames": sum(LENGTHS)}
    write_json(folder / "meta/info.json", document)
    write_rows(folder / "meta/tasks.parquet", [{"task_index": 0, "task": "lift the bar"}])
    listed = lines(LENGTHS, video=False)
    for e, line in enumerate(listed):
        for key in ("observation.state", "action"):
            for name, values in statistics(column(table, key, e)).items():
                line[f"stats/{key}/{name}"] = values
    write_rows(folder / EPISODES, listed)
    vectors = ("observation.state", "action")
    write_json(folder / "meta/stats.json", {k: statistics(column(table, k)) for k in vectors})
    write_rows(folder / DATA, table)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return folder


def found(folder: Path) -> list[Finding]:
    return validate(Dataset(folder))


def test_a_whole_dataset_has_nothing(tmp_path: Path) -> None:
    assert found(write(tmp_path / "set")) == []


def jump(table: Rows) -> None:
    table[50]["action"][2] += 2.5


def frozen(table: Rows) -> None:
    for row in table[40:80]:
        row["observation.state"] = list(table[40]["observation.state"])


def idle(table: Rows) -> None:
    for row in table[20:110]:
        for key in ("observation.state", "action"):
            row[key] = list(table[20][key])


def doubled(table: Rows) -> None:
    for f in range(LENGTHS[0]):
        for key in ("observation.state", "action"):
            table[LENGTHS[0] + f][key] = table[f][key]


def late(table: Rows) -> None:
    """The state comes 0.8 s after the action."""
    actions = column(table, "action")
    for number, row in enumerate(table):
        if row["frame_index"] >= 20:
            row["observation.state"] = actions[number - 20].tolist()


def degrees(table: Rows) -> None:
    for row in table:
        row["action"] = np.rad2deg(row["action"]).tolist()


def nan(table: Rows) -> None:
    table[30]["observation.state"][1] = float("nan")


def gap(table: Rows) -> None:
    for row in table[60:120]:
        row["timestamp"] += 0.4


def swapped(table: Rows) -> None:
    for row in table:
        row["action"][0], row["action"][3] = row["action"][3], row["action"][0]


def still_camera(table: Rows) -> None:
    for row in table[20:60]:
        row[CAMERA] = png(picture(7))


CASES: list[tuple[Callable[[Rows], None], str, str]] = [
    (jump, "error", "action: left_gripper: expected motion without one-row jumps, got +2.5"),
    (frozen, "error", "joints at rest for 1.6 s from row 40"),
    (idle, "warning", "nothing moves for 3."),
    (late, "warning", "0.80 s later"),
    (degrees, "error", "the action moves 57 times as far"),
    (nan, "error", "NaN or inf in frame 30"),
    (gap, "error", "row 60"),
    (swapped, "error", "it moves with joint"),
    (still_camera, "error", "the camera was frozen"),
]


@pytest.mark.parametrize(("change", "level", "words"), CASES, ids=[c[0].__name__ for c in CASES])
def test_faults_of_the_rows(
    tmp_path: Path, change: Callable[[Rows], None], level: str, words: str
) -> None:
    table = whole_rows()
    change(table)
    assert any(f.level == level and words in f.line for f in found(write(tmp_path / "set", table)))


def test_an_episode_that_is_there_twice(tmp_path: Path) -> None:
    table = whole_rows()
    doubled(table)
    folder = write(tmp_path / "set", table[: 2 * LENGTHS[0]])
    write_rows(folder / EPISODES, lines((LENGTHS[0], LENGTHS[0]), video=False))
    change_info(folder, lambda i: i.update(total_frames=2 * LENGTHS[0]))
    assert [f.line.split(";")[0] for f in found(folder)] == [
        "episode 1: expected rows of its own, got the rows of episode 0"
    ]


@pytest.mark.parametrize("name", ["min", "max", "mean", "std", "count"])
@pytest.mark.parametrize("key", ["observation.state", "action"])
def test_statistics_that_are_stale(tmp_path: Path, key: str, name: str) -> None:
    folder = write(tmp_path / "set")
    path = folder / "meta/stats.json"
    document = json.loads(path.read_text())
    document[key][name][0] += 0.1 if name != "count" else 7
    write_json(path, document)
    assert [f.level for f in found(folder)] == ["error"]
    assert f"meta/stats.json: {key}: {name}" in found(folder)[0].line
    document[key][name] = "x"
    write_json(path, document)
    assert [f.level for f in found(folder)] == ["error"]


def test_statistics_of_an_episode_that_are_stale(tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    listed = pq.read_table(folder / EPISODES).to_pylist()
    listed[1]["stats/action/max"][3] += 0.3
    write_rows(folder / EPISODES, listed)
    assert [f.line.split(": expected")[0] for f in found(folder)] == [
        "episode 1: statistics: action: max"
    ]


def test_what_others_stumble_over(tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    (folder / "README.md").unlink()
    assert [(f.level, "licence" in f.line) for f in found(folder)] == [("note", True)]
    data = folder / DATA
    elsewhere = data.rename(tmp_path / "rows.parquet")
    data.symlink_to(elsewhere)
    assert any(f.level == "warning" and "a link to" in f.line for f in found(folder))


def test_grippers_and_slow_sampling_are_no_jumps(tmp_path: Path) -> None:
    table = whole_rows()
    for row in table:
        row["action"][2] = float(row["frame_index"] // 25 % 2)  # open or closed
        row["action"][5] = float(row["frame_index"] == 40)
    assert not any("jump" in finding.line for finding in found(write(tmp_path / "set", table)))
