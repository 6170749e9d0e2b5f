# SPDX-License-Identifier: Apache-2.0
"""Reads LeRobot datasets of version 3.0 and 2.1, ours and others', episode by episode."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.observation import Observation
from adamoe_ros.data.lerobot import dataset_schema
from adamoe_ros.data.lerobot.dataset_schema import ACTION, STAMPS, STATE
from adamoe_ros.data.lerobot.video_frames import frames_from

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class EpisodeEntry:
    """One episode as the dataset lists it.

    Attributes:
        data: its parquet file. first: its first row there.
        videos: feature -> (file, s at which it begins there).
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    data: Path
    first: int
    videos: Mapping[str, tuple[Path, float]]


class Dataset:
    """A dataset folder.

    Args:
        folder: with meta/info.json.

    Attributes:
        info: content of info.json.
        ours: content of meta/adamoe.json; empty for datasets of others.
        tasks: sentence of every task number.
        episodes: in order.

    Raises:
        ContractError: not a dataset, another version, or files are missing; every problem.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info: dict[str, Any] = _json(folder / dataset_schema.INFO, "a LeRobot dataset")
        self.version = str(self.info.get("codebase_version"))
        if self.version not in dataset_schema.VERSIONS:
            known = " or ".join(dataset_schema.VERSIONS)
            raise ContractError(problem(str(folder), known, self.version, "convert it first"))
        path = folder / dataset_schema.OURS
        self.ours: dict[str, Any] = _json(path, "") if path.is_file() else {}
        self.tasks = self._read_tasks()
        self.episodes = self._read_episodes()
        self._check_files()

    @property
    def fps(self) -> int:
        """Frames per second."""
        return int(self.info["fps"])

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """Columns."""
        return dict(self.info["features"])

    @property
    def cameras(self) -> dict[str, str]:
        """Slot -> feature, of colour and grey pictures."""
        return self._pictures(depth=False)

    @property
    def depth_maps(self) -> dict[str, str]:
        """Slot -> feature, of pictures that are distances: no policy looks at them."""
        return self._pictures(depth=True)

    def _pictures(self, depth: bool) -> dict[str, str]:
        return {
            key.removeprefix(dataset_schema.IMAGES): key
            for key, feature in self.features.items()
            if feature["dtype"] in ("video", "image")
            and dataset_schema.is_depth_map(key, feature) == depth
        }

    def names(self, key: str) -> list[str]:
        """Names of a vector's columns; LeRobot allows a list or a mapping with one list."""
        names = self.features[key].get("names") or []
        if isinstance(names, dict):
            names = next(iter(names.values()), [])
        if names and isinstance(names[0], list):
            names = names[0]
        return [str(name) for name in names]

    # --- lists ----------------------------------------------------------------------------------

    def _read_tasks(self) -> dict[int, str]:
        path = self.folder / dataset_schema.TASKS[self.version]
        if self.version == "v2.1":
            return {row["task_index"]: row["task"] for row in _lines(path)}
        table = _table(path)
        name = next(item for item in table.column_names if item != "task_index")
        numbers = table.column("task_index").to_pylist()
        return dict(zip(numbers, table.column(name).to_pylist(), strict=True))

    def _read_episodes(self) -> list[EpisodeEntry]:
        if self.version == "v2.1":
            rows = _lines(self.folder / dataset_schema.EPISODES["v2.1"])
        else:
            rows = []
            for path in sorted((self.folder / "meta/episodes").glob("*/*.parquet")):
                table = _table(path)
                plain = [name for name in table.column_names if not name.startswith("stats/")]
                rows += table.select(plain).to_pylist()
        starts: dict[Path, int] = {}
        entries = []
        for row in sorted(rows, key=lambda item: int(item["episode_index"])):
            data = self.folder / self._path("data_path", row, "data")
            first = starts.get(data, 0)
            starts[data] = first + int(row["length"])
            entries.append(
                EpisodeEntry(
                    int(row["episode_index"]),
                    int(row["length"]),
                    tuple(row["tasks"]),
                    data,
                    first,
                    self._videos(row),
                )
            )
        return entries

    def _videos(self, row: Mapping[str, Any]) -> dict[str, tuple[Path, float]]:
        found = {}
        for key, feature in self.features.items():
            if feature["dtype"] == "video":
                path = self.folder / self._path("video_path", row, f"videos/{key}", key)
                found[key] = path, float(row.get(f"videos/{key}/from_timestamp") or 0.0)
        return found

    def _path(self, template: str, row: Mapping[str, Any], before: str, key: str = "") -> str:
        number = int(row["episode_index"])
        return str(self.info[template]).format(
            episode_chunk=number // int(self.info.get("chunks_size", dataset_schema.CHUNK)),
            episode_index=number,
            chunk_index=row.get(f"{before}/chunk_index"),
            file_index=row.get(f"{before}/file_index"),
            video_key=key,
        )

    def _check_files(self) -> None:
        problems = Problems()
        for entry in self.episodes:
            for path in (entry.data, *(path for path, _ in entry.videos.values())):
                if not path.is_file():
                    where = f"{self.folder.name}: episode {entry.index}"
                    name = str(path.relative_to(self.folder))
                    problems.add(where, name, "no such file", "make the dataset again")
        problems.raise_if_any()

    # --- content --------------------------------------------------------------------------------

    def column(self, entry: EpisodeEntry, key: str) -> NDArray[Any]:
        """One column of an episode: (N,) or (N, D)."""
        table = _table(entry.data, [key]).slice(entry.first, entry.length)
        return np.array(table.column(key).to_pylist())

    def sentences(self, entry: EpisodeEntry) -> list[str]:
        """The instruction of every frame."""
        return [self.tasks[int(number)] for number in self.column(entry, "task_index")]

    def pictures(self, entry: EpisodeEntry, key: str) -> Iterator[Picture]:
        """One camera of an episode, (H, W, 3) uint8 RGB each."""
        if key in entry.videos:
            yield from self._from_video(entry, key)
            return
        from adamoe_ros.streams.encodings import opencv

        cv2 = opencv()
        table = _table(entry.data, [key]).slice(entry.first, entry.length)
        for cell in table.column(key):
            data = np.frombuffer(cell.as_py()["bytes"], np.uint8)
            yield np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])

    def _from_video(self, entry: EpisodeEntry, key: str) -> Iterator[Picture]:
        import av

        path, start = entry.videos[key]
        first, count = round(start * self.fps), 0
        with av.open(str(path)) as container:
            for frame in frames_from(container, first, self.fps):
                if count == entry.length:
                    return
                count += 1
                yield np.asarray(frame.to_ndarray(format="rgb24"))
        if count < entry.length:
            raise ContractError(
                problem(path.name, f"{entry.length} pictures", count, "make the dataset again")
            )

    def observations(self, entry: EpisodeEntry) -> Iterator[tuple[Observation, NDArray[Any]]]:
        """Every frame as observation and action, in the dataset's units."""
        states, actions = self.column(entry, STATE), self.column(entry, ACTION)
        slots = list(self.cameras)
        ours = STAMPS in self.features
        stamps = self.column(entry, STAMPS) if ours else None
        names = self.names(STAMPS)[2:] if ours else []
        films = [self.pictures(entry, key) for key in self.cameras.values()]
        sentences = self.sentences(entry)
        for number, pictures in enumerate(zip(*films, strict=True)):
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


def _json(path: Path, what: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ContractError(problem(str(path), what, "no file", "check the folder")) from error
    except json.JSONDecodeError as error:
        raise ContractError(problem(str(path), "JSON", str(error), "make it again")) from error
    return dict(document)


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ContractError(problem(str(path), "a file", "none", "make it again")) from error
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _table(path: Path, columns: list[str] | None = None) -> Any:
    try:
        return pq.ParquetFile(path).read(columns)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        line = " ".join(str(error).split())[:120]
        raise ContractError(problem(str(path), "a parquet file", line, "make it again")) from error
