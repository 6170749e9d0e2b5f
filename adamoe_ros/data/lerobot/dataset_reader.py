# SPDX-License-Identifier: Apache-2.0
"""Reads LeRobot datasets of version 3.0 and 2.1, ours and others', episode by episode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.observation import Observation
from adamoe_ros.data.lerobot import dataset_metadata as metadata
from adamoe_ros.data.lerobot import dataset_schema
from adamoe_ros.data.lerobot.dataset_metadata import Feature
from adamoe_ros.data.lerobot.dataset_rows import (
    RowFinder,
    Span,
    read_rows,
    row_batches,
    scalars,
)
from adamoe_ros.data.lerobot.dataset_schema import ACTION, INTERVENTIONS, STAMPS, STATE
from adamoe_ros.data.lerobot.episode_entries import AGAIN, EpisodeEntry, EpisodeLists
from adamoe_ros.data.lerobot.row_frames import RowFrames

Picture = NDArray[np.uint8]
__all__ = ["Dataset", "EpisodeEntry"]


class Dataset:
    """A dataset folder.

    Args:
        folder: with meta/info.json.

    Attributes:
        info: content of info.json.
        fps: rows per second.
        features: columns.
        ours: content of meta/adamoe.json; empty for datasets of others.
        tasks: sentence of every task number.
        episodes: in order.

    Raises:
        ContractError: not a dataset, another version, files that are missing, or a list that
            contradicts itself; every problem.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / dataset_schema.INFO
        self.info = metadata.read_json(path)
        self.version = metadata.version_of(self.info, path)
        self.fps = metadata.rate_of(self.info, path)
        self.features = metadata.features_of(self.info, path)
        ours = folder / dataset_schema.OURS
        self.ours: dict[str, Any] = metadata.read_json(ours) if ours.is_file() else {}
        self.tasks = metadata.read_tasks(folder, self.version)
        records = metadata.read_episode_records(folder, self.version)
        lists = EpisodeLists(folder, self.info, self.version, self.fps)
        if records:
            self._complete_features(lists.data_file(records[0]))
        self.episodes = lists.entries(records, self.features)
        self._by_data: dict[Path, list[tuple[int, int]]] = {}
        for entry in self.episodes:
            self._by_data.setdefault(entry.data, []).append((entry.index, entry.length))
        self._rows = RowFinder()
        self._times: dict[int, NDArray[np.float64]] = {}  # asked for by every camera
        rates = {key: feature.rate for key, feature in self.features.items()}
        self._frames = RowFrames(self.episodes, self.fps, rates)

    # --- columns --------------------------------------------------------------------------------

    @property
    def robot(self) -> str:
        """Name of the robot; empty: not named."""
        return str(self.info.get("robot_type") or "")

    @property
    def cameras(self) -> dict[str, str]:
        """Slot -> feature of every RGB camera."""
        return self._cameras(depth=False)

    @property
    def depth_cameras(self) -> dict[str, str]:
        """Slot -> feature of pictures that are no RGB pictures."""
        return self._cameras(depth=True)

    def _cameras(self, depth: bool) -> dict[str, str]:
        return {
            key.removeprefix(dataset_schema.IMAGES): key
            for key, feature in self.features.items()
            if feature.camera and feature.depth == depth
        }

    def names(self, key: str) -> list[str]:
        """Names of a vector's values; [] where the dataset names none."""
        return list(self._feature(key).names)

    def width(self, key: str) -> int:
        """Values of a vector."""
        feature = self._feature(key)
        return int(np.prod(feature.shape)) if feature.shape else len(feature.names)

    def _feature(self, key: str) -> Feature:
        if key not in self.features:
            where = f"{self.folder / dataset_schema.INFO}: features"
            raise ContractError(problem(where, key, ", ".join(self.features), "write it there"))
        return self.features[key]

    def _complete_features(self, path: Path) -> None:
        """What info.json does not say of a column, by the data files."""
        unsaid = {
            key: feature
            for key, feature in self.features.items()
            if not feature.dtype or not (feature.shape or feature.names or feature.camera)
        }
        if not unsaid:
            return
        schema = metadata.open_table(path).schema_arrow if path.is_file() else pa.schema([])
        for key, feature in unsaid.items():
            kind = schema.field(key).type if key in schema.names else None
            dtype = feature.dtype or _dtype(kind, feature)
            shape = feature.shape
            if not shape and kind is not None and pa.types.is_fixed_size_list(kind):
                shape = (kind.list_size,)
            elif not shape and kind is not None and pa.types.is_list(kind):
                head = read_rows(path, key, 0, 1)
                shape = (len(head[0].as_py() or []),) if len(head) else ()
            if not dtype:
                where, do = (
                    f"{self.folder / dataset_schema.INFO}: features: {key}",
                    "write it there",
                )
                raise ContractError(problem(where, "a dtype", "none", do))
            self.features[key] = replace(feature, dtype=dtype, shape=shape)

    # --- rows -----------------------------------------------------------------------------------

    def rows(self, entry: EpisodeEntry) -> Span:
        """The rows of an episode in its data file.

        Raises:
            ContractError: they contradict the list of episodes.
        """
        if not entry.length:
            return Span(0, 0, entry.index_from)
        span = self.spans(entry.data).get(entry.index, Span(0, 0, None))
        where = f"{entry.data}: episode {entry.index}"
        if span.wrong:
            raise ContractError(span.wrong)
        if span.count != entry.length:
            expected, got = f"{entry.length} rows, as the list of episodes has it", span.count
            raise ContractError(problem(where, expected, got, AGAIN))
        if None not in (entry.index_from, span.index) and entry.index_from != span.index:
            expected = f"{entry.index_from}, the list's dataset_from_index"
            raise ContractError(problem(f"{where}: index", expected, span.index, AGAIN))
        return span

    def spans(self, path: Path) -> dict[int, Span]:
        """Episode -> its rows in a data file, listed or not."""
        return self._rows.spans(path, self._by_data.get(path, []))

    def times(self, entry: EpisodeEntry) -> NDArray[np.float64]:
        """(N,) s of every row since the episode's begin.

        Raises:
            ContractError: they are not those of the dataset's rate.
        """
        if entry.index not in self._times:
            self._times[entry.index] = self._read_times(entry)
        return self._times[entry.index]

    def _read_times(self, entry: EpisodeEntry) -> NDArray[np.float64]:
        grid = np.arange(entry.length) / self.fps
        where = f"{entry.data}: episode {entry.index}: timestamp"
        if not entry.length or "timestamp" not in self._columns_of(entry.data):
            return grid
        span = self.rows(entry)
        column = read_rows(entry.data, "timestamp", span.first, span.count)
        if column.null_count == len(column):
            return grid
        try:
            times = np.asarray(scalars(column), np.float64)
        except (ValueError, TypeError) as error:
            raise ContractError(problem(where, "numbers", column.type, AGAIN)) from error
        wrong = ~(np.abs(times - grid) <= 0.5 / self.fps)  # NaN, too
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            expected = f"{grid[row]:.3f} s in row {row}, at {self.fps:g} Hz"
            got = f"{times[row]:.3f} s"
            do = "correct fps in meta/info.json, or cut the episode there"
            raise ContractError(problem(where, expected, got, do))
        return times

    def _columns_of(self, path: Path) -> list[str]:
        return list(metadata.open_table(path).schema_arrow.names)

    def check(self, entry: EpisodeEntry, cameras: Sequence[str] | None = None) -> None:
        """Whether rows, times, sentences and frames of an episode agree; nothing is decoded.

        Args:
            cameras: features; None: all, depth maps too.

        Raises:
            ContractError: they do not; every problem.
        """
        self.rows(entry)
        times = self.times(entry)
        self.sentences(entry)
        problems = Problems()
        for key in entry.videos if cameras is None else cameras:
            if key in entry.videos:
                try:
                    self._frames.numbers(entry, key, times)
                except ContractError as error:
                    problems.extend(error.problems)
        problems.raise_if_any()

    # --- content --------------------------------------------------------------------------------

    def column(self, entry: EpisodeEntry, key: str) -> NDArray[Any]:
        """One column of an episode: (N,) or (N, D); NaN where a number is missing.

        Raises:
            ContractError: no such column, rows that are not of one width, or of another than info.json's.
        """
        span = self.rows(entry)
        array = read_rows(entry.data, key, span.first, span.count)
        where = f"{entry.data}: episode {entry.index}: {key}"
        kind = array.type
        if len(array) != span.count:  # a damaged page may hold fewer, without an error
            raise ContractError(problem(where, f"{span.count} rows", len(array), AGAIN))
        if not len(array):
            return np.zeros((0, self.width(key)) if key in (STATE, ACTION, STAMPS) else 0)
        if not _is_list(kind):
            plain = np.asarray(array.to_numpy(zero_copy_only=False))
            if plain.dtype == object:
                raise ContractError(problem(where, "rows of numbers", str(kind), AGAIN))
            return plain[:, None] if key in (STATE, ACTION) else plain
        widths = array.value_lengths().to_numpy(zero_copy_only=False)
        usual = np.nanmax(widths) if array.null_count < len(array) else -1
        odd = np.flatnonzero(~(widths == usual))
        if len(odd):
            row = int(odd[0])
            got = f"{array[row].as_py()} in row {row}"[:120]
            raise ContractError(problem(where, "rows of one width", got, AGAIN))
        values = array.flatten()
        if _is_list(values.type):  # a matrix in each row
            rows = np.array(array.to_pylist(), np.float64).reshape(len(array), -1)
        else:
            rows = values.to_numpy(zero_copy_only=False).reshape(len(array), -1)
        if rows.dtype == object:
            got = str(values.type)
            raise ContractError(problem(where, "rows of numbers", got, AGAIN))
        if key in (STATE, ACTION) and rows.shape[1] != self.width(key):
            expected = f"{self.width(key)} numbers a row, as meta/info.json says"
            raise ContractError(problem(where, expected, rows.shape[1], AGAIN))
        if key in dataset_schema.DEFAULT_COLUMNS and rows.shape[1] == 1:
            return np.asarray(rows[:, 0])
        return np.asarray(rows)

    def sentences(self, entry: EpisodeEntry) -> list[str]:
        """The instruction of every row; empty where its task has none.

        Raises:
            ContractError: a row's task is not in the list of tasks.
        """
        if not entry.length:
            return []
        where = f"{entry.data}: episode {entry.index}"
        if "task_index" not in self._columns_of(entry.data):
            numbers: NDArray[Any] = np.full(entry.length, np.nan)
        else:
            numbers = self.column(entry, "task_index").astype(np.float64)
        alone = entry.tasks[0] if len(set(entry.tasks)) == 1 else None
        if alone is None and not self.tasks and not entry.tasks:
            expected, do = "a list of tasks", f"write meta/{dataset_schema.TASKS[self.version]}"
            raise ContractError(problem(where, expected, "none", do))
        found = []
        for row, number in enumerate(numbers.tolist()):
            # as a float: 1.5 is no task, and 1.0 is task 1
            sentence = alone if number != number or not self.tasks else self.tasks.get(number)
            if sentence is None:
                got = "none" if number != number else f"{number:g}"
                known = ", ".join(map(str, sorted(self.tasks))) or "one"
                expected = f"a task_index of {known}"
                raise ContractError(problem(f"{where}: row {row}", expected, got, AGAIN))
            found.append(sentence)
        return found

    def interventions(self, entry: EpisodeEntry) -> NDArray[np.bool_]:
        """(N,) rows in which a human led the arms; none where the dataset does not say.

        Raises:
            ContractError: the column has something else than one number or truth value a row.
        """
        key = next((key for key in INTERVENTIONS if key in self.features), None)
        if key is None:
            return np.zeros(entry.length, bool)
        values = self.column(entry, key)
        if values.size != entry.length or values.dtype.kind not in "biuf":
            where, got = f"{entry.data}: episode {entry.index}: {key}", values.shape
            raise ContractError(problem(where, f"{entry.length} truth values", got, AGAIN))
        return np.asarray(values.reshape(-1) > 0.5)

    # --- pictures -------------------------------------------------------------------------------

    def pictures(
        self, entry: EpisodeEntry, key: str, rows: NDArray[np.int64] | None = None
    ) -> Iterator[Picture]:
        """One camera of an episode, (H, W, 3) uint8 RGB each.

        Args:
            rows: of the episode, in ascending order; None: all.

        Raises:
            ContractError: a row without a picture of its own, or one that cannot be decoded.
        """
        wanted = np.arange(entry.length) if rows is None else rows
        if key in entry.videos:
            yield from self._frames.pictures(entry, key, self.times(entry), wanted)
        else:
            yield from self._from_cells(entry, key, wanted)

    def frame_fit(self, entry: EpisodeEntry, key: str) -> tuple[float, float]:
        """Period of an episode's video, and by how much a row's frame is off at most, s.

        Raises:
            ContractError: see ``RowFrames.numbers``.
        """
        return self._frames.fit(entry, key, self.times(entry))

    def _from_cells(
        self, entry: EpisodeEntry, key: str, wanted: NDArray[np.int64]
    ) -> Iterator[Picture]:
        from adamoe_ros.streams.compressed import decode_data, picture_end

        span = self.rows(entry)
        chosen, row = set(wanted.tolist()), -1
        for part in row_batches(entry.data, key, span.first, span.count):
            for cell in part:
                row += 1
                if row not in chosen:
                    continue
                data = self._cell(cell.as_py())
                if not data:
                    picture, got = None, "none"
                elif _is_depth_png(data):
                    picture, got = None, "a depth map of 16 bits"
                elif picture_end(data) == 0:
                    picture, got = None, f"{len(data)} bytes of one that is cut"
                else:
                    picture, got = decode_data(data), f"{len(data)} bytes that are none"
                if picture is None:
                    where = f"{entry.data}: episode {entry.index}: {key}: row {row}"
                    raise ContractError(problem(where, "an RGB picture", got, AGAIN))
                yield picture

    def _cell(self, cell: Any) -> bytes | None:
        """Bytes of a stored picture: in the table, or in a file that it names."""
        if isinstance(cell, dict):
            data, name = cell.get("bytes"), cell.get("path")
            if data is None and name and (self.folder / str(name)).is_file():
                data = (self.folder / str(name)).read_bytes()
            return data
        return cell if isinstance(cell, bytes) else None

    # --- everything -----------------------------------------------------------------------------

    def observations(self, entry: EpisodeEntry) -> Iterator[tuple[Observation, NDArray[Any]]]:
        """Every frame as observation and action, in the dataset's units."""
        states, actions = self.column(entry, STATE), self.column(entry, ACTION)
        slots = list(self.cameras)
        ours = STAMPS in self.features
        names = self._stamp_cameras() if ours else []
        stamps = self.stamps(entry) if ours else None
        videos = [self.pictures(entry, key) for key in self.cameras.values()]
        sentences = self.sentences(entry)
        for number, pictures in enumerate(zip(*videos, strict=True)):
            row = None if stamps is None else [int(value) for value in stamps[number]]
            yield (
                Observation(
                    stamp_ns=round(number / self.fps * 1e9) if row is None else row[0],
                    images=dict(zip(slots, pictures, strict=True)),
                    state=states[number],
                    instruction=sentences[number],
                    image_stamps_ns={} if row is None else dict(zip(names, row[2:], strict=True)),
                    state_stamp_ns=0 if row is None else row[1],
                ),
                actions[number],
            )

    def stamps(self, entry: EpisodeEntry) -> NDArray[np.int64]:
        """(N, 2 + C) ns, columns as ``DatasetSchema.stamp_names``.

        Raises:
            ContractError: no whole numbers, or another number of them.
        """
        stamps, width = self.column(entry, STAMPS), self.width(STAMPS)
        if len(stamps) and (stamps.dtype.kind not in "iu" or stamps.shape[1:] != (width,)):
            where = f"{entry.data}: episode {entry.index}: {STAMPS}"
            got = f"{stamps.dtype} of shape {stamps.shape}"
            raise ContractError(problem(where, f"{width} whole numbers a row", got, AGAIN))
        return np.asarray(stamps, np.int64)

    def _stamp_cameras(self) -> list[str]:
        """Whose pictures the stamps are behind the first two; cameras may have been removed since."""
        names, expected = self.names(STAMPS), ["observation", "state", *self.cameras]
        fits = names[:2] == expected[:2] and len(names) == self.width(STAMPS)
        if not fits or not set(expected).issubset(names):
            where = f"{self.folder / dataset_schema.INFO}: features: {STAMPS}: names"
            raise ContractError(problem(where, ", ".join(expected), ", ".join(names), AGAIN))
        return names[2:]


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _dtype(kind: pa.DataType | None, feature: Feature) -> str:
    """Of a feature that does not say, by its column; without one it can only be a video."""
    if kind is None:
        return "video" if len(feature.shape) == 3 else ""
    if pa.types.is_struct(kind) or pa.types.is_binary(kind):
        return "image"
    while _is_list(kind):
        kind = kind.value_type
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


def _is_depth_png(data: bytes) -> bool:
    """A PNG of one channel of 16 bits (IHDR: depth, colour type)."""
    return data[:4] == b"\x89PNG" and data[24:26] == b"\x10\x00"
