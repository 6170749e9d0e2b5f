# SPDX-License-Identifier: Apache-2.0
"""One episode in a staging folder: numbers in numeric.parquet, pictures beside them, facts as JSON.

The episode's place in the dataset is not known yet. ``done.json`` is written last: a folder without
it is begun anew. Imports: pyarrow, numpy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adamoe_ros.contract.files import replace_text
from adamoe_ros.data.lerobot.dataset_schema import (
    ACTION,
    ENVIRONMENT,
    INTERVENTION,
    STAMPS,
    STATE,
    DatasetSchema,
)
from adamoe_ros.data.lerobot.video_writer import VideoWriter, every_sampled, sampled_pixels
from adamoe_ros.data.running_statistics import RunningStatistics
from adamoe_ros.streams.frames import Frame
from adamoe_ros.streams.memory import keep_freed_pictures

NUMBERS, FACTS = "numeric.parquet", "done.json"
_FIELDS = {STATE: "state", ACTION: "action", ENVIRONMENT: "environment"}  # of a row
_ROWS = 256  # frames of one row group

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class FrameRow:
    """One frame of an episode.

    Attributes:
        state, action: in the dataset's order and units.
        stamps_ns: (2 + C,) as ``DatasetSchema.stamp_names``.
        task: the sentence.
        frames: pictures by slot.
        intervention: whether a human led the arms.
        environment: in the schema's order, where it has it.
    """

    state: Vector
    action: Vector
    stamps_ns: NDArray[np.int64]
    task: str
    frames: Mapping[str, Frame]
    intervention: bool = False
    environment: Vector = field(default_factory=lambda: np.zeros(0))


class EpisodeWriter:
    """Writes one staged episode; memory does not grow with its length.

    Args:
        folder: made new; what lies there is overwritten.
        schema: of the dataset.
        crf: quality of the videos.

    Attributes:
        lost: lines about pictures that could not be decoded.
    """

    def __init__(self, folder: Path, schema: DatasetSchema, crf: int) -> None:
        keep_freed_pictures()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FACTS).unlink(missing_ok=True)
        self.folder, self._schema = folder, schema
        self.lost: list[str] = []
        self.length = 0
        self.tasks: list[str] = []
        widths = {key: len(names) for key, names in schema.vectors.items()} | {INTERVENTION: 1}
        self._statistics = {key: RunningStatistics(count) for key, count in widths.items()}
        self._rows: list[tuple[FrameRow, list[bytes]]] = []
        self._writer = pq.ParquetWriter(folder / NUMBERS, staged_schema(schema))
        self._videos: dict[str, VideoWriter] = {}
        if schema.lossless:
            for camera in schema.cameras:
                self._statistics[camera.key] = RunningStatistics(3)
        else:
            self._videos = {
                camera.slot: VideoWriter(
                    folder / f"{camera.slot}.mp4",
                    schema.fps,
                    (camera.height, camera.width),
                    crf,
                    self.lost.append,
                )
                for camera in schema.cameras
            }

    def add(self, row: FrameRow) -> None:
        """Append a frame."""
        for slot, video in self._videos.items():
            video.add(row.frames[slot])
        pictures = []
        if self._schema.lossless:
            for camera in self._schema.cameras:
                pixels = row.frames[camera.slot].pixels()
                pictures.append(_png(pixels))
                if every_sampled(self.length):
                    self._statistics[camera.key].add(sampled_pixels(pixels))
        if row.task not in self.tasks:
            self.tasks.append(row.task)
        self.length += 1
        self._rows.append((replace(row, frames={}), pictures))  # decoded pictures are large
        if len(self._rows) >= _ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        rows = [row for row, _ in self._rows]
        stored = np.dtype(self._schema.precision)  # statistics are of what readers will find
        vectors = {
            key: np.stack([getattr(row, _FIELDS[key]) for row in rows])
            for key in self._schema.vectors
        }
        for key, values in vectors.items():
            self._statistics[key].add(values.astype(stored))
        led = np.array([row.intervention for row in rows], bool)
        self._statistics[INTERVENTION].add(led[:, None].astype(np.float64))
        columns = [
            *(_lists(values, pa.float64()) for values in vectors.values()),
            _lists(np.stack([row.stamps_ns for row in rows]), pa.int64()),
            pa.array(led),
            pa.array([row.task for row in rows]),
        ]
        for index in range(len(self._schema.cameras) if self._schema.lossless else 0):
            columns.append(pa.array([pictures[index] for _, pictures in self._rows], pa.binary()))
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._writer.schema))
        self._rows = []

    def close(self, facts: Mapping[str, Any]) -> None:
        """Finish; ``facts`` are kept for the dataset's own account of its episodes."""
        self._flush()
        self._writer.close()
        losses = {}
        for slot, video in self._videos.items():
            losses[slot] = vars(video.close())
            camera = next(item for item in self._schema.cameras if item.slot == slot)
            self._statistics[camera.key] = video.statistics
        arrays = {
            f"{key}|{name}": values
            for key, statistics in self._statistics.items()
            for name, values in statistics.arrays().items()
        }
        np.savez_compressed(self.folder / "statistics.npz", **arrays)  # type: ignore[arg-type]
        document = {"length": self.length, "tasks": self.tasks, "codec_loss": losses, **facts}
        replace_text(self.folder / FACTS, json.dumps(document, indent=1))

    def abort(self) -> None:
        """Give up."""
        for video in self._videos.values():
            video.abort()
        self._writer.close()


def read_statistics(folder: Path) -> dict[str, RunningStatistics]:
    """Statistics of a staged episode by feature."""
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    with np.load(folder / "statistics.npz", allow_pickle=False) as document:
        for name in document.files:
            key, part = name.split("|")
            parts.setdefault(key, {})[part] = document[name]
    return {key: RunningStatistics.from_arrays(arrays) for key, arrays in parts.items()}


def staged_schema(schema: DatasetSchema) -> pa.DatasetSchema:
    """Columns of numeric.parquet."""
    stamps = len(schema.stamp_names)
    fields = [
        *((key, pa.list_(pa.float64(), len(names))) for key, names in schema.vectors.items()),
        (STAMPS, pa.list_(pa.int64(), stamps)),
        (INTERVENTION, pa.bool_()),
        ("task", pa.string()),
    ]
    if schema.lossless:
        fields += [(camera.key, pa.binary()) for camera in schema.cameras]
    return pa.schema(fields)


def _lists(rows: NDArray[Any], kind: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel(), kind), rows.shape[1])


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from adamoe_ros.streams.encodings import opencv

    cv2 = opencv()
    good, data = cv2.imencode(".png", pixels[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not good:
        raise ValueError(f"a picture of {pixels.shape} could not be written as PNG")
    return bytes(data)
