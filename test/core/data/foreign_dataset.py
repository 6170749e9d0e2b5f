# SPDX-License-Identifier: Apache-2.0
"""LeRobot datasets as other tools write them, by pyarrow, OpenCV and PyAV alone.

Row f of episode e has state[j] = e + f / 100 + j / 10, action = state + 0.05, and a grey picture of
level 20 (2 e + 1) + 2 f: a reader that mixes up rows, pictures or episodes is found out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LENGTHS = (6, 8, 7)
CAMERA, SENTENCE, FPS = "observation.images.cam_high", "lift the bar", 25.0
NAMES = [f"{side}_{joint}" for side in ("left", "right") for joint in (0, 1, "gripper")]
SIZE = (32, 48)  # height, width
DATA, VIDEO = "data/chunk-000/file-000.parquet", f"videos/{CAMERA}/chunk-000/file-000.mp4"
EPISODES, TASKS = "meta/episodes/chunk-000/file-000.parquet", "meta/tasks.parquet"


def level(episode: int, row: int) -> int:
    return 20 * (2 * episode + 1) + 2 * row


def state(episode: int, row: int) -> list[float]:
    return [episode + row / 100 + j / 10 for j in range(len(NAMES))]


def picture(grey: int) -> np.ndarray:
    return np.full((*SIZE, 3), grey, np.uint8)


def png(pixels: np.ndarray) -> dict[str, Any]:
    return {"bytes": cv2.imencode(".png", pixels)[1].tobytes(), "path": None}


def rows(lengths: Sequence[int] = LENGTHS, fps: float = FPS) -> list[dict[str, Any]]:
    places = [(e, f) for e, length in enumerate(lengths) for f in range(length)]
    return [
        {
            "observation.state": state(e, f),
            "action": [value + 0.05 for value in state(e, f)],
            "timestamp": f / fps,
            "frame_index": f,
            "episode_index": e,
            "index": number,
            "task_index": 0,
        }
        for number, (e, f) in enumerate(places)
    ]


def lines(
    lengths: Sequence[int] = LENGTHS, fps: float = FPS, video: bool = True
) -> list[dict[str, Any]]:
    found, first = [], 0
    for e, length in enumerate(lengths):
        line: dict[str, Any] = {"episode_index": e, "tasks": [SENTENCE], "length": length}
        line |= {"dataset_from_index": first, "dataset_to_index": first + length}
        line |= {"data/chunk_index": 0, "data/file_index": 0}
        if video:
            line |= {f"videos/{CAMERA}/{name}_index": 0 for name in ("chunk", "file")}
            line[f"videos/{CAMERA}/from_timestamp"] = first / fps
            line[f"videos/{CAMERA}/to_timestamp"] = (first + length) / fps
        found.append(line)
        first += length
    return found


def features(video: bool = True) -> dict[str, Any]:
    vector = {"dtype": "float32", "shape": [len(NAMES)], "names": NAMES}
    camera = {"dtype": "video" if video else "image", "shape": [*SIZE, 3], "names": None}
    kinds = {"timestamp": "float32"}
    kinds |= dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
    usual = {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in kinds.items()}
    return {"observation.state": dict(vector), "action": dict(vector), CAMERA: camera, **usual}


def info(version: str = "v3.0", video: bool = True, fps: float = FPS) -> dict[str, Any]:
    data = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    video_path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    if version == "v2.1":
        data = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
        video_path = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    return {
        "codebase_version": version,
        "robot_type": "aloha",
        "total_episodes": len(LENGTHS),
        "total_frames": sum(LENGTHS),
        "fps": fps,
        "chunks_size": 1000,
        "data_path": data,
        "video_path": video_path,
        "features": features(video),
    }


def write_json(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def write_rows(path: Path, table: list[dict[str, Any]] | pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(table) if isinstance(table, list) else table, path)


def change_info(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "meta/info.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    write_json(path, document)


def write_video(
    path: Path,
    levels: Sequence[int],
    times: Sequence[float],
    fps: float = FPS,
    codec: str = "libx264",
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    clock = Fraction(1, 90_000 if codec == "libx264" else 50_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"crf": "5", "bf": "0"} if codec == "libx264" else {}
        stream.time_base = stream.codec_context.time_base = clock
        for grey, time in zip(levels, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture(grey), format="rgb24")
            frame.pts, frame.time_base = round(time / clock), clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def video_plan(lengths: Sequence[int] = LENGTHS, fps: float = FPS) -> list[tuple[float, int]]:
    """(s, level) of every frame."""
    places = [(e, f) for e, length in enumerate(lengths) for f in range(length)]
    return [(number / fps, level(e, f)) for number, (e, f) in enumerate(places)]


def write_v30(
    folder: Path,
    table: list[dict[str, Any]] | None = None,
    listed: list[dict[str, Any]] | None = None,
    video: bool = False,
    plan: list[tuple[float, int]] | None = None,
    fps: float = FPS,
) -> Path:
    """Version 3.0; pictures as PNG in the table unless ``video``."""
    write_json(folder / "meta/info.json", info("v3.0", video, fps))
    write_rows(folder / TASKS, [{"task_index": 0, "__index_level_0__": SENTENCE}])
    write_rows(folder / EPISODES, lines(fps=fps, video=video) if listed is None else listed)
    table = rows(fps=fps) if table is None else table
    if not video:
        for row in table:
            row[CAMERA] = png(picture(level(row["episode_index"] or 0, row["frame_index"] or 0)))
    write_rows(folder / DATA, table)
    if video:
        times, levels = zip(*(video_plan(fps=fps) if plan is None else plan), strict=True)
        write_video(folder / VIDEO, levels, times, fps)
    return folder


def write_v21(folder: Path, video: bool = False) -> Path:
    """Version 2.1: a file an episode, lists as JSON lines."""
    write_json(folder / "meta/info.json", info("v2.1", video))
    listed = [{"episode_index": e, "tasks": [SENTENCE], "length": n} for e, n in enumerate(LENGTHS)]
    for name, values in (("episodes", listed), ("tasks", [{"task_index": 0, "task": SENTENCE}])):
        text = "".join(json.dumps(value) + "\n" for value in values)
        (folder / f"meta/{name}.jsonl").write_text(text, encoding="utf-8")
    for e, length in enumerate(LENGTHS):
        table = [row for row in rows() if row["episode_index"] == e]
        if video:
            path = folder / f"videos/chunk-000/{CAMERA}/episode_{e:06d}.mp4"
            write_video(
                path, [level(e, f) for f in range(length)], [f / FPS for f in range(length)]
            )
        else:
            for row in table:
                row[CAMERA] = png(picture(level(e, row["frame_index"])))
        write_rows(folder / f"data/chunk-000/episode_{e:06d}.parquet", table)
    return folder
