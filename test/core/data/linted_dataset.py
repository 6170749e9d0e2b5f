# SPDX-License-Identifier: Apache-2.0
"""A whole LeRobot dataset, and what public dataset linters look for, one fault each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from foreign_dataset import (
    CAMERA,
    DATA,
    EPISODES,
    FPS,
    NAMES,
    TASKS,
    VIDEO,
    change_info,
    info,
    lines,
    picture,
    png,
    write_json,
    write_rows,
    write_video,
)

LENGTHS = (120, 150)
VECTORS = ("observation.state", "action")
Rows = list[dict[str, Any]]


def moving(episode: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, J) states that follow the actions two rows later."""
    times = np.arange(length)[:, None] / FPS
    speeds = 1.0 + 0.2 * np.arange(len(NAMES)) + 0.1 * episode

    def place(time: np.ndarray) -> np.ndarray:
        return 0.4 * np.sin(speeds * time + np.arange(len(NAMES)))

    return place(times - 2 / FPS), place(times)


def whole_rows(lengths: Sequence[int] = LENGTHS) -> Rows:
    table: Rows = []
    for e, length in enumerate(lengths):
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
                    CAMERA: png(picture(40 + f % 200)),
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


def write(
    folder: Path, table: Rows | None = None, lengths: Sequence[int] = LENGTHS, video: bool = False
) -> Path:
    """Whole but for what ``table`` has; statistics fit what is there."""
    table = whole_rows(lengths) if table is None else table
    document = info(video=video) | {"total_episodes": len(lengths), "total_frames": len(table)}
    write_json(folder / "meta/info.json", document)
    write_rows(folder / TASKS, [{"task_index": 0, "task": "lift the bar"}])
    listed = lines(lengths, video=video)
    for e, line in enumerate(listed):
        for key in VECTORS:
            for name, values in statistics(column(table, key, e)).items():
                line[f"stats/{key}/{name}"] = values
    write_rows(folder / EPISODES, listed)
    write_json(folder / "meta/stats.json", {k: statistics(column(table, k)) for k in VECTORS})
    if video:
        write_rows(folder / DATA, [{k: v for k, v in r.items() if k != CAMERA} for r in table])
        levels = [40 + row["frame_index"] % 200 for row in table]
        write_video(folder / VIDEO, levels, [number / FPS for number in range(len(table))])
    else:
        write_rows(folder / DATA, table)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return folder


# --- faults of the rows -------------------------------------------------------------------------


def jump(table: Rows) -> None:
    table[50]["action"][2] += 2.5


def frozen(table: Rows) -> None:
    for row in table[40:80]:
        row["observation.state"] = list(table[40]["observation.state"])


def idle(table: Rows) -> None:
    for row in table[20:110]:
        for key in VECTORS:
            row[key] = list(table[20][key])


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


def teleport(table: Rows) -> None:
    """Every joint is elsewhere from one row to the next, and stays there."""
    for row in table[60:120]:
        for key in VECTORS:
            row[key] = [value + 1.5 for value in row[key]]


def glitch(table: Rows) -> None:
    """A joint is elsewhere for three rows."""
    for row in table[50:53]:
        row["observation.state"][1] += 1.5


def clipped(table: Rows) -> None:
    """A joint's command is cut at a bound for two thirds of the time."""
    most = float(np.quantile(column(table, "action")[:, 0], 0.35))
    for row in table:
        row["action"][0] = min(row["action"][0], most)


def dead_joint(table: Rows) -> None:
    for row in table:
        for key in VECTORS:
            row[key][4] = 0.25


def empty_joint(table: Rows) -> None:
    for row in table:
        row["observation.state"][4] = float("nan")


def frozen_action(table: Rows) -> None:
    for row in table[40:80]:
        row["action"] = list(table[40]["action"])


def foreign_action(table: Rows) -> None:
    """Actions that have nothing to do with the states."""
    random = np.random.default_rng(0)
    for e, length in enumerate(LENGTHS):
        steps = random.normal(0, 0.05, (length, len(NAMES))).cumsum(axis=0)
        for row, values in zip((r for r in table if r["episode_index"] == e), steps, strict=True):
            row["action"] = values.tolist()


def chatter(table: Rows) -> None:
    for row in table:
        for key in VECTORS:
            row[key][2] = float(row["frame_index"] % 2)


def times_later(table: Rows) -> None:
    for row in table:
        row["timestamp"] += 5.0


def times_back(table: Rows) -> None:
    table[50]["timestamp"], table[51]["timestamp"] = table[51]["timestamp"], table[50]["timestamp"]


def times_drift(table: Rows) -> None:
    for row in table:
        row["timestamp"] *= 1.01


def frames_from_one(table: Rows) -> None:
    for row in table:
        row["frame_index"] += 1


def index_gap(table: Rows) -> None:
    for row in table[LENGTHS[0] :]:
        row["index"] += 10


def unknown_task(table: Rows) -> None:
    for row in table[LENGTHS[0] :]:
        row["task_index"] = 7


# --- faults of the files ------------------------------------------------------------------------


def no_statistics(folder: Path) -> None:
    (folder / "meta/stats.json").unlink()
    write_rows(folder / EPISODES, lines(LENGTHS, video=False))


def no_action_statistics(folder: Path) -> None:
    path = folder / "meta/stats.json"
    document = json.loads(path.read_text())
    del document["action"]
    write_json(path, document)


def no_deviation(folder: Path) -> None:
    path = folder / "meta/stats.json"
    document = json.loads(path.read_text())
    del document["action"]["std"]
    write_json(path, document)


def quantiles_out_of_order(folder: Path) -> None:
    path = folder / "meta/stats.json"
    document = json.loads(path.read_text())
    document["action"] |= {"q01": document["action"]["max"], "q99": document["action"]["min"]}
    write_json(path, document)


def stale_statistics(folder: Path) -> None:
    path = folder / "meta/stats.json"
    document = json.loads(path.read_text())
    document["action"]["max"][0] += 0.5
    write_json(path, document)


def stale_count(folder: Path) -> None:
    _change_lines(folder, lambda listed: listed[1]["stats/action/count"].__setitem__(0, 7))


def picture_size(folder: Path) -> None:
    change_info(folder, lambda i: i["features"][CAMERA].update(shape=[480, 640, 3]))


def too_few_names(folder: Path) -> None:
    change_info(folder, lambda i: i["features"]["action"].update(names=NAMES[:4]))


def other_width(folder: Path) -> None:
    change_info(folder, lambda i: i["features"]["action"].update(shape=[7], names=[*NAMES, "x"]))


def absolute_paths(folder: Path) -> None:
    path = f"{folder}/" + "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    change_info(folder, lambda i: i.update(data_path=path))


def stray_file(folder: Path) -> None:
    (folder / "data/chunk-000/notes.txt").write_text("?")


def stray_rows(folder: Path) -> None:
    table = pq.read_table(folder / DATA)
    pq.write_table(table, folder / "data/chunk-000/file-001.parquet")


def _change_lines(folder: Path, change: Callable[[Rows], Any]) -> None:
    listed = pq.read_table(folder / EPISODES).to_pylist()
    change(listed)
    write_rows(folder / EPISODES, listed)


def wrong_end(folder: Path) -> None:
    _change_lines(folder, lambda listed: listed[0].update(dataset_to_index=100))


def wrong_begin(folder: Path) -> None:
    _change_lines(
        folder, lambda listed: listed[1].update(dataset_from_index=130, dataset_to_index=280)
    )


def wrong_length(folder: Path) -> None:
    _change_lines(folder, lambda listed: listed[0].update(length=100))


def wrong_file(folder: Path) -> None:
    _change_lines(folder, lambda listed: listed[1].update({"data/file_index": 1}))


def lost_line(folder: Path) -> None:
    _change_lines(folder, lambda listed: listed.pop(0))


def gap_of_episodes(folder: Path) -> None:
    """Episodes 0 and 2."""
    table = pq.read_table(folder / DATA).to_pylist()
    for row in table[LENGTHS[0] :]:
        row["episode_index"] = 2
    write_rows(folder / DATA, table)
    _change_lines(folder, lambda listed: listed[1].update(episode_index=2))


def wrong_counts(folder: Path) -> None:
    change_info(folder, lambda i: i.update(total_frames=1000, total_episodes=9))


def no_rate(folder: Path) -> None:
    change_info(folder, lambda i: i.update(fps=0))


def other_rate(folder: Path) -> None:
    change_info(folder, lambda i: i.update(fps=50))


def unknown_version(folder: Path) -> None:
    change_info(folder, lambda i: i.update(codebase_version="v9.0"))


def lost_column(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / DATA).drop_columns(["action"]), folder / DATA)


def lost_other_column(folder: Path) -> None:
    """A feature that training does not need."""
    more = {"observation.effort": {"dtype": "float32", "shape": [6], "names": None}}
    change_info(folder, lambda i: i["features"].update(more))


def words_for_numbers(folder: Path) -> None:
    table = pq.read_table(folder / DATA)
    place = table.column_names.index("action")
    words = pa.array([["x"] * len(NAMES)] * len(table))
    pq.write_table(table.set_column(place, "action", words), folder / DATA)


def no_tasks(folder: Path) -> None:
    (folder / TASKS).unlink()


def no_sentence(folder: Path) -> None:
    write_rows(folder / TASKS, [{"task_index": 0, "task": ""}])


def no_real_sentence(folder: Path) -> None:
    write_rows(folder / TASKS, [{"task_index": 0, "task": "TODO"}])


def no_robot(folder: Path) -> None:
    change_info(folder, lambda i: i.pop("robot_type"))


def cut_rows(folder: Path) -> None:
    path = folder / DATA
    path.write_bytes(path.read_bytes()[:-100])


# --- datasets of their own ----------------------------------------------------------------------


def short_episode(folder: Path) -> None:
    write(folder, lengths=(120, 3, 150))


def long_and_short(folder: Path) -> None:
    write(folder, lengths=(*[60] * 12, 900))


def odd_episode(folder: Path) -> None:
    """One of twelve moves five times as far."""
    table = whole_rows([60] * 12)
    for row in table:
        if row["episode_index"] == 7:
            for key in VECTORS:
                row[key] = [5 * value for value in row[key]]
    write(folder, table, [60] * 12)


def shifted_episodes(folder: Path) -> None:
    """The last quarter of the episodes lies elsewhere."""
    table = whole_rows([60] * 12)
    for row in table:
        if row["episode_index"] >= 9:
            for key in VECTORS:
                row[key] = [value + 3.0 for value in row[key]]
    write(folder, table, [60] * 12)


def twice(folder: Path) -> None:
    table = whole_rows([LENGTHS[0]] * 2)
    for f in range(LENGTHS[0]):
        for key in VECTORS:
            table[LENGTHS[0] + f][key] = table[f][key]
    write(folder, table, [LENGTHS[0]] * 2)


def video_times(folder: Path) -> None:
    """The list says that an episode's video is shorter."""
    write(folder, video=True)
    key = f"videos/{CAMERA}/to_timestamp"
    _change_lines(folder, lambda listed: listed[0].update({key: 2.0}))


def video_begin(folder: Path) -> None:
    write(folder, video=True)
    key = f"videos/{CAMERA}/from_timestamp"
    _change_lines(folder, lambda listed: listed[1].update({key: listed[1][key] + 0.2}))


def video_off_grid(folder: Path) -> None:
    write(folder, video=True)
    key = f"videos/{CAMERA}/from_timestamp"
    _change_lines(folder, lambda listed: listed[1].update({key: listed[1][key] + 0.008}))


def video_short(folder: Path) -> None:
    write(folder, video=True)
    times = [number / FPS for number in range(sum(LENGTHS) - 20)]
    write_video(folder / VIDEO, [40 + number % 100 for number in range(len(times))], times)


def video_slow(folder: Path) -> None:
    """Every other frame, at half the rate."""
    write(folder, video=True)
    times = [number / FPS for number in range(0, sum(LENGTHS), 2)]
    write_video(folder / VIDEO, [40 + number % 100 for number in range(len(times))], times, FPS / 2)


def video_codec(folder: Path) -> None:
    write(folder, video=True)
    write_video(folder / VIDEO, *_video_plan(), codec="mpeg4")


def video_size(folder: Path) -> None:
    write(folder, video=True)
    picture_size(folder)


def video_lost(folder: Path) -> None:
    write(folder, video=True)
    (folder / VIDEO).unlink()


def video_broken(folder: Path) -> None:
    write(folder, video=True)
    (folder / VIDEO).write_bytes(b"no video" * 99)


def _video_plan() -> tuple[list[int], list[float]]:
    total = sum(LENGTHS)
    return [40 + number % 100 for number in range(total)], [n / FPS for n in range(total)]
