# SPDX-License-Identifier: Apache-2.0
"""Which rows of the data files are an episode's: by what the rows say, checked against the list.

A row says its episode, its place there and its place in the whole dataset. All three must agree with
the episode's line; rows are never found by adding up lengths.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.lerobot.dataset_metadata import UNREADABLE, open_table, read_columns

_AGAIN = "the list of episodes and the data files disagree: make the dataset again"
_PLACES = ("episode_index", "frame_index", "index")
_BATCH = 64  # rows of pictures that are in memory at a time


@dataclass(frozen=True)
class Span:
    """Rows of one episode in one file.

    Attributes:
        first: row in the file. count: of rows.
        index: of the first row in the whole dataset; None: the file does not say.
        wrong: what contradicts, a line for a person; empty: nothing.
    """

    first: int
    count: int
    index: int | None
    wrong: str = ""


class RowFinder:
    """Spans of all episodes of all data files, each file looked at once; any thread may ask."""

    def __init__(self) -> None:
        self._spans: dict[Path, dict[int, Span]] = {}
        self._locks: dict[Path, threading.Lock] = {}
        self._lock = threading.Lock()

    def spans(self, path: Path, lengths: Sequence[tuple[int, int]]) -> dict[int, Span]:
        """Episode -> its rows in a file.

        Args:
            lengths: episode and listed length of every episode that the list puts into this file,
                in order; decides where the rows do not say their episode.

        Raises:
            ContractError: the file is none, or its rows are nobody's.
        """
        with self._lock:
            lock = self._locks.setdefault(path, threading.Lock())
        with lock:
            if path not in self._spans:
                self._spans[path] = _spans(path, lengths)
            return self._spans[path]


def _spans(path: Path, lengths: Sequence[tuple[int, int]]) -> dict[int, Span]:
    file = open_table(path)
    known = [name for name in _PLACES if name in file.schema_arrow.names]
    table = read_columns(file, path, known) if known else None
    rows = file.metadata.num_rows
    columns = {name: _whole_numbers(table, name, path) for name in known}
    episodes = columns.get("episode_index")
    if episodes is None:
        episodes = _listed(path, lengths, rows)
    found: dict[int, Span] = {}
    if not rows:
        return found
    starts = np.flatnonzero(np.diff(episodes, prepend=episodes[0] - 1))
    for first, end in zip(starts, [*starts[1:], rows], strict=True):
        number = int(episodes[first])
        span = _span(f"{path}: episode {number}", int(first), int(end), columns)
        if number in found:
            here = found[number].first
            got = f"rows from {here} on and others from {first} on"
            wrong = problem(f"{path}: episode {number}", "its rows in one place", got, _AGAIN)
            span = Span(here, found[number].count + span.count, found[number].index, wrong)
        found[number] = span
    return found


def _span(where: str, first: int, end: int, columns: dict[str, NDArray[np.int64]]) -> Span:
    frames, places = (columns.get(name) for name in ("frame_index", "index"))
    wrong = ""
    index = None if places is None else int(places[first])
    for name, values, begin in (("frame_index", frames, 0), ("index", places, index)):
        if values is None or begin is None or wrong:
            continue
        off = np.flatnonzero(values[first:end] != begin + np.arange(end - first))
        if len(off):
            row = int(off[0])
            place = f"{where}: row {first + row} of the file: {name}"
            wrong = problem(place, str(begin + row), int(values[first + row]), _AGAIN)
    return Span(first, end - first, index, wrong)


def _listed(path: Path, lengths: Sequence[tuple[int, int]], rows: int) -> NDArray[np.int64]:
    """Episode of every row by the list alone: only where it accounts for every row of the file."""
    total = sum(length for _, length in lengths)
    if total != rows:
        expected, do = f"{total} rows, as the list has it, or a column episode_index", _AGAIN
        raise ContractError(problem(str(path), expected, f"{rows} rows", do))
    numbers = [number for number, _ in lengths]
    return np.repeat(np.array(numbers, np.int64), [length for _, length in lengths])


def _whole_numbers(table: Any, name: str, path: Path) -> NDArray[np.int64]:
    column = table.column(name).combine_chunks()
    if column.null_count:
        row = int(np.flatnonzero(np.asarray(pc.is_null(column)))[0])
        raise ContractError(problem(f"{path}: row {row}: {name}", "a number", "null", _AGAIN))
    try:
        values = scalars(column)
        numbers = np.asarray(values.astype(np.int64, casting="unsafe"))
        if values.dtype.kind == "f" and (numbers != values).any():
            row = int(np.flatnonzero(numbers != values)[0])
            where, got = f"{path}: row {row}: {name}", f"{values[row]:g}"
            raise ContractError(problem(where, "a whole number", got, _AGAIN))
        return numbers
    except (TypeError, ValueError, pa.ArrowInvalid) as error:
        got = str(column.type)
        raise ContractError(problem(f"{path}: {name}", "whole numbers", got, _AGAIN)) from error


# --- rows ---------------------------------------------------------------------------------------


def scalars(column: Any) -> NDArray[Any]:
    """(N,) of a column of numbers, or of lists of one number each."""
    if hasattr(column, "flatten") and pa.types.is_nested(column.type):
        if pa.types.is_struct(column.type) or len(column.flatten()) != len(column):
            raise ValueError(f"{column.type}")
        column = column.flatten()
    return np.asarray(column.to_numpy(zero_copy_only=False))


def read_rows(path: Path, name: str, first: int, count: int) -> Any:
    """One column of some rows as an arrow array; only the row groups that hold them are read.

    Raises:
        ContractError: no such column, or the file is damaged.
    """
    parts = list(row_batches(path, name, first, count, batch=max(count, 1)))
    if not parts:
        return pa.array([], open_table(path).schema_arrow.field(name).type)
    return parts[0] if len(parts) == 1 else pa.chunked_array(parts).combine_chunks()


def row_batches(
    path: Path, name: str, first: int, count: int, batch: int = _BATCH
) -> Iterator[Any]:
    """The same in parts, for columns that are large."""
    file = open_table(path)
    if name not in file.schema_arrow.names:
        got = ", ".join(file.schema_arrow.names)
        raise ContractError(problem(f"{path}", f"a column {name}", got, "correct meta/info.json"))
    groups, before, end = [], None, 0
    for number in range(file.metadata.num_row_groups):
        begin, end = end, end + file.metadata.row_group(number).num_rows
        if end > first and begin < first + count:
            groups.append(number)
            before = begin if before is None else before
    skip = first - (before or 0)
    try:
        for part in file.iter_batches(batch, row_groups=groups, columns=[name]):
            array = part.column(0)
            head = min(skip, len(array))
            skip -= head
            array = array.slice(head, count)
            count -= len(array)
            if len(array):
                yield array
    except UNREADABLE as error:
        line = " ".join(str(error).split())[:120]
        raise ContractError(
            problem(f"{path}: {name}", "a column that can be read", line, "make the dataset again")
        ) from error
