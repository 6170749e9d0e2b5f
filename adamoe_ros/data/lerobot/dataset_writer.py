# SPDX-License-Identifier: Apache-2.0
"""Staged episodes -> one dataset: numbers the episodes, writes what is common to all.

Everything is written beside the target and moved there at the end. Imports: pyarrow, numpy.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adamoe_ros.contract.files import new_folder
from adamoe_ros.data.lerobot import dataset_schema
from adamoe_ros.data.lerobot.dataset_schema import (
    ACTION,
    INTERVENTION,
    STAMPS,
    STATE,
    DatasetSchema,
    Totals,
    Version,
)
from adamoe_ros.data.lerobot.episode_writer import FACTS, NUMBERS, read_statistics
from adamoe_ros.data.running_statistics import RunningStatistics


@dataclass(frozen=True)
class DatasetDetails:
    """What a whole dataset says of itself beyond its episodes.

    Attributes:
        robot: profile name.
        ours: goes to meta/adamoe.json.
        norm_stats: write norm_stats.json as checkpoints have it.
    """

    robot: str
    ours: Mapping[str, Any]
    norm_stats: bool = True


class _Assembly:
    """Growing tables of one dataset."""

    def __init__(self, target: Path, schema: DatasetSchema, version: Version) -> None:
        self.target, self.schema, self.version = target, schema, version
        self.frames = 0
        self.tasks: dict[str, int] = {}
        self.episodes: list[dict[str, Any]] = []
        self.stats: list[dict[str, Any]] = []
        self.facts: list[dict[str, Any]] = []
        self.statistics: dict[str, RunningStatistics] = {}

    def add(self, staged: Path) -> None:
        """Take one staged episode as the next."""
        facts = json.loads((staged / FACTS).read_text(encoding="utf-8"))
        number = len(self.episodes)
        for task in facts["tasks"]:
            self.tasks.setdefault(task, len(self.tasks))
        self._data(staged, number)
        entry = self._entry(facts, number)
        if not self.schema.lossless:
            self._videos(staged, number, entry)
        stats = self._index_stats(facts["length"], number)
        for key, statistics in read_statistics(staged).items():
            known = self.statistics.setdefault(key, RunningStatistics(len(statistics.low)))
            known.merge(statistics)
            stats[key] = feature_stats(key, statistics)
        self.stats.append(stats)
        self.episodes.append(entry)
        self.facts.append({key: facts[key] for key in facts if key not in ("tasks",)})
        self.frames += facts["length"]

    def _entry(self, facts: Mapping[str, Any], number: int) -> dict[str, Any]:
        entry = {"episode_index": number, "tasks": facts["tasks"], "length": facts["length"]}
        if self.version == "v3.0":
            chunk, file = divmod(number, dataset_schema.CHUNK)
            entry |= {
                "data/chunk_index": chunk,
                "data/file_index": file,
                "dataset_from_index": self.frames,
                "dataset_to_index": self.frames + facts["length"],
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        return entry

    def _videos(self, staged: Path, number: int, entry: dict[str, Any]) -> None:
        chunk, file = divmod(number, dataset_schema.CHUNK)
        for camera in self.schema.cameras:
            path = self.target / dataset_schema.place(
                dataset_schema.VIDEO[self.version], number, camera.key
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            _link(staged / f"{camera.slot}.mp4", path)
            if self.version == "v3.0":
                entry |= {
                    f"videos/{camera.key}/chunk_index": chunk,
                    f"videos/{camera.key}/file_index": file,
                    f"videos/{camera.key}/from_timestamp": 0.0,
                    f"videos/{camera.key}/to_timestamp": entry["length"] / self.schema.fps,
                }

    def _data(self, staged: Path, number: int) -> None:
        path = self.target / dataset_schema.place(dataset_schema.DATA[self.version], number)
        path.parent.mkdir(parents=True, exist_ok=True)
        schema = data_schema(self.schema, self.version)
        first = 0
        with pq.ParquetWriter(path, schema, compression="snappy") as writer:
            for batch in pq.ParquetFile(staged / NUMBERS).iter_batches():
                writer.write_table(
                    self._rows(pa.Table.from_batches([batch]), number, first, schema)
                )
                first += batch.num_rows

    def _rows(self, table: pa.Table, number: int, first: int, schema: pa.DatasetSchema) -> pa.Table:
        places = np.arange(first, first + table.num_rows)
        columns: dict[str, Any] = {
            name: table.column(name).cast(schema.field(name).type)
            for name in (*self.schema.vectors, STAMPS, INTERVENTION)
        }
        if self.schema.lossless:
            for camera in self.schema.cameras:
                pictures = table.column(camera.key).combine_chunks()
                paths = pa.array([f"frame-{place:06d}.png" for place in places])
                columns[camera.key] = pa.StructArray.from_arrays(
                    [pictures, paths], ["bytes", "path"]
                )
        columns["timestamp"] = pa.array((places / self.schema.fps).astype(np.float32))
        columns["frame_index"] = pa.array(places)
        columns["episode_index"] = pa.array(np.full(len(places), number))
        columns["index"] = pa.array(places + self.frames)
        tasks = table.column("task").to_pylist()
        columns["task_index"] = pa.array([self.tasks[task] for task in tasks], pa.int64())
        return pa.table([columns[name] for name in schema.names], schema=schema)

    def _index_stats(self, length: int, number: int) -> dict[str, Any]:
        """Of the columns that the format adds; LeRobot keeps theirs, too."""
        places = np.arange(length)
        columns = {
            "timestamp": places / self.schema.fps,
            "frame_index": places,
            "episode_index": np.full(length, number),
            "index": places + self.frames,
        }
        found = {}
        for name, values in columns.items():
            statistics = RunningStatistics(1)
            statistics.add(values[:, None])
            found[name] = statistics.as_dict()
        return found


def feature_stats(key: str, statistics: RunningStatistics) -> dict[str, Any]:
    """One feature's entry in the dataset's statistics."""
    values: dict[str, Any] = statistics.as_dict()
    if key.startswith(dataset_schema.IMAGES):
        return {
            name: value if name == "count" else dataset_schema.image_shape(value)
            for name, value in values.items()
        }
    return values


def data_schema(schema: DatasetSchema, version: Version) -> pa.DatasetSchema:
    """Columns of a data file, with the types that the datasets library reads from its metadata."""
    kind = pa.float64() if schema.precision == "float64" else pa.float32()
    stamps = len(schema.stamp_names)
    fields: list[tuple[str, Any]] = [
        (key, pa.list_(kind, len(names))) for key, names in schema.vectors.items()
    ]
    if schema.lossless:
        picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        fields += [(camera.key, picture) for camera in schema.cameras]
    fields += [(STAMPS, pa.list_(pa.int64(), stamps)), (INTERVENTION, pa.bool_())]
    kinds = {"float32": pa.float32(), "int64": pa.int64()}
    fields += [(name, kinds[dtype]) for name, dtype in dataset_schema.DEFAULT_COLUMNS.items()]
    sequence = "List" if version == "v3.0" else "Sequence"
    features: dict[str, Any] = {}
    for name, feature in schema.features().items():
        if feature["dtype"] == "image":
            features[name] = {"_type": "Image"}
        elif feature["shape"] == [1]:
            features[name] = {"dtype": feature["dtype"], "_type": "Value"}
        elif feature["dtype"] != "video":
            inner = {"dtype": feature["dtype"], "_type": "Value"}
            features[name] = {"feature": inner, "length": feature["shape"][0], "_type": sequence}
    metadata = json.dumps({"info": {"features": features}})
    return pa.schema(fields, metadata={"huggingface": metadata})


def assemble(
    staged: Sequence[Path],
    target: Path,
    schema: DatasetSchema,
    version: Version,
    facts: DatasetDetails,
) -> Totals:
    """Make a dataset of staged episodes, in the order given.

    Args:
        target: does not exist yet.

    Raises:
        ContractError: the disk refuses it; the target is not there then.
    """
    with new_folder(target) as beside:
        assembly = _Assembly(beside, schema, version)
        for folder in staged:
            assembly.add(folder)
        totals = Totals(len(assembly.episodes), assembly.frames, len(assembly.tasks))
        _write_meta(assembly, totals, facts)
    return totals


def _write_meta(assembly: _Assembly, totals: Totals, facts: DatasetDetails) -> None:
    target, version = assembly.target, assembly.version
    (target / "meta").mkdir(exist_ok=True)
    _json(
        target / dataset_schema.INFO,
        dataset_schema.info(assembly.schema, version, facts.robot, totals),
    )
    if version == "v3.0":
        _tasks_parquet(target / dataset_schema.TASKS[version], assembly.tasks)
        rows = [
            {**entry, **dataset_schema.flattened(stats, "stats")}
            for entry, stats in zip(assembly.episodes, assembly.stats, strict=True)
        ]
        path = target / dataset_schema.EPISODES[version]
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), path, compression="snappy")
        overall = {key: feature_stats(key, item) for key, item in assembly.statistics.items()}
        _json(target / dataset_schema.STATS, overall)
    else:
        tasks = [{"task_index": number, "task": task} for task, number in assembly.tasks.items()]
        _lines(target / dataset_schema.TASKS[version], tasks)
        _lines(target / dataset_schema.EPISODES[version], assembly.episodes)
        _lines(target / dataset_schema.EPISODE_STATS, _episode_stats(assembly.stats))
    errors = {
        key: assembly.statistics[key].quantile_error
        for key in (STATE, ACTION)
        if key in assembly.statistics
    }
    ours = {**facts.ours, "quantile_error": errors, "episodes": assembly.facts}
    _json(target / dataset_schema.OURS, ours)
    if facts.norm_stats:
        _norm_stats(target / "norm_stats.json", assembly.statistics)


def _episode_stats(stats: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, entry in enumerate(stats):
        plain = {
            key: {n: v for n, v in values.items() if not n.startswith("q")}
            for key, values in entry.items()
        }
        yield {"episode_index": number, "stats": plain}


def _norm_stats(path: Path, statistics: Mapping[str, RunningStatistics]) -> None:
    """Normalisation statistics in the form that checkpoints (and openpi) have them."""
    document = {}
    for name, key in (("state", STATE), ("actions", ACTION)):
        values = statistics[key].as_dict((0.01, 0.99))
        document[name] = {part: values[part] for part in ("mean", "std", "q01", "q99")}
    _json(path, {"norm_stats": document})


def _tasks_parquet(path: Path, tasks: Mapping[str, int]) -> None:
    """A table that pandas opens with the sentences as its index."""
    text = {"field_name": "task", "name": "task", "numpy_type": "object", "pandas_type": "unicode"}
    number = {
        "field_name": "task_index",
        "name": "task_index",
        "numpy_type": "int64",
        "pandas_type": "int64",
    }
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [{**number, "metadata": None}, {**text, "metadata": None}],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    schema = pa.schema(
        [("task_index", pa.int64()), ("task", pa.string())],
        metadata={"pandas": json.dumps(pandas)},
    )
    table = pa.table([pa.array(tasks.values(), pa.int64()), pa.array(list(tasks))], schema=schema)
    pq.write_table(table, path)


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the file system cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _lines(path: Path, rows: Any) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row) + "\n")
