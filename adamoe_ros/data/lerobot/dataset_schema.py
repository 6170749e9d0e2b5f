# SPDX-License-Identifier: Apache-2.0
"""Names, columns and info.json of LeRobot datasets.

One file per episode in both versions: episodes can be made in parallel and a stopped run continues.
Version 3.0 allows that, as every episode names its files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Version = Literal["v3.0", "v2.1"]
VERSIONS: tuple[Version, ...] = ("v3.0", "v2.1")
CHUNK = 1000  # files of one folder
STATE, ACTION, STAMPS = "observation.state", "action", "stamps_ns"
# what only a simulator knows, e.g. where things are; the name that LeRobot has for it
ENVIRONMENT = "observation.environment_state"
INTERVENTION = "intervention"  # bool: a human led the arms; the name that LeRobot has for it
INTERVENTIONS = (INTERVENTION, "complementary_info.is_intervention")  # by whom it was written
IMAGES = "observation.images."
INFO, STATS = "meta/info.json", "meta/stats.json"
OURS = "meta/adamoe.json"  # what the format has no place for
DATA = {
    "v3.0": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    "v2.1": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
}
VIDEO = {
    "v3.0": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    "v2.1": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
}
TASKS = {"v3.0": "meta/tasks.parquet", "v2.1": "meta/tasks.jsonl"}
EPISODES = {
    "v3.0": "meta/episodes/chunk-000/file-000.parquet",
    "v2.1": "meta/episodes.jsonl",
}
EPISODE_STATS = "meta/episodes_stats.jsonl"  # v2.1
DEFAULT_COLUMNS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@dataclass(frozen=True)
class DatasetCamera:
    """One camera of a dataset: slot and size in px."""

    slot: str
    height: int
    width: int

    @property
    def key(self) -> str:
        """Feature name."""
        return IMAGES + self.slot


@dataclass(frozen=True)
class DatasetSchema:
    """What every frame of a dataset has.

    Attributes:
        names: of the columns of the state, and of the action where it has no others.
        cameras: in the model's order.
        fps: frames per second.
        precision: of state and action.
        lossless: pictures as PNG in the data files, else as H.264 video.
        action_names: of the action's columns; empty: those of the state.
        environment_names: of the columns of the simulator's state; empty: there is none.
    """

    names: tuple[str, ...]
    cameras: tuple[DatasetCamera, ...]
    fps: float
    precision: Literal["float32", "float64"] = "float32"
    lossless: bool = False
    action_names: tuple[str, ...] = ()
    environment_names: tuple[str, ...] = ()

    @property
    def vectors(self) -> dict[str, tuple[str, ...]]:
        """Feature -> names of its columns."""
        found = {STATE: self.names, ACTION: self.action_names or self.names}
        return found | ({ENVIRONMENT: self.environment_names} if self.environment_names else {})

    @property
    def stamp_names(self) -> tuple[str, ...]:
        """Columns of ``stamps_ns``: the observation, its joint state, its pictures."""
        return ("observation", "state", *(camera.slot for camera in self.cameras))

    @property
    def written_fps(self) -> float | int:
        """As info.json has it: a whole number where it is one, as other readers expect it."""
        return int(self.fps) if float(self.fps).is_integer() else self.fps

    def features(self) -> dict[str, dict[str, Any]]:
        """``features`` of info.json."""
        stamps = list(self.stamp_names)
        found: dict[str, dict[str, Any]] = {
            key: {"dtype": self.precision, "shape": [len(names)], "names": list(names)}
            for key, names in self.vectors.items()
        }
        found |= {camera.key: self._camera_feature(camera) for camera in self.cameras}
        found[STAMPS] = {"dtype": "int64", "shape": [len(stamps)], "names": stamps}
        found[INTERVENTION] = {"dtype": "bool", "shape": [1], "names": None}
        for name, dtype in DEFAULT_COLUMNS.items():
            found[name] = {"dtype": dtype, "shape": [1], "names": None}
        return found

    def _camera_feature(self, camera: DatasetCamera) -> dict[str, Any]:
        feature: dict[str, Any] = {
            "dtype": "image" if self.lossless else "video",
            "shape": [camera.height, camera.width, 3],
            "names": ["height", "width", "channels"],
        }
        if not self.lossless:
            feature["info"] = {
                "video.height": camera.height,
                "video.width": camera.width,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": self.written_fps,
                "video.channels": 3,
                "has_audio": False,
            }
        return feature


@dataclass(frozen=True)
class Totals:
    """Sizes of a whole dataset."""

    episodes: int
    frames: int
    tasks: int


def info(schema: DatasetSchema, version: Version, robot: str, totals: Totals) -> dict[str, Any]:
    """Content of info.json."""
    document: dict[str, Any] = {
        "codebase_version": version,
        "robot_type": robot,
        "total_episodes": totals.episodes,
        "total_frames": totals.frames,
        "total_tasks": totals.tasks,
        "chunks_size": CHUNK,
        "fps": schema.written_fps,
        "splits": {"train": f"0:{totals.episodes}"},
        "data_path": DATA[version],
        "video_path": None if schema.lossless else VIDEO[version],
        "features": schema.features(),
    }
    if version == "v3.0":
        document |= {"data_files_size_in_mb": 100, "video_files_size_in_mb": 200}
    else:
        videos = 0 if schema.lossless else len(schema.cameras) * totals.episodes
        chunks = -(-totals.episodes // CHUNK)
        document |= {"total_videos": videos, "total_chunks": chunks}
    return document


def place(template: str, episode: int, key: str = "") -> str:
    """A path of one episode, in either version."""
    chunk, number = divmod(episode, CHUNK)
    return template.format(
        chunk_index=chunk,
        file_index=number,
        episode_chunk=chunk,
        episode_index=episode,
        video_key=key,
    )


def flattened(values: Mapping[str, Any], before: str) -> dict[str, Any]:
    """Nested mappings as ``before/a/b`` -> value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{before}/{key}"
        flat |= flattened(value, name) if isinstance(value, Mapping) else {name: value}
    return flat


def image_shape(columns: Sequence[float]) -> list[list[list[float]]]:
    """Three channel values as LeRobot stores those of pictures: (3, 1, 1)."""
    return [[[value]] for value in columns]
