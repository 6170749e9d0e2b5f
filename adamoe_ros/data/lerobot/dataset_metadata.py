# SPDX-License-Identifier: Apache-2.0
"""meta/ of a dataset as recorders, converters and people leave it.

What is clear is read in any of its shapes (byte order marks, pretty-printed lines, names as a mapping,
sentences as the index of a pandas table); the rest is one line with the file and its line or row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.lerobot import dataset_schema

_AGAIN = "make the dataset again"
Record = tuple[str, dict[str, Any]]  # where it stands, for a person; its values


@dataclass(frozen=True)
class Feature:
    """One column of a dataset.

    Attributes:
        dtype: ``video``, ``image``, or of its numbers; empty: info.json does not say.
        shape: empty: info.json does not say.
        names: of a vector's values, in their order; empty: none.
        depth: pictures that are no RGB pictures.
        rate: of a video's frames, Hz; 0: info.json does not say.
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    depth: bool
    rate: float = 0.0

    @property
    def camera(self) -> bool:
        """Whether its values are pictures."""
        return self.dtype in ("video", "image")


# --- files --------------------------------------------------------------------------------------


# what pyarrow raises for damaged files; its own errors are not all ValueErrors
UNREADABLE = (OSError, ValueError, pa.ArrowException)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ContractError: no such file, or not one JSON object.
    """
    text = _text(path)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        where, got = f"{path}: line {error.lineno}", f"{error.msg}, column {error.colno}"
        raise ContractError(problem(where, "JSON", got, _AGAIN)) from error
    except RecursionError as error:
        raise ContractError(problem(str(path), "JSON", "endless brackets", _AGAIN)) from error
    if not isinstance(document, dict):
        got = type(document).__name__
        raise ContractError(problem(str(path), "a JSON object", got, _AGAIN))
    return document


def read_json_lines(path: Path) -> list[Record]:
    """JSON objects one after another: a line each, pretty-printed, or in one list.

    Raises:
        ContractError: no such file, or something in it is no object; the line is named.
    """
    found: list[Record] = []
    text, at = _text(path), 0
    decoder = json.JSONDecoder()
    while True:
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n,"))
        if at >= len(text):
            return found
        where = f"{path}: line {text.count(chr(10), 0, at) + 1}"
        try:
            value, at = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            got = text[at : at + 40].splitlines()[0] + " ..."
            raise ContractError(problem(where, "a JSON object", repr(got), _AGAIN)) from error
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, dict):
                raise ContractError(problem(where, "a JSON object", repr(item), _AGAIN))
            found.append((where, item))


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:  # none, a folder, or below something that is no folder
        got, do = error.strerror or str(error), "check the folder"
        raise ContractError(problem(str(path), "a LeRobot dataset's file", got, do)) from error
    try:
        return data.decode(json.detect_encoding(data)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        got = f"byte {error.start} is none"
        raise ContractError(problem(str(path), "text in UTF-8", got, _AGAIN)) from error


def open_table(path: Path) -> pq.ParquetFile:
    """A parquet file.

    Raises:
        ContractError: it is none.
    """
    try:
        return pq.ParquetFile(path)
    except UNREADABLE as error:
        raise ContractError(_unreadable(path, error)) from error


def read_table(path: Path) -> pa.Table:
    """All of a small parquet file.

    Raises:
        ContractError: it is none.
    """
    return read_columns(open_table(path), path)


def read_columns(file: pq.ParquetFile, path: Path, columns: list[str] | None = None) -> pa.Table:
    """Some columns of an open parquet file; None: all.

    Args:
        path: of the file, for error lines.

    Raises:
        ContractError: it is damaged.
    """
    try:
        return file.read(columns)
    except UNREADABLE as error:
        raise ContractError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    line = " ".join(str(error).split())[:120]
    return problem(str(path), "a parquet file", line, _AGAIN)


def whole(record: Record, name: str) -> int | None:
    """A whole number of a record; None: absent or null.

    Raises:
        ContractError: something else stands there.
    """
    where, values = record
    value = values.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None  # pandas writes a missing whole number as NaN
    try:
        number = int(value)
        if isinstance(value, bool) or number != float(value) or number < 0:
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise ContractError(problem(f"{where}: {name}", "a number", repr(value), _AGAIN)) from error
    return number


def seconds(record: Record, name: str) -> float | None:
    """A time of a record, s; None: absent or null."""
    where, values = record
    value = values.get(name)
    if value is None:
        return None
    try:
        number = float(value)
        if not 0 <= number < math.inf:
            raise ValueError
    except (TypeError, ValueError) as error:
        raise ContractError(problem(f"{where}: {name}", "a time", repr(value), _AGAIN)) from error
    return number


# --- info.json ----------------------------------------------------------------------------------


def version_of(info: Mapping[str, Any], path: Path) -> dataset_schema.Version:
    """Version of the format, however it is spelled; 2.0 is laid out as 2.1.

    Raises:
        ContractError: another one, or none.
    """
    said = info.get("codebase_version")
    number = str(said).strip().lower().removeprefix("v")
    known: dict[str, dataset_schema.Version] = {"3.0": "v3.0", "2.1": "v2.1", "2.0": "v2.1"}
    if number not in known:
        where, expected = f"{path}: codebase_version", " or ".join(dataset_schema.VERSIONS)
        raise ContractError(problem(where, expected, said, "convert it first"))
    return known[number]


def rate_of(info: Mapping[str, Any], path: Path) -> float:
    """Frames per second.

    Raises:
        ContractError: no positive number.
    """
    said: Any = info.get("fps")
    try:
        rate = float(Fraction(said) if isinstance(said, str) else said)  # "30000/1001", too
        if isinstance(said, bool) or not 0 < rate < math.inf:
            raise ValueError
    except (TypeError, ValueError, ArithmeticError) as error:
        do = "write the rate of the rows there"
        raise ContractError(problem(f"{path}: fps", "a rate in Hz", repr(said), do)) from error
    return rate


def features_of(info: Mapping[str, Any], path: Path) -> dict[str, Feature]:
    """Every column that info.json describes.

    Raises:
        ContractError: it does not, or a description is none.
    """
    described = info.get("features")
    if not isinstance(described, dict):
        got = "nothing" if described is None else type(described).__name__
        raise ContractError(problem(f"{path}: features", "the columns", got, _AGAIN))
    found = {}
    for key, raw in described.items():
        where = f"{path}: features: {key}"
        if not isinstance(raw, dict):
            raise ContractError(problem(where, "dtype, shape and names", repr(raw), _AGAIN))
        shape = _shape(raw.get("shape"), where)
        dtype = str(raw.get("dtype") or "")
        names, marks = _names(raw.get("names"), where), _marks(raw)
        depth = _depth(key, marks, shape)
        found[key] = Feature(dtype, shape, names, depth, _rate(marks.get("video.fps")))
    return found


def _shape(said: Any, where: str) -> tuple[int, ...]:
    values = [] if said is None else said if isinstance(said, list) else [said]
    try:
        return tuple(int(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ContractError(problem(f"{where}: shape", "numbers", repr(said), _AGAIN)) from error


def _names(said: Any, where: str) -> tuple[str, ...]:
    """In the order of the values: a list, lists in a list or mapping, or name -> column."""
    if said is None:
        return ()
    if isinstance(said, str):
        return (said,)
    if isinstance(said, list):
        return tuple(name for item in said for name in _names(_plain(item), where))
    if isinstance(said, dict):
        texts = all(isinstance(value, str) for value in said.values())
        if said and texts and all(str(key).isdigit() for key in said):
            return tuple(said[key] for key in sorted(said, key=int))
        columns = [_column(value) for value in said.values()]
        if said and None not in columns:
            if _is_an_order(columns):
                places = dict(zip(map(str, said), columns, strict=True))
                return tuple(sorted(places, key=lambda name: places[name] or 0))
        elif all(value is None or isinstance(value, (list, dict)) for value in said.values()):
            return tuple(name for item in said.values() for name in _names(item, where))
    do = "write a list of names, in the order of the columns"
    raise ContractError(problem(f"{where}: names", "names of the columns", repr(said)[:120], do))


def _plain(item: Any) -> Any:
    return item if item is None or isinstance(item, (list, dict)) else str(item)


def _column(value: Any) -> int | None:
    """A whole number, as JSON, pandas (a float) or YAML (a text) write it; None: something else."""
    if isinstance(value, str) and value.isdigit():
        return int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value // 1:
        return int(value)
    return None


def _is_an_order(columns: list[int | None]) -> bool:
    """From 0 or 1 on without a gap; other numbers (of motors) only where they rise as they are listed."""
    rising = sorted(column for column in columns if column is not None)
    counted = rising in [list(range(first, first + len(rising))) for first in (0, 1)]
    return counted or (columns == rising and len(set(rising)) == len(rising))


def _marks(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a feature's pictures: in ``info`` (LeRobot 0.6), ``video_info`` (older), or plain."""
    marks: dict[str, Any] = dict(raw)
    for name in ("info", "video_info"):
        if isinstance(raw.get(name), dict):
            marks |= raw[name]
    return marks


def _rate(said: Any) -> float:
    """Hz; 0 where it is no rate."""
    good = isinstance(said, (int, float)) and not isinstance(said, bool) and 0 < said < math.inf
    return float(said) if good else 0.0


def _depth(key: str, marks: Mapping[str, Any], shape: tuple[int, ...]) -> bool:
    """Pictures that are no RGB pictures: marked so, of one channel, or called a depth map.

    LeRobot's recorder writes False for every video that nobody marked, so a name that says depth counts
    more than that.
    """
    if any(marks.get(name) is True for name in ("is_depth_map", "video.is_depth_map")):
        return True
    pixels = str(marks.get("video.pix_fmt") or "")
    words = key.lower().replace(".", "_").replace("-", "_").split("_")
    alone = len(shape) == 2 or (len(shape) == 3 and 1 in (shape[0], shape[2]))
    return pixels.startswith(("gray1", "depth")) or "depth" in words or alone


# --- tasks and episodes -------------------------------------------------------------------------


def read_tasks(folder: Path, version: dataset_schema.Version) -> dict[int, str]:
    """Task number -> sentence, empty where it is null; no entry at all where there is no list.

    A dataset that was converted may still have the other version's list: its own one counts.

    Raises:
        ContractError: a list that cannot be read, or does not say which number a sentence has.
    """
    other = (name for key, name in dataset_schema.TASKS.items() if key != version)
    for name in (dataset_schema.TASKS[version], *other):
        path = folder / name
        if path.exists():
            records = _task_rows(path) if path.suffix == ".parquet" else read_json_lines(path)
            return _numbered(records)
    return {}


def _numbered(records: list[Record]) -> dict[int, str]:
    found: dict[int, str] = {}
    for record in records:
        where, values = record
        number, sentence = whole(record, "task_index"), values.get("task")
        if number is None and sentence is None:
            continue  # a row of nulls says nothing
        if number is None or not (sentence is None or isinstance(sentence, str)):
            got = {name: values.get(name) for name in ("task_index", "task")}
            raise ContractError(problem(where, "task_index and a sentence", got, _AGAIN))
        if found.setdefault(number, sentence or "") != (sentence or ""):
            both = f"{found[number]!r} and {sentence!r}"
            raise ContractError(problem(where, f"one sentence for task {number}", both, _AGAIN))
    return found


def _pandas_index(table: pa.Table) -> Any:
    """What pandas noted of a table's index: a column's name, or a range; None: nothing readable."""
    try:
        noted = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
        return (noted.get("index_columns") or [None])[0]
    except (ValueError, AttributeError, TypeError, KeyError):
        return None


def _task_rows(path: Path) -> list[Record]:
    """tasks.parquet: sentence and number are columns, or one of them is pandas' index."""
    table = read_table(path)
    index = _pandas_index(table)
    texts = [f.name for f in table.schema if _is_text(f.type)]
    usual = [name for name in ("task", index, "__index_level_0__") if name in texts]
    sentence = usual[0] if usual else texts[0] if len(texts) == 1 else None
    if sentence is None:
        got = f"columns {', '.join(table.column_names) or 'none'}"
        raise ContractError(problem(str(path), "a column of sentences", got, _AGAIN))
    names = table.column_names
    if "task_index" in names:
        numbers = table.column("task_index").to_pylist()
    elif isinstance(index, str) and index in names and index != sentence:
        numbers = table.column(index).to_pylist()
    elif isinstance(index, dict) and index.get("kind") == "range":
        numbers = list(range(int(index.get("start", 0)), int(index.get("stop", 0))))
    else:
        got = f"columns {', '.join(names)}"
        raise ContractError(problem(str(path), "a column task_index", got, _AGAIN))
    sentences = table.column(sentence).to_pylist()
    return [
        (f"{path}: row {row}", {"task_index": number, "task": text})
        for row, (number, text) in enumerate(zip(numbers, sentences, strict=True))
    ]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def read_episode_records(folder: Path, version: dataset_schema.Version) -> list[Record]:
    """What the dataset says of each episode, ordered by number.

    Raises:
        ContractError: no list, one that cannot be read, or an episode that stands in it twice.
    """
    if version == "v2.1":
        records = read_json_lines(folder / dataset_schema.EPISODES["v2.1"])
    else:
        records = list(_episode_rows(folder))
    by_number: dict[int, Record] = {}
    for record in records:
        if all(value is None for value in record[1].values()):
            continue  # a row of nulls says nothing
        number = whole(record, "episode_index")
        if number is None:
            raise ContractError(problem(record[0], "an episode_index", "none", _AGAIN))
        if number in by_number:
            got = f"two: {by_number[number][0]} too"
            raise ContractError(problem(record[0], f"one line on episode {number}", got, _AGAIN))
        by_number[number] = record
    return [by_number[number] for number in sorted(by_number)]


def _episode_rows(folder: Path) -> Iterator[Record]:
    paths = sorted((folder / "meta/episodes").glob("**/*.parquet"))
    if not paths:
        where, expected = str(folder / "meta/episodes"), "the list of episodes"
        raise ContractError(problem(where, expected, "no file", _AGAIN))
    for path in paths:
        file = open_table(path)
        plain = [name for name in file.schema_arrow.names if not name.startswith("stats/")]
        try:
            rows = file.read(plain).to_pylist()
        except (OSError, ValueError) as error:
            raise ContractError(_unreadable(path, error)) from error
        yield from ((f"{path}: row {row}", values) for row, values in enumerate(rows))


def sentences_of(record: Record) -> tuple[str, ...]:
    """The sentences that an episode's line names; () where it names none."""
    said = record[1].get("tasks")
    if said is None:
        return ()
    values = said if isinstance(said, list) else [said]
    return tuple(value for value in values if isinstance(value, str))
