# SPDX-License-Identifier: Apache-2.0
"""What public dataset linters look for, one fault each, beside a whole dataset that has none.

The table in doc/bags.md names these cases; ``make conformance-linters`` lets the linters see them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import linted_dataset as linted
import pyarrow.parquet as pq
import pytest
from foreign_dataset import DATA, EPISODES, write_json, write_rows
from linted_dataset import Rows, whole_rows, write

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.data.dataset_checks import Finding
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.validate import validate


def found(folder: Path) -> list[Finding]:
    return validate(Dataset(folder))


def has(folder: Path, level: str, words: str) -> bool:
    """Whether a finding of a level has these words."""
    return any(f.level == level and words in f.line for f in found(folder))


def test_a_whole_dataset_has_nothing(tmp_path: Path) -> None:
    assert found(write(tmp_path / "set")) == []


CASES: list[tuple[Callable[[Rows], None], str, str]] = [
    (linted.jump, "error", "action: left_gripper: expected motion without one-row jumps, got +2.5"),
    (linted.glitch, "warning", "left_1: expected motion without short jumps, got +1.481 in row 50"),
    (linted.teleport, "warning", "a step of up to 1.52 of most joints at once in row 60"),
    (linted.frozen, "error", "joints at rest for 1.6 s from row 40"),
    (linted.frozen_action, "warning", "action: expected to lead the state, which moves, got it"),
    (linted.idle, "warning", "nothing moves for 3."),
    (linted.late, "warning", "0.80 s later"),
    (linted.degrees, "error", "the action moves 57 times as far"),
    (linted.nan, "error", "NaN or inf in frame 30"),
    (linted.empty_joint, "error", "NaN or inf in frame 0"),
    (linted.gap, "error", "row 60"),
    (linted.times_later, "error", "timestamp: expected 0.000 s in row 0"),
    (linted.times_back, "error", "timestamp: expected 2.000 s in row 50"),
    (linted.times_drift, "error", "timestamp: expected 2.000 s in row 50"),
    (linted.frames_from_one, "error", "frame_index: expected 0, got 1"),
    (linted.index_gap, "error", "index: expected 120"),
    (linted.unknown_task, "error", "expected a task_index of 0, got 7"),
    (linted.swapped, "error", "it moves with joint"),
    (linted.still_camera, "error", "the camera was frozen"),
    (linted.clipped, "note", "left_0: expected commands within a range, got its end in 65%"),
    (linted.dead_joint, "note", "right_1: expected a joint that moves, got 0.25 in every row"),
]


@pytest.mark.parametrize(("change", "level", "words"), CASES, ids=[c[0].__name__ for c in CASES])
def test_faults_of_the_rows(
    tmp_path: Path, change: Callable[[Rows], None], level: str, words: str
) -> None:
    table = whole_rows()
    change(table)
    assert has(write(tmp_path / "set", table), level, words)


FILES: list[tuple[Callable[[Path], None], str, str]] = [
    (linted.no_statistics, "note", "meta/stats.json: action: expected statistics, got none"),
    (linted.no_action_statistics, "note", "meta/stats.json: action: expected statistics, got none"),
    (linted.no_deviation, "note", "meta/stats.json: action: expected std, got none"),
    (linted.quantiles_out_of_order, "error", "expected min <= q01 <= q99 <= max"),
    (linted.stale_statistics, "error", "meta/stats.json: action: max: expected"),
    (linted.stale_count, "error", "episode 1: statistics: action: count"),
    (linted.picture_size, "warning", "expected pictures of (480, 640, 3), as info.json says"),
    (linted.too_few_names, "error", "action: expected 6 names, got 4"),
    (linted.other_width, "error", "expected 7 numbers a row, as meta/info.json says, got 6"),
    (linted.absolute_paths, "warning", "info.json: data_path: expected a path in the dataset"),
    (linted.stray_file, "note", "notes.txt: expected parquet files in data/"),
    (linted.stray_rows, "error", "file-001.parquet, got none; its 120 rows are not read"),
    (linted.wrong_begin, "error", "index: expected 130"),
    (linted.lost_line, "error", "expected a line on episode 0"),
    (
        linted.gap_of_episodes,
        "warning",
        "episodes: expected 0 ... 1 in order, got none of number 1",
    ),
    (linted.wrong_counts, "error", "total_frames: expected 270, got 1000"),
    (linted.other_rate, "error", "at 50 Hz"),
    (linted.lost_column, "error", "expected a column action"),
    (linted.lost_other_column, "warning", "observation.effort: expected a column in the data"),
    (linted.words_for_numbers, "error", "expected rows of numbers, got string"),
    (linted.no_tasks, "warning", "meta/tasks.parquet: expected a list of tasks, got none"),
    (linted.no_sentence, "error", "expected an instruction for every frame"),
    (linted.no_real_sentence, "warning", "expected an instruction, got 'TODO'"),
    (linted.cut_rows, "error", "expected a parquet file"),
]


@pytest.mark.parametrize(("change", "level", "words"), FILES, ids=[c[0].__name__ for c in FILES])
def test_faults_of_the_files(
    tmp_path: Path, change: Callable[[Path], None], level: str, words: str
) -> None:
    folder = write(tmp_path / "set")
    change(folder)
    assert has(folder, level, words)


REFUSED = [
    linted.wrong_end,
    linted.wrong_length,
    linted.wrong_file,
    linted.no_rate,
    linted.unknown_version,
]


@pytest.mark.parametrize("change", REFUSED, ids=[change.__name__ for change in REFUSED])
def test_what_is_refused_before_it_is_looked_at(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = write(tmp_path / "set")
    change(folder)
    with pytest.raises(ContractError):
        Dataset(folder)


OWN: list[tuple[Callable[[Path], None], str, str]] = [
    (
        linted.short_episode,
        "warning",
        "episode 1: expected about 120 rows as others have, got 3 rows",
    ),
    (linted.odd_episode, "warning", "episode 7: action: expected to move about as far as others"),
    (linted.shifted_episodes, "warning", "action: expected the same range in all episodes"),
    (linted.twice, "warning", "episode 1: expected rows of its own, got the rows of episode 0"),
    (linted.video_off_grid, "warning", "expected frames at the times of the rows, got one 8.0 ms"),
    (linted.video_slow, "warning", "expected a video of 25 Hz, got 12.5 Hz"),
    (linted.video_size, "warning", "expected pictures of (480, 640, 3), as info.json says"),
    (linted.video_short, "error", "expected a frame at 10.000 s for row 130"),
]


@pytest.mark.parametrize(("make", "level", "words"), OWN, ids=[case[0].__name__ for case in OWN])
def test_faults_of_episodes_and_videos(
    tmp_path: Path, make: Callable[[Path], None], level: str, words: str
) -> None:
    make(tmp_path / "set")
    assert has(tmp_path / "set", level, words)


def test_many_episodes_and_a_video_that_are_whole(tmp_path: Path) -> None:
    assert found(write(tmp_path / "many", lengths=[60] * 12)) == []
    assert found(write(tmp_path / "video", video=True)) == []


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
