# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a dataset as a whole: columns, counts, rows of nobody, stale statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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

Level = Literal["error", "warning", "note"]
Rows = NDArray[np.float64]
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


def portability(dataset: Dataset) -> Iterator[Finding]:
    """What those stumble over who get the dataset: no licence, files that stay behind."""
    names = [path.name.lower() for path in dataset.folder.iterdir()]
    card = dataset.folder / "README.md"
    said = card.is_file() and "license:" in card.read_text(encoding="utf-8", errors="replace")
    if not said and not any(name.startswith(("license", "licence")) for name in names):
        do = "write README.md with a line 'license: ...' before it is given to others"
        yield found("note", str(dataset.folder), "a licence", "none", do)
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

    def add(self, number: int, state: Rows, action: Rows) -> Iterator[Finding]:
        """Take an episode; one that was there already is found."""
        digest = hashlib.sha256(state.tobytes() + action.tobytes()).hexdigest()
        before = self._known.setdefault(digest, number)
        if before != number and len(state):
            got = f"the rows of episode {before}"
            yield found("warning", f"episode {number}", "rows of its own", got, "drop one of them")
        self._parts[STATE].append(state)
        self._parts[ACTION].append(action)

    def stale(self, stored: Mapping[str, Any], where: str) -> Iterator[Finding]:
        """Stored statistics of the whole dataset that are not those of its rows."""
        for key, parts in self._parts.items():
            entry = stored.get(key)
            if parts and isinstance(entry, Mapping) and len({p.shape[1] for p in parts}) == 1:
                yield from stale_statistics(f"{where}: {key}", entry, np.concatenate(parts))


def stale_statistics(where: str, stored: Mapping[str, Any], rows: Rows) -> Iterator[Finding]:
    """Stored min, max, mean, std and count that the rows do not have."""
    if not len(rows) or not np.isfinite(rows).all():
        return
    spread = np.ptp(rows, axis=0)
    actual = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    do = "compute the statistics again"
    for name, values in actual.items():
        try:
            said = np.ravel(np.array(stored[name], np.float64))
        except KeyError:
            continue
        except (TypeError, ValueError):
            said = np.zeros(0)
        if said.shape != values.shape:
            yield found("error", f"{where}: {name}", f"{len(values)} numbers", len(said), do)
            return
        off = ~(np.abs(said - values) <= _OFF * spread + 1e-4 * np.abs(values) + 1e-6)
        if off.any():
            column = int(np.flatnonzero(off)[0])
            expected = f"{values[column]:.4g} in column {column}, as its rows have it"
            yield found("error", f"{where}: {name}", expected, f"{said[column]:.4g}", do)
            return
    count = stored.get("count")
    if count is not None and np.ravel(count).tolist() != [len(rows)]:
        yield found("error", f"{where}: count", str(len(rows)), count, do)


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
