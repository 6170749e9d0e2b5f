# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a dataset as a whole: columns, counts, rows of nobody, stale statistics."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.lerobot import dataset_schema
from adamoe_ros.data.lerobot.dataset_metadata import (
    open_table,
    read_columns,
    read_json,
    read_json_lines,
)
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.lerobot.dataset_schema import ACTION, STATE
from adamoe_ros.data.lerobot.episode_entries import EpisodeEntry, by_video

Level = Literal["error", "warning", "note"]
Rows = NDArray[np.float64]
_QUANTILE = re.compile(r"q\d{2}")
_ENOUGH = 8  # episodes, or rows, of which one can be unlike the others
_SHORT, _UNLIKE, _SHIFT = 0.25, 4.0, 3.0  # of the usual length; times; standard deviations
_OFF = 0.02  # of a column's range by which a stored statistic may be off: they are merged, rounded


@dataclass(frozen=True)
class Finding:
    """One thing that a dataset check found.

    Attributes:
        level: ``error``: training would learn something false; ``warning``: look at it; ``note``:
            good to know before it is given to others.
        line: where, expected, got, what to do.
    """

    level: Level
    line: str


def found(level: Level, where: str, expected: str, got: object, do: str) -> Finding:
    """A finding in the form of every line for a person."""
    return Finding(level, problem(where, expected, got, do))


def column_findings(dataset: Dataset) -> Iterator[Finding]:
    """Columns that are missing or do not fit their names; numbers of episodes and rows."""
    for key in (STATE, ACTION):
        if key not in dataset.features:
            got = ", ".join(dataset.features)
            yield found("error", "features", key, got, "it is needed for training")
            continue
        names, width = dataset.names(key), dataset.width(key)
        if names and len(names) != width:
            where = f"features: {key}"
            yield found("error", where, f"{width} names", len(names), "correct info.json")
    if not dataset.cameras:
        got = f"depth maps {', '.join(dataset.depth_cameras)}" if dataset.depth_cameras else "none"
        yield found("error", "features", "at least one RGB camera", got, "record one")
    if not any(entry.length for entry in dataset.episodes):
        yield found("error", "episodes", "at least one", "none", "convert some bags")
    total = sum(entry.length for entry in dataset.episodes)
    for name, count in (("total_frames", total), ("total_episodes", len(dataset.episodes))):
        said = dataset.info.get(name)
        if said != count:
            level: Level = "warning" if said is None else "error"
            yield found(level, f"info.json: {name}", str(count), said, "make the dataset again")
    numbers = [entry.index for entry in dataset.episodes]
    if numbers != list(range(len(numbers))):
        lost = sorted(set(range(max(numbers) + 1)) - set(numbers))
        got = f"none of number {', '.join(map(str, lost[:5]))}" if lost else "another order"
        do = "readers that count them take others; number them anew"
        yield found("warning", "episodes", f"0 ... {len(numbers) - 1} in order", got, do)


def unstored_features(dataset: Dataset) -> Iterator[Finding]:
    """Features of info.json of which the data files have nothing, and a list of tasks that is lost."""
    first = next((entry.data for entry in dataset.episodes if entry.length), None)
    stored = set(open_table(first).schema_arrow.names) if first is not None else set()
    for key, feature in dataset.features.items():
        pictures = feature.dtype in ("image", "video")
        if stored and not pictures and key not in (STATE, ACTION) and key not in stored:
            do = "LeRobot refuses the dataset; write it, or take it out of info.json"
            yield found("warning", f"features: {key}", "a column in the data files", "none", do)
    lists = [dataset.folder / path for path in dataset_schema.TASKS.values()]
    if not any(path.exists() for path in lists):
        where, do = str(lists[0]), "LeRobot cannot read the dataset without"
        yield found("warning", where, "a list of tasks", "none", do)


def unlisted_rows(dataset: Dataset) -> Iterator[Finding]:
    """Rows in the data files that no line of the list of episodes knows."""
    listed = {(entry.data, entry.index) for entry in dataset.episodes}
    where = f"{dataset.folder}: list of episodes"
    for path in sorted((dataset.folder / "data").glob("**/*.parquet")):
        name = str(path.relative_to(dataset.folder))
        try:
            spans = dataset.spans(path)
        except ContractError as error:
            yield from (Finding("error", line) for line in error.problems)
            continue
        for number, span in spans.items():
            if (path, number) not in listed:
                expected, got = f"a line on episode {number} in {name}", "none"
                do = f"its {span.count} rows are not read; make the dataset again"
                yield found("error", where, expected, got, do)


def video_order(dataset: Dataset) -> Iterator[Finding]:
    """Videos in which episodes stand in another order than their rows: pictures may be another's."""
    for (path, key), entries in by_video(dataset.episodes).items():
        ordered = sorted(entries, key=lambda entry: (entry.videos[key][1], _place(entry)))
        for before, entry in pairwise(ordered):
            if _place(before) > _place(entry):
                name = path.relative_to(dataset.folder)
                expected, got = f"it before episode {before.index}, as its rows are", "it behind"
                do = "look at its pictures: the list's from_timestamp may be another episode's"
                yield found("warning", f"{name}: episode {entry.index}", expected, got, do)
                break


def slow_video(where: str, period: float, fps: float) -> Finding | None:
    """That the frames of a video, a period (s) apart, are fewer than the rows; None: they are not."""
    if period <= 1.25 / fps:
        return None
    got, do = f"{1 / period:.3g} Hz", "rows share frames: choose a smaller rate"
    return found("warning", where, f"a video of {fps:.4g} Hz", got, do)


def _place(entry: EpisodeEntry) -> int:
    return entry.index if entry.index_from is None else entry.index_from


def portability(dataset: Dataset) -> Iterator[Finding]:
    """What those stumble over who get the dataset: no licence, files that stay behind."""
    names = [path.name.lower() for path in dataset.folder.iterdir()]
    card = dataset.folder / "README.md"
    licence = card.is_file() and "license:" in card.read_text(encoding="utf-8", errors="replace")
    if not licence and not any(name.startswith(("license", "licence")) for name in names):
        do = "write README.md with a line 'license: ...' before it is given to others"
        yield found("note", str(dataset.folder), "a licence", "none", do)
    for name in ("data_path", "video_path"):
        said = str(dataset.info.get(name) or "")
        if said.startswith("/"):
            yield found(
                "warning", f"info.json: {name}", "a path in the dataset", said, "correct it"
            )
    others = [p for p in (dataset.folder / "data").rglob("*") if p.is_file()]
    for path in sorted(path for path in others if path.suffix != ".parquet"):
        yield found("note", str(path), "parquet files in data/", "another", "leave it out")
    root = dataset.folder.resolve()
    for entry in dataset.episodes:
        for path in (entry.data, *(video for video, _ in entry.videos.values())):
            if not path.resolve().is_relative_to(root):
                do = "copy it into the dataset"
                got = f"a link to {path.resolve()}"
                yield found("warning", str(path), "a file of the dataset", got, do)


# --- statistics ---------------------------------------------------------------------------------


class ColumnTotals:
    """Count, range, mean and deviation of state and action, by episode and altogether."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Rows]] = {STATE: [], ACTION: []}
        self._known: dict[str, int] = {}
        self._numbers: list[int] = []

    def add(self, number: int, state: Rows, action: Rows) -> Iterator[Finding]:
        """Take an episode; one that was there already is found."""
        digest = hashlib.sha256(state.tobytes() + action.tobytes()).hexdigest()
        before = self._known.setdefault(digest, number)
        if before != number and len(state):
            got = f"the rows of episode {before}"
            yield found("warning", f"episode {number}", "rows of its own", got, "drop one of them")
        self._numbers.append(number)
        self._parts[STATE].append(state)
        self._parts[ACTION].append(action)

    def stale(self, stored: Mapping[str, Any], where: str) -> Iterator[Finding]:
        """Stored statistics of the whole dataset that are not those of its rows."""
        for key, parts in self._parts.items():
            entry = stored.get(key)
            if parts and isinstance(entry, Mapping) and len({p.shape[1] for p in parts}) == 1:
                yield from stale_statistics(f"{where}: {key}", entry, np.concatenate(parts))

    def odd(self, names: Sequence[str]) -> Iterator[Finding]:
        """Episodes that are unlike the others; joints that never move, or stop at a bound."""
        lengths = np.array([len(part) for part in self._parts[STATE]])
        usual = float(np.median(lengths)) if len(lengths) else 0.0
        for place in np.flatnonzero(lengths < _SHORT * usual).tolist():
            where, got = f"episode {self._numbers[place]}", f"{lengths[place]} rows"
            expected, do = f"about {usual:.0f} rows as others have", "look whether it was aborted"
            yield found("warning", where, expected, got, do)
        for key, parts in self._parts.items():
            finite = all(np.isfinite(part).all() for part in parts)
            if finite and parts and len({part.shape[1] for part in parts}) == 1:
                yield from self._unlike(key, parts)
                yield from _still(key, np.concatenate(parts), names)

    def _unlike(self, key: str, parts: list[Rows]) -> Iterator[Finding]:
        if len(parts) < _ENOUGH:
            return
        moved = np.array([np.ptp(part, axis=0).sum() for part in parts])
        times = moved / max(float(np.median(moved)), 1e-9)
        for place in np.flatnonzero((times > _UNLIKE) | (times < 1 / _UNLIKE)).tolist():
            got = f"{times[place]:.2g} times as far"
            where, do = f"episode {self._numbers[place]}: {key}", "look whether it is of this task"
            yield found("warning", where, "to move about as far as others", got, do)
        quarter = len(parts) // 4
        first, last = np.concatenate(parts[:quarter]), np.concatenate(parts[-quarter:])
        shift = np.abs(last.mean(0) - first.mean(0)) / np.maximum(first.std(0), 1e-3)
        if shift.max() > _SHIFT:
            got = f"column {shift.argmax()} {shift.max():.1f} standard deviations off at the end"
            do = "look whether the robot or its calibration was changed on the way"
            yield found("warning", key, "the same range in all episodes", got, do)


def _still(key: str, rows: Rows, names: Sequence[str]) -> Iterator[Finding]:
    """Columns that never change; commands that lie at their end for more than half of the time."""
    if len(rows) < _ENOUGH:
        return
    low, high = rows.min(0), rows.max(0)
    at_end = np.maximum((rows == low).mean(0), (rows == high).mean(0))
    for column in range(rows.shape[1]):
        name = names[column] if column < len(names) else str(column)
        if low[column] == high[column]:
            got, do = f"{low[column]:.4g} in every row", "look whether it is connected"
            yield found("note", f"{key}: {name}", "a joint that moves", got, do)
        elif key == ACTION and at_end[column] > 0.5 and len(np.unique(rows[:, column])) > 3:
            got, do = f"its end in {at_end[column]:.0%} of the rows", "look whether it is cut there"
            yield found("note", f"{key}: {name}", "commands within a range", got, do)


def missing_statistics(dataset: Dataset, stored: Mapping[str, Any]) -> Iterator[Finding]:
    """What LeRobot's training normalises with and does not find; ours computes its own."""
    do = "compute them before LeRobot trains with it"
    for key in (STATE, ACTION):
        entry = stored.get(key)
        if not isinstance(entry, Mapping):
            yield found("note", f"meta/stats.json: {key}", "statistics", "none", do)
        elif lost := [name for name in ("mean", "std", "min", "max") if name not in entry]:
            yield found("note", f"meta/stats.json: {key}", ", ".join(lost), "none", do)


def stale_statistics(where: str, stored: Mapping[str, Any], rows: Rows) -> Iterator[Finding]:
    """Stored min, max, mean, std and count that the rows do not have."""
    if not len(rows) or not np.isfinite(rows).all():
        return
    spread = np.ptp(rows, axis=0)
    actual = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    do = "compute the statistics again"
    quantiles = sorted(name for name in stored if _QUANTILE.fullmatch(name))
    known = {name: _values(stored[name]) for name in (*actual, *quantiles) if name in stored}
    width = rows.shape[1]
    for name, said in known.items():
        if said.shape != (width,):
            yield found("error", f"{where}: {name}", f"{width} numbers", len(said), do)
            return
    for name in (name for name in actual if name in known):
        said, values = known[name], actual[name]
        off = ~(np.abs(said - values) <= _OFF * spread + 1e-4 * np.abs(values) + 1e-6)
        if off.any():
            column = int(np.flatnonzero(off)[0])
            expected = f"{values[column]:.4g} in column {column}, as its rows have it"
            yield found("error", f"{where}: {name}", expected, f"{said[column]:.4g}", do)
            return
    marks = ["min", *quantiles, "max"]
    ordered = [known[name] for name in marks if name in known]
    if not all((b >= a - 1e-6).all() for a, b in pairwise(ordered)):
        yield found("error", where, f"{' <= '.join(marks)}", "another order", do)
    count = stored.get("count")
    if count is not None and _values(count).tolist() != [len(rows)]:
        yield found("error", f"{where}: count", str(len(rows)), count, do)


def _values(said: Any) -> Rows:
    """(N,) of any nesting; () where it is no numbers."""
    try:
        return np.ravel(np.array(said, np.float64))
    except (TypeError, ValueError):
        return np.zeros(0)


def stored_statistics(dataset: Dataset) -> dict[str, Any]:
    """meta/stats.json; {} where there is none.

    Raises:
        ContractError: it is damaged.
    """
    path = dataset.folder / dataset_schema.STATS
    return read_json(path) if path.exists() else {}


def episode_statistics(dataset: Dataset) -> dict[int, dict[str, dict[str, Any]]]:
    """Episode -> feature -> stored statistics of state and action, where the dataset has them.

    Raises:
        ContractError: they are damaged.
    """
    path = dataset.folder / dataset_schema.EPISODE_STATS
    if path.is_file():
        lines = [line for _, line in read_json_lines(path)]
        return {int(line.get("episode_index", -1)): dict(line.get("stats") or {}) for line in lines}
    stored: dict[int, dict[str, dict[str, Any]]] = {}
    for path in sorted((dataset.folder / "meta/episodes").glob("**/*.parquet")):
        file = open_table(path)
        wanted = [
            (f"stats/{key}/{name}", key, name)
            for key in (STATE, ACTION)
            for name in ("min", "max", "mean", "std", "count")
            if f"stats/{key}/{name}" in file.schema_arrow.names
        ]
        columns = ["episode_index", *(column for column, _, _ in wanted)]
        rows = read_columns(file, path, columns).to_pylist()
        for row in rows:
            for column, key, name in wanted:
                if row[column] is not None and row["episode_index"] is not None:
                    entry = stored.setdefault(int(row["episode_index"]), {}).setdefault(key, {})
                    entry[name] = row[column]
    return stored
