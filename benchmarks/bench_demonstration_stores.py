# SPDX-License-Identifier: Apache-2.0
"""Scripted demonstrations as npz shards and as a LeRobot dataset with lossless pictures, in turns.

The same episodes in both: making the store, opening it in a new process (with and without the picture
cache, which only a dataset needs) and cutting batches from it. CPU time, children included.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import RESULTS, ROOT, machine, write

from adamoe_ros.data.lerobot.dataset_schema import DatasetCamera, DatasetSchema
from adamoe_ros.data.lerobot.dataset_writer import DatasetDetails, assemble
from adamoe_ros.data.lerobot.episode_writer import EpisodeWriter, FrameRow
from adamoe_ros.training.demonstration_set import DataLayout, Demonstration, DemonstrationSet
from adamoe_ros.training.generate_demonstrations import Generator
from adamoe_ros.training.lerobot_source import Reading, load_episodes
from adamoe_ros.training.shards import read_shards, write_shard
from adamoe_ros.training.suite_dataset import shown_frame
from adamoe_ros.training.training_config import GenerateConfig

SIZE, ROWS, BATCH = (72, 96), 50, 64
STORES = ("npz", "lerobot")


def write_dataset(target: Path, episodes: list[Demonstration], layout: DataLayout) -> None:
    """Every action is a row; the picture, state and goals of a row are the newest kept ones."""
    assert episodes[0].objects is not None
    goals = tuple(f"goal_{i}" for i in range(episodes[0].objects.shape[1]))
    cameras = tuple(DatasetCamera(slot, *SIZE) for slot in layout.camera_slots)
    fps = layout.control_rate_hz
    schema = DatasetSchema(layout.roles, cameras, fps, lossless=True, environment_names=goals)
    staged = target.with_name("staged")
    folders = [staged / f"{number:06d}" for number in range(len(episodes))]
    for folder, episode in zip(folders, episodes, strict=True):
        writer = EpisodeWriter(folder, schema, 18)
        for row in range(int(episode.steps[0]), len(episode.actions)):
            writer.add(_row(episode, layout, row, fps))
        writer.close({"task": episode.tasks[0], "seed": episode.seed})
    ours = {
        "format": "adamoe_ros/dataset/1", "embodiments": [layout.embodiment],
        "roles": list(layout.roles), "object_positions": list(goals),
        "gripper": {"open": layout.gripper_open, "closed": layout.gripper_closed},
        "state_source": layout.state_source,
    }  # fmt: skip
    assemble(folders, target, schema, "v3.0", DatasetDetails("aloha_sim", ours))
    shutil.rmtree(staged)


def _row(episode: Demonstration, layout: DataLayout, row: int, fps: float) -> FrameRow:
    assert episode.objects is not None
    kept = int(np.searchsorted(episode.steps, row, "right")) - 1
    stamp = round(int(episode.steps[kept]) * 1e9 / fps)
    pictures = dict(zip(layout.camera_slots, episode.images[kept], strict=True))
    return FrameRow(
        state=episode.state[kept].astype(float),
        action=episode.actions[row].astype(float),
        stamps_ns=np.full(2 + len(pictures), stamp, np.int64),
        task=episode.instructions[kept],
        frames={slot: shown_frame(pixels) for slot, pixels in pictures.items()},
        environment=episode.objects[kept].astype(float),
    )


def opened(store: str, work: Path) -> DemonstrationSet:
    """As ``adamoe train`` opens it."""
    if store == "npz":
        return read_shards(work / "npz", ROWS)
    episodes, layout = load_episodes(work / "lerobot", Reading(SIZE, work / "pictures"))
    return DemonstrationSet(episodes, layout, ROWS)


def cpu_s(work: Callable[[], Any]) -> float:
    """CPU time of a call, children included."""
    before = os.times()
    work()
    after = os.times()
    return sum(after[i] - before[i] for i in range(4))


def start(store: str, work: Path) -> None:
    """Open it in a process of its own."""
    command = [sys.executable, __file__, "--work", str(work), "--open", store]
    subprocess.run(command, check=True)


def batches(data: DemonstrationSet, count: int) -> float:
    """CPU ms of one batch."""
    order = np.random.default_rng(0).integers(len(data), size=(count, BATCH))
    before = time.process_time()
    for numbers in order:
        data.batch(numbers)
    return (time.process_time() - before) / count * 1e3


def same(one: DemonstrationSet, other: DemonstrationSet) -> bool:
    """Whether both give the same samples."""
    numbers = np.arange(0, len(one), 7)
    first, second = one.batch(numbers), other.batch(numbers)
    return len(one) == len(other) and all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("images", "state", "actions", "objects", "instructions")
    )


def measure(work: Path, count: int, rounds: int) -> dict[str, Any]:
    """Everything, by store."""
    generator = Generator(GenerateConfig(episodes=count), SIZE)
    shown: list[Demonstration] = []
    simulated = cpu_s(
        lambda: shown.extend(e for e in map(generator.episode, range(count)) if e is not None)
    )
    layout = generator.layout
    made = {
        "npz": cpu_s(lambda: write_shard(work / "npz/all.npz", shown, layout)),
        "lerobot": cpu_s(lambda: write_dataset(work / "lerobot", shown, layout)),
    }
    first = {
        "npz": cpu_s(lambda: start("npz", work)),
        "lerobot": cpu_s(lambda: start("lerobot", work)),
    }
    later: dict[str, list[float]] = {store: [] for store in STORES}
    cut: dict[str, list[float]] = {store: [] for store in STORES}
    data = {store: opened(store, work) for store in STORES}
    for turn in range(rounds):
        for store in STORES[:: 1 if turn % 2 else -1]:
            later[store].append(cpu_s(lambda store=store: start(store, work)))
            cut[store].append(batches(data[store], 30))
    return {
        "episodes": len(shown),
        "samples": len(data["npz"]),
        "rows": sum(len(e.actions) for e in shown),
        "same_samples": same(data["npz"], data["lerobot"]),
        "simulating_cpu_s": round(simulated, 2),
        "writing_cpu_s": {k: round(v, 2) for k, v in made.items()},
        "megabytes": {store: megabytes(work / store) for store in STORES},
        "picture_cache_megabytes": megabytes(work / "pictures"),
        "first_opening_cpu_s": {k: round(v, 2) for k, v in first.items()},
        "opening_cpu_s": {k: round(median(v), 2) for k, v in later.items()},
        "batch_of_64_cpu_ms": {k: round(median(v), 2) for k, v in cut.items()},
    }


def megabytes(folder: Path) -> float:
    """Of a folder's files."""
    return round(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6, 1)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench_stores")
    parser.add_argument("--open", choices=STORES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS / "demonstration_stores.json")
    options = parser.parse_args()
    if options.open:
        len(opened(options.open, options.work))
        return
    about = machine()
    shutil.rmtree(options.work, ignore_errors=True)
    found = measure(options.work, options.episodes, options.rounds)
    write(options.out, {"what": "stores of demonstrations", "machine": about, **found})


if __name__ == "__main__":
    main()
