# SPDX-License-Identifier: Apache-2.0
"""Demonstrations as LeRobot datasets with lossless pictures: written, made in the simulator, read.

A row for every action, at the control rate; picture, state and goals of a row are the newest kept
ones, so that its samples are those of the demonstration (rows before its first picture have none).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.workers import Workers
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.lerobot.dataset_schema import INFO, DatasetCamera, DatasetSchema
from adamoe_ros.data.lerobot.dataset_writer import DatasetDetails, assemble
from adamoe_ros.data.lerobot.episode_writer import EpisodeWriter, FrameRow
from adamoe_ros.training.demonstration_set import DataLayout, Demonstration, DemonstrationSet
from adamoe_ros.training.generate_demonstrations import Generator, robot_layout
from adamoe_ros.training.lerobot_source import Reading, load_episodes
from adamoe_ros.training.suite_dataset import (
    SuiteJob,
    SuiteOutcome,
    generate_dataset,
    mark_staged,
    shown_frame,
)
from adamoe_ros.training.training_config import DataConfig, GenerateConfig
from adamoe_ros.training.training_log import Counter

GOALS = tuple(f"goal_{number}_{axis}" for number in (0, 1) for axis in "xyz")
_CRF = 18  # of videos, which there are none of


def write_demonstrations(
    folder: Path, episodes: Sequence[Demonstration], layout: DataLayout
) -> None:
    """A new dataset of whole episodes; it appears when it is complete.

    Args:
        episodes: at least one, of one picture size.

    Raises:
        ContractError: the folder exists, or the disk is full.
    """
    objects = episodes[0].objects
    names = () if objects is None else tuple(f"goal_{i}" for i in range(objects.shape[1]))
    schema = _schema(layout, episodes[0].images.shape[2:4], names)
    staging = folder.with_name(f".{folder.name}.staging")
    staged = [staging / f"{number:06d}" for number in range(len(episodes))]
    try:
        for place, episode in zip(staged, episodes, strict=True):
            _stage(place, episode, schema, {"task": episode.tasks[0], "seed": episode.seed})
        tasks = sorted({episode.tasks[0] for episode in episodes})
        details = DatasetDetails(layout.embodiment, {**_meaning(layout, names), "tasks": tasks})
        assemble(staged, folder, schema, "v3.0", details)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _schema(layout: DataLayout, size: Sequence[int], goals: tuple[str, ...]) -> DatasetSchema:
    cameras = tuple(DatasetCamera(slot, size[0], size[1]) for slot in layout.camera_slots)
    return DatasetSchema(
        layout.roles, cameras, layout.control_rate_hz, lossless=True,
        action_names=layout.action_roles, environment_names=goals,
    )  # fmt: skip


def _meaning(layout: DataLayout, goals: tuple[str, ...]) -> dict[str, Any]:
    """What ``lerobot_source.dataset_layout`` reads."""
    return {
        "format": "adamoe_ros/dataset/1",
        "embodiments": [layout.embodiment],
        "roles": list(layout.roles),
        "action_roles": list(layout.action_roles),
        "object_positions": list(goals),
        "gripper": {"open": layout.gripper_open, "closed": layout.gripper_closed},
        "state_source": layout.state_source,
    }


def _stage(
    folder: Path, episode: Demonstration, schema: DatasetSchema, facts: dict[str, Any]
) -> None:
    """One episode, as ``assemble`` wants it."""
    writer = EpisodeWriter(folder, schema, _CRF)
    try:
        for row in range(int(episode.steps[0]), len(episode.actions)):
            writer.add(_row(episode, schema, row))
        writer.close(facts)
    except BaseException:
        writer.abort()
        raise


def _row(episode: Demonstration, schema: DatasetSchema, row: int) -> FrameRow:
    kept = int(np.searchsorted(episode.steps, row, "right")) - 1
    stamp = round(int(episode.steps[kept]) * 1e9 / schema.fps)
    slots = [camera.slot for camera in schema.cameras]
    objects = np.zeros(0) if episode.objects is None else episode.objects[kept]
    return FrameRow(
        state=episode.state[kept].astype(np.float64),
        action=episode.actions[row].astype(np.float64),
        stamps_ns=np.full(2 + len(slots), stamp, np.int64),
        task=episode.instructions[kept],
        frames=dict(zip(slots, map(shown_frame, episode.images[kept]), strict=True)),
        intervention=episode.led is not None and bool(episode.led[kept]),
        environment=objects.astype(np.float64),
    )


@dataclass(frozen=True)
class _Settings:
    """What decides an episode's content: ``GenerateConfig`` without its number and name.

    Attributes:
        made: as JSON has it.
        size: (height, width) of the policy's images.
    """

    made: dict[str, Any]
    size: tuple[int, int]

    @property
    def config(self) -> GenerateConfig:
        return GenerateConfig.model_validate(self.made)

    def check(self) -> None:
        """See ``SuiteJob``."""


@dataclass(frozen=True)
class _Job(SuiteJob):
    """Demonstrations of one task, as the policy sees them."""

    @property
    def show(self) -> Callable[[SuiteJob, str, list[int]], int]:
        return _show_batch

    def schema(self) -> DatasetSchema:
        layout, _ = robot_layout(self.settings.config.robot)
        return _schema(layout, self.settings.size, GOALS)

    def details(self, outcome: SuiteOutcome) -> DatasetDetails:
        robot = self.settings.config.robot
        ours = {
            **_meaning(robot_layout(robot)[0], GOALS),
            "settings": _claim(self.settings),
            "asked": self.episodes,
            "tasks": list(self.tasks),
            "failed": outcome.failed,
        }
        return DatasetDetails(robot, ours)


def _claim(settings: _Settings) -> dict[str, Any]:
    return {**settings.made, "image_size": list(settings.size)}


def _show_batch(job: SuiteJob, task: str, seeds: list[int]) -> int:
    """Stage some episodes; how many."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a process per core leaves no core for threads
    generator, schema = Generator(job.settings.config, job.settings.size), job.schema()
    try:
        for seed in seeds:
            shown = generator.episode(seed - job.first_seed)
            facts = {"task": task, "seed": seed, "success": shown is not None}
            if shown is not None:
                _stage(job.folder(task, seed), shown, schema, facts)
            mark_staged(job, facts)
    finally:
        generator.close()
        torch.set_num_threads(threads)  # few episodes are made in the process that asks for them
    return len(seeds)


def generate_missing(made: GenerateConfig, size: tuple[int, int], folder: Path) -> int:
    """Make a dataset of demonstrations where there is none with so many; a stopped run goes on.

    Args:
        made: what to show.
        size: (height, width) of the policy's images.
        folder: of the dataset.

    Returns:
        Episodes that were run now.

    Raises:
        ContractError: the folder was made with other settings, or the disk is full.
    """
    settings = _Settings(made.model_dump(mode="json", exclude={"episodes", "name"}), size)
    if folder.exists():
        if _made(folder, _claim(settings)) >= made.episodes:
            return 0
        shutil.rmtree(folder)  # all of it follows from the seeds
    job = _Job(
        folder, (made.task,), made.episodes, made.first_seed, settings,
        workers=Workers(len(os.sched_getaffinity(0))),
    )  # fmt: skip
    counter = Counter(f"demonstrations of {made.task}", made.episodes)

    def report(task: str, count: int) -> None:
        if count:
            counter.add(count)

    return made.episodes - generate_dataset(job, report).reused


def _made(folder: Path, wanted: dict[str, Any]) -> int:
    """Episodes that a folder was made for; with other settings it is refused."""
    ours = Dataset(folder).ours if (folder / INFO).is_file() else {}
    found, asked = ours.get("settings"), ours.get("asked")
    found = found if isinstance(found, dict) and isinstance(asked, int) else {}
    other = {key: found.get(key) for key in wanted if found.get(key) != wanted[key]}
    if other:
        expected, do = {key: wanted[key] for key in other}, "delete it or set another data.folder"
        raise ContractError(problem(str(folder), f"{expected}", other, do))
    return int(asked or 0)


def read_demonstrations(data: DataConfig, size: tuple[int, int], rows: int) -> DemonstrationSet:
    """Demonstrations of one or several tasks of the simulator, made first where they are missing.

    Args:
        data: ``generate`` names the tasks.
        size: (height, width) of the policy's images.
        rows: H, rows of a chunk.

    Raises:
        ContractError: datasets made with other settings, damaged, or that do not go together.
    """
    episodes: list[Demonstration] = []
    common: DataLayout | None = None
    for made in data.generate:
        folder = data.folder / (made.name or made.task)
        generate_missing(made, size, folder)
        most = data.episodes or made.episodes
        shown, layout = load_episodes(folder, Reading(size, data.cache, most=most))
        common = common or layout
        if layout != common:
            do = "generate every task with the same robot"
            raise ContractError(problem(str(folder), f"{common}", f"{layout}", do))
        episodes += shown
    assert common is not None
    return DemonstrationSet(episodes, common, rows)
