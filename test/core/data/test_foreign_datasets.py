# SPDX-License-Identifier: Apache-2.0
"""Datasets of others: the right rows, pictures and sentences, or one line that names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreign_dataset import (
    CAMERA,
    DATA,
    EPISODES,
    FPS,
    LENGTHS,
    NAMES,
    SENTENCE,
    SIZE,
    TASKS,
    VIDEO,
    change_info,
    level,
    lines,
    picture,
    png,
    rows,
    state,
    video_plan,
    write_json,
    write_rows,
    write_v21,
    write_v30,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from adamoe_ros.cli.main import main
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.validate import validate

Change = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


def shown(folder: Path, episode: int) -> tuple[list[float], list[int], list[str]]:
    """First joint, grey level and sentence of every row of an episode."""
    dataset = Dataset(folder)
    entry = next(entry for entry in dataset.episodes if entry.index == episode)
    dataset.check(entry)
    found = [observation for observation, _ in dataset.observations(entry)]
    slot = next(iter(dataset.cameras))
    return (
        [round(float(o.state[0]), 4) for o in found],
        [round(float(o.images[slot].mean())) for o in found],
        [o.instruction for o in found],
    )


def assert_own(folder: Path, episode: int, slack: int = 0) -> None:
    joints, levels, sentences = shown(folder, episode)
    count = LENGTHS[episode]
    assert joints == [round(state(episode, f)[0], 4) for f in range(count)]
    wanted = np.array([level(episode, f) for f in range(count)])
    assert np.abs(np.array(levels) - wanted).max() <= slack
    assert sentences == [SENTENCE] * count


def refused(folder: Path, *words: str) -> str:
    """The lines with which a dataset's rows and pictures are refused."""
    told = []
    try:
        dataset = Dataset(folder)
        for entry in dataset.episodes:
            try:
                dataset.check(entry)
                list(dataset.observations(entry))
            except ContractError as error:
                told += error.problems
    except ContractError as error:
        told += error.problems
    text = "\n".join(told)
    assert told and all(word in text for word in words), text
    assert main(["dataset", "validate", str(folder)]) in (2, 3)
    return text


@pytest.mark.parametrize("video", [False, True], ids=["png", "video"])
@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_whole_datasets(tmp_path: Path, version: str, video: bool) -> None:
    write = write_v30 if version == "v3.0" else write_v21
    folder = write(tmp_path / "set", video=video)
    for episode in range(3):
        assert_own(folder, episode, slack=1 if video else 0)
    assert [f.line for f in validate(Dataset(folder)) if f.level == "error"] == []


# --- rows ---------------------------------------------------------------------------------------


def without(column: str) -> Change:
    return lambda table: [{k: v for k, v in row.items() if k != column} for row in table]


@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("video", [False, True], ids=["png", "video"])
def test_a_lost_line_of_the_list(tmp_path: Path, lost: int, video: bool) -> None:
    listed = [line for line in lines(video=video) if line["episode_index"] != lost]
    folder = write_v30(tmp_path / "set", listed=listed, video=video)
    if not (video and lost == 2):  # its frames would follow those of episode 1
        for episode in {0, 1, 2} - {lost}:
            assert_own(folder, episode, slack=1)
    found = [f.line for f in validate(Dataset(folder)) if f.level == "error"]
    assert any("list of episodes" in line and f"episode {lost}" in line for line in found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t[:9] + t[10:], ("episode 1", "row 9", "frame_index")),
        (lambda t: t[:13] + t[14:], ("episode 1", "8 rows", "got 7")),
        (lambda t: t[:8] + t[7:], ("episode 1", "row 8", "frame_index")),
        (
            lambda t: [*t[:14], {**t[13], "frame_index": 8, "index": 14}, *t[14:]],
            ("episode 1", "got 9"),
        ),
        (lambda t: t + t[6:14], ("episode 1", "in one place")),
        (lambda t: t[:6][::-1] + t[6:], ("frame_index",)),
        (lambda t: t[:6] + t[14:], ("episode 1", "got 0")),
        (lambda t: [], ("got 0",)),
        (lambda t: t[14:] + t[:14], ()),
        (lambda t: [{**row, "index": row["index"] + 5} for row in t], ("index", "expected 0")),
        (lambda t: [{**r, "frame_index": r["frame_index"] + 1} for r in t], ("frame_index",)),
        (lambda t: [*t[:3], {**t[3], "episode_index": None}, *t[4:]], ("row 3", "null")),
        (lambda t: [*t[:3], {**t[3], "frame_index": None}, *t[4:]], ("row 3", "null")),
        (lambda t: [{**row, "timestamp": row["timestamp"] + 1} for row in t], ("timestamp",)),
        (
            lambda t: [*t[:4], *({**r, "timestamp": r["timestamp"] + 0.2} for r in t[4:6]), *t[6:]],
            ("row 4",),
        ),
        (lambda t: [{**row, "timestamp": row["timestamp"] * 2} for row in t], ("at 25 Hz",)),
        (lambda t: [*t[:2], {**t[2], "observation.state": [0.0]}, *t[3:]], ("one width",)),
        (lambda t: [*t[:2], {**t[2], "action": None}, *t[3:]], ("one width", "row 2")),
        (lambda t: [{**row, "action": "left"} for row in t], ("action",)),
        (without("action"), ("a column action",)),
        (
            lambda t: [{**r, "frame_index": r["frame_index"] + 0.5} for r in t],
            ("frame_index", "0.5"),
        ),
        (lambda t: [{**r, "task_index": 0.5} for r in t], ("task_index", "0.5")),
        (lambda t: [*t[:2], {**t[2], "task_index": 7}, *t[3:]], ("row 2", "task_index", "7")),
    ],
)
def test_rows_that_contradict_the_list(
    tmp_path: Path, change: Change, words: tuple[str, ...]
) -> None:
    """Refused by name; or, where only the order of whole episodes is another, read."""
    folder = write_v30(tmp_path / "set", table=change(rows()))
    if words:
        refused(folder, *words)
    else:
        for episode in range(3):
            assert_own(folder, episode)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: [t[0], {**t[1], "data/file_index": 4}, t[2]], ("episode 1", "no such file")),
        (lambda t: [t[0], {**t[1], "data/file_index": None}, t[2]], ("data/file_index",)),
        (lambda t: [t[0], {**t[1], "length": 7}, t[2]], ("length",)),
        (lambda t: [t[0], {**t[1], "length": -1}, t[2]], ("length",)),
        (
            lambda t: [t[0], {**t[1], "dataset_from_index": 5, "dataset_to_index": 13}, t[2]],
            ("index",),
        ),
        (lambda t: [*t, t[1]], ("one line on episode 1",)),
        (lambda t: [t[0], {**t[1], "episode_index": None}, t[2]], ("row 1", "episode_index")),
        (lambda t: [t[0], {**t[2], "episode_index": 1}, {**t[1], "episode_index": 2}], ()),
    ],
)
def test_lines_that_contradict_the_rows(
    tmp_path: Path, change: Change, words: tuple[str, ...]
) -> None:
    folder = write_v30(tmp_path / "set", listed=change(lines(video=False)))
    refused(folder, *words)


@pytest.mark.parametrize("column", ["dataset_from_index", "length", "tasks", "dataset_to_index"])
@pytest.mark.parametrize("how", ["absent", "null"])
def test_columns_of_the_list_that_are_not_needed(tmp_path: Path, column: str, how: str) -> None:
    listed = lines(video=False)
    for line in listed:
        line[column] = None
        if how == "absent":
            del line[column]
    folder = write_v30(tmp_path / "set", listed=listed)
    for episode in range(3):
        assert_own(folder, episode)


@pytest.mark.parametrize(
    "column", ["episode_index", "frame_index", "index", "timestamp", "task_index"]
)
def test_columns_of_the_rows_that_others_make_up_for(tmp_path: Path, column: str) -> None:
    folder = write_v30(tmp_path / "set")
    table = pq.read_table(folder / DATA)
    pq.write_table(table.drop_columns([column]), folder / DATA)
    for episode in range(3):
        assert_own(folder, episode)


def test_rows_without_episodes_are_not_guessed(tmp_path: Path) -> None:
    folder = write_v30(tmp_path / "set", listed=lines(video=False)[:2])
    table = pq.read_table(folder / DATA)
    pq.write_table(table.drop_columns(["episode_index"]), folder / DATA)
    refused(folder, "14 rows", "21 rows")


def test_an_episode_without_rows(tmp_path: Path) -> None:
    listed = lines(video=False)
    listed.append({**listed[2], "episode_index": 3, "length": 0, "dataset_from_index": 21})
    folder = write_v30(tmp_path / "set", listed=listed)
    assert shown(folder, 3) == ([], [], [])
    assert_own(folder, 2)
    assert any("episode 3: expected rows" in f.line for f in validate(Dataset(folder)))


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(3)), st.integers(0, 20), st.sampled_from(["drop", "double", "none"]))
def test_never_the_rows_of_another(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], place: int, what: str
) -> None:
    """Whatever the order of episodes in the file and whichever row is lost or doubled."""
    table = [row for e in order for row in rows() if row["episode_index"] == e]
    hit = table[place]["episode_index"]
    table = table[: place + (what == "double")] + table[place + (what == "drop") :]
    folder = write_v30(tmp_path_factory.mktemp("set"), table=table)
    for episode in range(3):
        if what == "none" or episode != hit:
            assert_own(folder, episode)
        else:
            with pytest.raises(ContractError, match=f"episode {episode}|frame_index"):
                shown(folder, episode)


# --- videos -------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["30000/1001", "29.97002997002997"])
def test_a_rate_that_is_written_as_text(tmp_path: Path, written: str) -> None:
    folder = write_v30(tmp_path / "set", video=True, fps=30000 / 1001)
    change_info(folder, lambda i: i.update(fps=written))
    assert Dataset(folder).fps == pytest.approx(30000 / 1001, abs=1e-12)
    assert_own(folder, 2, slack=1)


@pytest.mark.parametrize("fps", [29.97, 30000 / 1001, 23.976, 12.5, 7.3, 59.94])
def test_rates_that_are_no_whole_numbers(tmp_path: Path, fps: float) -> None:
    folder = write_v30(tmp_path / "set", video=True, fps=fps)
    assert Dataset(folder).fps == fps
    for episode in range(3):
        assert_own(folder, episode, slack=1)


Plan = list[tuple[float, int]]


def doubled(plan: Plan, place: int) -> Plan:
    """A frame is encoded twice and everything after it comes a period later."""
    late = [(time + 1 / FPS, grey) for time, grey in plan[place:]]
    return [*plan[:place], (plan[place][0], plan[place][1]), *late]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p[:9] + p[10:], ("episode 1", "row 3", CAMERA)),
        (lambda p: p[1:], ("episode 0", "row 0")),
        (lambda p: p[:-1], ("episode 2", "row 6")),
        (lambda p: p[:8] + p[11:], ("episode 1", "row 2", "3 of 8 rows")),
        (lambda p: doubled(p, 8), ("episode 2", "belongs to none")),
        (lambda p: [*p[:8], (p[8][0] - 0.02, 0), *p[8:]], ("episode 1", "belongs to none", "row")),
        (lambda p: [(time * 1.1, grey) for time, grey in p], ("row",)),
        (lambda p: [(time + 0.3 * (time > 0.4), grey) for time, grey in p], ("episode 1", "row 5")),
        (
            lambda p: [(i / FPS, grey) for i, (_, grey) in enumerate(p[:9] + p[10:])],
            ("episode 2", "row 6"),
        ),
    ],
    ids=["dropped", "first", "last", "three", "doubled", "between", "slow", "gap", "moved up"],
)
def test_frames_that_are_not_the_rows(
    tmp_path: Path, change: Callable[[Plan], Plan], words: tuple[str, ...]
) -> None:
    folder = write_v30(tmp_path / "set", video=True, plan=change(video_plan()))
    refused(folder, *words)


def test_a_video_that_lost_every_second_frame(tmp_path: Path) -> None:
    """It looks like a slower one; the dataset says that it is none, or rows share frames, which is told."""
    folder = write_v30(tmp_path / "set", video=True, plan=video_plan()[::2])
    found = [f.line for f in validate(Dataset(folder))]
    assert any("cam_high" in line and "12.5 Hz; rows share frames" in line for line in found)
    change_info(folder, lambda i: i["features"][CAMERA].update(info={"video.fps": FPS}))
    refused(folder, "episode 0", "row 1", "3 of 6 rows have none")


def test_episodes_that_stand_in_another_order_in_a_video(tmp_path: Path) -> None:
    """Of equal length, nothing else tells them from episodes whose places were swapped in the list."""
    lengths, place = (7, 7, 7), f"videos/{CAMERA}/from_timestamp"
    listed = lines(lengths)
    for line, begin in zip(listed, (0, 14, 7), strict=True):
        line[place] = begin / FPS
        line[place.replace("from", "to")] = (begin + 7) / FPS
    folder = write_v30(tmp_path / "set", rows(lengths), listed, video=True)
    found = [f.line for f in validate(Dataset(folder)) if f.level == "warning"]
    assert any("episode 1: expected it before episode 2" in line for line in found)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: [(time + 2.0, grey) for time, grey in p],
        lambda p: [(time + 0.006 * (-1) ** i * (i > 0), grey) for i, (time, grey) in enumerate(p)],
        lambda p: [(t, g) for time, grey in p for t, g in ((time, grey), (time + 0.02, 0))],
    ],
    ids=["begins later", "trembles", "twice the rate"],
)
def test_videos_that_are_whole(tmp_path: Path, change: Callable[[Plan], Plan]) -> None:
    folder = write_v30(tmp_path / "set", video=True, plan=change(video_plan()))
    for episode in range(3):
        assert_own(folder, episode, slack=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({f"videos/{CAMERA}/from_timestamp": 0.0}, ("from_timestamp",)),
        ({f"videos/{CAMERA}/from_timestamp": None}, ("episode 1", "from_timestamp")),
        ({f"videos/{CAMERA}/from_timestamp": -1.0}, ("row 1", "from_timestamp")),
        ({f"videos/{CAMERA}/to_timestamp": 9.0}, ("to_timestamp",)),
        ({f"videos/{CAMERA}/file_index": 3}, ("episode 1", "no such file")),
        ({f"videos/{CAMERA}/chunk_index": None}, ("chunk_index",)),
    ],
)
def test_places_in_a_video_that_cannot_be(
    tmp_path: Path, change: dict[str, Any], words: tuple[str, ...]
) -> None:
    listed = lines()
    listed[1] |= change
    refused(write_v30(tmp_path / "set", listed=listed, video=True), *words)


@pytest.mark.parametrize("damage", [b"", b"no video", None])
def test_videos_that_are_none(tmp_path: Path, damage: bytes | None) -> None:
    folder = write_v30(tmp_path / "set", video=True)
    path = folder / VIDEO
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert str(path) in refused(folder, "episode 0")


# --- sentences ----------------------------------------------------------------------------------


def test_every_row_has_its_own_sentence(tmp_path: Path) -> None:
    table = rows()
    for row in table:
        row["task_index"] = 2 if row["frame_index"] >= 4 else 0
    folder = write_v30(tmp_path / "set", table=table)
    write_rows(
        folder / TASKS,
        [{"task_index": 2, "task": "push it"}, {"task_index": 0, "task": SENTENCE}],
    )
    for episode, length in enumerate(LENGTHS):
        assert shown(folder, episode)[2] == [SENTENCE] * 4 + ["push it"] * (length - 4)


def pandas_table(index: Any) -> pa.Table:
    table = pa.table({"task": [SENTENCE]})
    if isinstance(index, str):
        table = table.append_column(index, pa.array([0]))
    return table.replace_schema_metadata({"pandas": json.dumps({"index_columns": [index]})})


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"task_index": [0], "task": [SENTENCE]}),
        pa.table({"task": [SENTENCE], "task_index": [0], "note": [1.5]}),
        pa.table({"task_index": [0], "sentence": [SENTENCE]}),
        pa.table({"task_index": pa.array([0.0]), "task": [SENTENCE]}),
        pa.table({"task_index": [0, None], "task": [SENTENCE, None]}),
        pa.table({"task_index": [0, 3], "task": [SENTENCE, None]}),
        pa.table({"task_index": [0], "task": pa.array([SENTENCE]).dictionary_encode()}),
        pandas_table("number"),
        pandas_table({"kind": "range", "start": 0, "stop": 1}),
    ],
)
def test_tables_of_tasks(tmp_path: Path, table: pa.Table) -> None:
    folder = write_v30(tmp_path / "set")
    pq.write_table(table, folder / TASKS)
    assert_own(folder, 1)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"task": [SENTENCE]}),
        pa.table({"task_index": [0]}),
        pa.table({"task_index": [0, 0], "task": [SENTENCE, "push"]}),
        pa.table({"task_index": ["a"], "task": [SENTENCE]}),
        pa.table({"task_index": [0], "a": ["b"], "c": ["d"]}),
    ],
)
def test_tables_of_tasks_that_say_nothing_certain(tmp_path: Path, table: pa.Table) -> None:
    folder = write_v30(tmp_path / "set")
    pq.write_table(table, folder / TASKS)
    refused(folder, "tasks.parquet")


def test_a_list_of_tasks_that_is_lost(tmp_path: Path) -> None:
    """The sentence of an episode that has only one is known."""
    folder = write_v30(tmp_path / "set")
    (folder / TASKS).unlink()
    assert_own(folder, 1)
    listed = lines(video=False)
    listed[1]["tasks"] = [SENTENCE, "push it"]
    write_rows(folder / EPISODES, listed)
    refused(folder, "episode 1", "task_index")


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_the_other_versions_list_of_tasks_does_not_count(tmp_path: Path, version: str) -> None:
    """A converted dataset keeps the list that it had before, and another order of sentences."""
    folder = (write_v30 if version == "v3.0" else write_v21)(tmp_path / "set")
    stale = {"task_index": 0, "task": "push it"}
    if version == "v3.0":
        (folder / "meta/tasks.jsonl").write_text(json.dumps(stale), encoding="utf-8")
    else:
        write_rows(folder / TASKS, [stale])
    assert_own(folder, 1)


# --- meta/ --------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    folder = write_v21(tmp_path / "set")
    for path in (folder / "meta").iterdir():
        path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    assert_own(folder, 2)


@pytest.mark.parametrize("how", ["pretty", "list", "blank lines", "cr"])
def test_json_lines_in_other_forms(tmp_path: Path, how: str) -> None:
    folder = write_v21(tmp_path / "set")
    for path in (folder / "meta").glob("*.jsonl"):
        values = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        text = {
            "pretty": "\n".join(json.dumps(value, indent=2) for value in values),
            "list": json.dumps(values),
            "blank lines": "\n\n".join(map(json.dumps, values)) + "\n\n\n",
            "cr": "\r\n".join(map(json.dumps, values)),
        }[how]
        path.write_text(text, encoding="utf-8", newline="")
    assert_own(folder, 2)


@pytest.mark.parametrize("name", ["info.json", "episodes.jsonl", "tasks.jsonl"])
@pytest.mark.parametrize("damage", ["cut", "empty", "null", "bytes", "folder", "number", "gone"])
def test_damaged_files_in_meta(tmp_path: Path, name: str, damage: str) -> None:
    folder = write_v21(tmp_path / "set")
    path = folder / "meta" / name
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "gone":
        made = {"cut": whole[:-15], "empty": b"", "null": b"null", "bytes": b"\xff\xfe\x00\xd8\x01"}
        path.write_bytes(made.get(damage, b"17"))
    if name == "tasks.jsonl" and damage in ("gone", "empty"):
        assert_own(folder, 1)  # the list of episodes says the sentence
        return
    if name == "episodes.jsonl" and damage == "empty":
        assert main(["dataset", "validate", str(folder)]) == 3
        return
    refused(folder, name)


def test_the_line_that_is_cut_is_named(tmp_path: Path) -> None:
    folder = write_v21(tmp_path / "set")
    path = folder / "meta/episodes.jsonl"
    path.write_text(path.read_text()[:-20])
    refused(folder, f"{path}: line 3")


@pytest.mark.parametrize(
    "names",
    [
        {name: column for column, name in reversed(list(enumerate(NAMES)))},
        {"motors": NAMES},
        {"left": NAMES[:3], "right": NAMES[3:]},
        [NAMES],
        {str(column): name for column, name in enumerate(NAMES)},
        {name: float(column) for column, name in enumerate(NAMES)},
        {name: str(column + 1) for column, name in enumerate(NAMES)},
        {name: 3 * column + 11 for column, name in enumerate(NAMES)},
    ],
)
def test_names_in_other_forms(tmp_path: Path, names: Any) -> None:
    folder = write_v30(tmp_path / "set")
    change_info(folder, lambda i: i["features"]["action"].update(names=names))
    assert Dataset(folder).names("action") == NAMES
    assert main(["dataset", "validate", str(folder)]) == 0


@pytest.mark.parametrize("names", [None, {}, [], {"motors": None}])
def test_no_names(tmp_path: Path, names: Any) -> None:
    folder = write_v30(tmp_path / "set")
    change_info(folder, lambda i: i["features"]["action"].update(names=names))
    assert Dataset(folder).names("action") == []
    assert main(["dataset", "validate", str(folder)]) == 0


@pytest.mark.parametrize(
    "names",
    [{"a": 0, "b": 0}, 17, {"a": 1.5}, {"a": "b"}, {"a": 12, "b": 11}, {"a": 0, "b": None}],
)
def test_names_that_are_none(tmp_path: Path, names: Any) -> None:
    folder = write_v30(tmp_path / "set")
    change_info(folder, lambda i: i["features"]["action"].update(names=names))
    refused(folder, "info.json", "action", "names")


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
@pytest.mark.parametrize(
    "key",
    ["robot_type", "chunks_size", "data_path", "video_path", "total_frames", "total_episodes"],
)
@pytest.mark.parametrize("how", ["absent", "null"])
def test_keys_of_info_that_are_not_needed(
    tmp_path: Path, version: str, key: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = (write_v30 if version == "v3.0" else write_v21)(tmp_path / "set")
    change_info(folder, lambda i: i.pop(key) if how == "absent" else i.update({key: None}))
    assert_own(folder, 1)
    assert main(["dataset", "validate", str(folder)]) == 0
    assert main(["dataset", "info", str(folder)]) == 0
    assert ("not named" in capsys.readouterr().out) == (key == "robot_type")


@pytest.mark.parametrize("video", [False, True], ids=["png", "video"])
@pytest.mark.parametrize("feature", ["observation.state", "timestamp", CAMERA])
@pytest.mark.parametrize("part", ["dtype", "shape", "names"])
def test_features_that_say_less(tmp_path: Path, feature: str, part: str, video: bool) -> None:
    folder = write_v30(tmp_path / "set", video=video)
    change_info(folder, lambda i: i["features"][feature].pop(part))
    assert_own(folder, 1, slack=1)
    assert main(["dataset", "validate", str(folder)]) == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("fps", value) for value in (None, 0, -5, "fast", "1/0", [25], True, float("nan"))),
        *(("codebase_version", value) for value in (None, "v1.6", 7, {})),
        *(
            ("features", value)
            for value in (None, [], {"action": None}, {"action": {"shape": "x"}})
        ),
        *(("data_path", value) for value in ("data/{x}.parquet", "data/{chunk_index:x", 17)),
    ],
)
def test_keys_of_info_that_are_wrong(tmp_path: Path, key: str, value: Any) -> None:
    folder = write_v30(tmp_path / "set")
    change_info(folder, lambda i: i.update({key: value}))
    assert main(["dataset", "validate", str(folder)]) in (2, 3)
    assert main(["dataset", "info", str(folder)]) in (0, 2)


@pytest.mark.parametrize("version", ["3.0", "v3.0", "V3.0", 3.0])
def test_spellings_of_the_version(tmp_path: Path, version: Any) -> None:
    folder = write_v30(tmp_path / "set")
    change_info(folder, lambda i: i.update(codebase_version=version))
    assert_own(folder, 0)


@pytest.mark.parametrize("job", ["info", "validate"])
@pytest.mark.parametrize("kind", ["file", "nothing", "empty", "meta is a file"])
def test_folders_that_are_none(tmp_path: Path, job: str, kind: str) -> None:
    path = tmp_path / "set"
    if kind == "file":
        path.write_text("no dataset")
    elif kind != "nothing":
        path.mkdir()
    if kind == "meta is a file":
        (path / "meta").write_text("")
    assert main(["dataset", job, str(path)]) == 2


# --- pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mark",
    [
        {"info": {"is_depth_map": True}},
        {"info": {"video.is_depth_map": True}},
        {"video_info": {"video.is_depth_map": True}},
        {"info": {"video.pix_fmt": "gray12le"}},
        {"shape": [*SIZE, 1]},
        {"shape": [1, *SIZE]},
        {"shape": list(SIZE)},
    ],
)
def test_depth_maps_are_no_cameras(
    tmp_path: Path, mark: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_v30(tmp_path / "set")
    other = "observation.images.lidar"
    table = pq.read_table(folder / DATA).to_pylist()
    for row in table:
        row[other] = png(np.full(SIZE, 900 + row["index"], np.uint16))
    write_rows(folder / DATA, table)
    feature = {"dtype": "image", "shape": [*SIZE, 3], "names": None} | mark
    change_info(folder, lambda i: i["features"].update({other: feature}))
    dataset = Dataset(folder)
    assert (list(dataset.cameras), list(dataset.depth_cameras)) == (["cam_high"], ["lidar"])
    assert main(["dataset", "validate", str(folder)]) == 0
    assert main(["dataset", "info", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "cameras cam_high;" in out
    assert any("depth maps" in line and line.endswith("lidar") for line in out.splitlines())


def test_depth_maps_by_name_and_by_content(tmp_path: Path) -> None:
    folder = write_v30(tmp_path / "set")
    change_info(
        folder,
        lambda i: i["features"].update({"observation.images.depth_left": i["features"][CAMERA]}),
    )
    assert list(Dataset(folder).cameras) == ["cam_high"]
    folder = write_v30(tmp_path / "other")
    table = pq.read_table(folder / DATA).to_pylist()
    for row in table:
        row[CAMERA] = png(np.full(SIZE, 900, np.uint16))
    write_rows(folder / DATA, table)
    refused(folder, "depth map", "episode 0", "row 0")


def jpeg() -> bytes:
    return bytes(cv2.imencode(".jpg", picture(9))[1].tobytes())


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (None, ("row 3", "none")),
        ({"bytes": None, "path": None}, ("row 3", "none")),
        ({"bytes": b"\x89PNG", "path": None}, ("row 3", "4 bytes")),
        ({"bytes": png(picture(9))["bytes"][:-9], "path": None}, ("row 3", "cut")),
        ({"bytes": jpeg()[:-40], "path": None}, ("row 3", "cut")),
        ({"bytes": None, "path": "images/none.png"}, ("row 3", "none")),
    ],
)
def test_pictures_that_are_none(tmp_path: Path, cell: Any, words: tuple[str, ...]) -> None:
    folder = write_v30(tmp_path / "set")
    table = pq.read_table(folder / DATA).to_pylist()
    table[3][CAMERA] = cell
    write_rows(folder / DATA, table)
    refused(folder, CAMERA, "episode 0", *words)


def test_pictures_in_files_beside_the_table(tmp_path: Path) -> None:
    folder = write_v30(tmp_path / "set")
    table = pq.read_table(folder / DATA).to_pylist()
    (folder / "images").mkdir()
    for row in table:
        name = f"images/{row['index']}.png"
        (folder / name).write_bytes(row[CAMERA]["bytes"])
        row[CAMERA] = {"bytes": None, "path": name}
    write_rows(folder / DATA, table)
    assert_own(folder, 2)
    assert picture(3).shape == (*SIZE, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("q01", "text"), ("q50", [[]]), ("q99", [0.0]), ("count", [[1], [1, 2]]), ("std", None)],
)
def test_statistics_that_are_none(tmp_path: Path, name: str, value: Any) -> None:
    folder = write_v30(tmp_path / "set")
    values = np.array([row["action"] for row in rows()], np.float32).astype(float)
    good = {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
    }
    good |= {f"q{q:02d}": np.quantile(values, q / 100, axis=0) for q in (1, 50, 99)}
    stored = {key: item.tolist() for key, item in good.items()} | {"count": [len(values)]}
    write_json(folder / "meta/stats.json", {"action": stored})
    assert main(["dataset", "validate", str(folder)]) == 0
    if isinstance(value, str) or value == [[]]:
        value = [value, *stored[name][1:]]
    write_json(folder / "meta/stats.json", {"action": stored | {name: value}})
    found = [f.line for f in validate(Dataset(folder)) if f.level == "error"]
    assert any(f"meta/stats.json: action: {name}" in line for line in found)


def test_a_damaged_account_of_our_own(tmp_path: Path) -> None:
    folder = write_v30(tmp_path / "set")
    write_json(folder / "meta/adamoe.json", [])
    refused(folder, "adamoe.json")
