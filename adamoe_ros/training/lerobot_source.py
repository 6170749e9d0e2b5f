# SPDX-License-Identifier: Apache-2.0
"""A LeRobot dataset, ours or anyone's, as demonstrations: pictures decoded once, chunks at its rate.

Only frames with an observation of their own become samples; actions keep every row, so that chunks
are cut at the dataset's rate.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.data.dataset_checks import slow_video, unlisted_rows, video_order
from adamoe_ros.data.lerobot.dataset_reader import Dataset, EpisodeEntry
from adamoe_ros.data.lerobot.dataset_schema import ACTION, ENVIRONMENT, IMAGES, STAMPS, STATE
from adamoe_ros.training.demonstration_set import DataLayout, Demonstration
from adamoe_ros.training.picture_cache import cached_pictures
from adamoe_ros.training.training_config import MeaningConfig
from adamoe_ros.training.training_log import Counter


@dataclass(frozen=True)
class Reading:
    """How a dataset is read.

    Attributes:
        size: (height, width) of the model's pictures.
        cache: folder of decoded pictures; None: kept in memory.
        cameras: slot -> camera of the dataset, in the model's order; None: the dataset's own.
        meaning: of the columns, where the dataset does not say.
        most: first so many episodes; None: all.
    """

    size: tuple[int, int]
    cache: Path | None = None
    cameras: Mapping[str, str] | None = None
    meaning: MeaningConfig | None = None
    most: int | None = None


def dataset_layout(
    dataset: Dataset, slots: tuple[str, ...] | None = None, meaning: MeaningConfig | None = None
) -> DataLayout:
    """What a dataset's numbers mean, by its own account or by ``meaning``.

    Args:
        slots: camera slots; None: the dataset's cameras.

    Raises:
        ContractError: nobody says it, or the columns are others.
    """
    ours, where = dataset.ours, str(dataset.folder)
    if meaning is None and (not ours.get("roles") or ours.get("gripper") is None):
        got = "a dataset that does not say them"
        do = "make it with 'adamoe dataset convert --gripper 1_open', or say data.meaning"
        raise ContractError(problem(where, "joint roles and gripper ends", got, do))
    if meaning is None:
        meaning = MeaningConfig(
            embodiment=str(ours["embodiments"][0]),
            roles=tuple(ours["roles"]),
            action_roles=tuple(ours.get("action_roles", ())),
            gripper_open=float(ours["gripper"]["open"]),
            gripper_closed=float(ours["gripper"]["closed"]),
            state_source=ours.get("state_source", "measured"),
        )
    _check_columns(dataset, meaning.roles, meaning.action_roles or meaning.roles)
    return DataLayout(
        embodiment=meaning.embodiment,
        camera_slots=tuple(dataset.cameras) if slots is None else slots,
        roles=meaning.roles,
        control_rate_hz=dataset.fps,
        gripper_open=meaning.gripper_open,
        gripper_closed=meaning.gripper_closed,
        state_source=meaning.state_source,
        action_roles=meaning.action_roles,
    )


def _check_columns(
    dataset: Dataset, state_roles: tuple[str, ...], action_roles: tuple[str, ...]
) -> None:
    problems = Problems()
    for key, roles in ((STATE, state_roles), (ACTION, action_roles)):
        where = f"{dataset.folder}: {key}"
        if key not in dataset.features:
            got = ", ".join(dataset.features)
            problems.add(where, "such a column", got, "record it: training needs it")
            continue
        width = dataset.width(key)
        if width != len(roles):
            got, do = f"{width} columns", "correct data.meaning.roles, or convert it"
            problems.add(where, f"{len(roles)} columns, one a joint role", got, do)
        names = dataset.names(key)
        if set(names) == set(roles) and names != list(roles):
            do = "reorder the columns, or data.meaning.roles"
            problems.add(where, f"the order {', '.join(roles)}", ", ".join(names), do)
    problems.raise_if_any()


def chosen_cameras(dataset: Dataset, wanted: Mapping[str, str] | None) -> dict[str, str]:
    """Slot -> feature of the dataset.

    Raises:
        ContractError: cameras that it does not have, each named.
    """
    known = dataset.cameras
    if wanted is None:
        return dict(known)
    problems, found = Problems(), {}
    for slot, name in wanted.items():
        short = name.removeprefix(IMAGES)
        if short in known:
            found[slot] = known[short]
        elif short in dataset.depth_cameras:
            where = f"{dataset.folder}: camera of {slot}"
            do = f"name one of {', '.join(known) or 'none'} in data.cameras"
            problems.add(where, "RGB pictures", f"{short!r}, a depth map", do)
        else:
            where, got = f"{dataset.folder}: camera of {slot}", f"{', '.join(known) or 'none'}"
            do = "say which one it is in data.cameras, or convert the bags with it"
            problems.add(where, repr(short), got, do)
    problems.raise_if_any()
    return found


def load_episodes(folder: Path, reading: Reading) -> tuple[list[Demonstration], DataLayout]:
    """Every episode of a dataset; pictures that are not in the cache yet are decoded on all cores.

    Raises:
        ContractError: not a dataset, one that does not say what its numbers mean, cameras that it
            does not have, numbers or pictures that cannot be read, or a full disk.
    """
    dataset = Dataset(folder)
    cameras = chosen_cameras(dataset, reading.cameras)
    layout = dataset_layout(dataset, tuple(cameras), reading.meaning)
    _tell_oddities(dataset, reading.cameras)
    entries = dataset.episodes[: reading.most]
    counter = Counter("pictures of episodes", len(entries))

    episodes = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # decoders and resizing free the lock
        for episode in pool.map(lambda e: _load_episode(dataset, e, cameras, reading), entries):
            if episode is not None:
                episodes.append(episode)
            counter.add()
    _tell_slow_videos(dataset, entries, cameras)
    return episodes, layout


def _tell_slow_videos(
    dataset: Dataset, entries: Sequence[EpisodeEntry], cameras: Mapping[str, str]
) -> None:
    """The first one of each camera."""
    for slot, key in cameras.items():
        for entry in (item for item in entries if key in item.videos):
            where = f"{dataset.folder}: episode {entry.index}: {slot}"
            slow = slow_video(where, dataset.frame_fit(entry, key)[0], dataset.fps)
            if slow is not None:
                print(slow.line, file=sys.stderr)
                break


def _tell_oddities(dataset: Dataset, wanted: Mapping[str, str] | None) -> None:
    for finding in (*unlisted_rows(dataset), *video_order(dataset)):
        print(finding.line, file=sys.stderr)
    if dataset.depth_cameras and wanted is None:
        names = ", ".join(dataset.depth_cameras)
        print(f"{dataset.folder}: depth maps are left out: {names}", file=sys.stderr)


def _load_episode(
    dataset: Dataset, entry: EpisodeEntry, cameras: Mapping[str, str], reading: Reading
) -> Demonstration | None:
    """Rows with an observation and a sentence of their own; None: there are none, which is said."""
    dataset.check(entry, list(cameras.values()))
    sentences = dataset.sentences(entry)
    steps = _own_frames(dataset, entry) if entry.length else np.zeros(0, np.int64)
    spoken = np.array([bool(sentences[step].strip()) for step in steps], bool)
    if not spoken.all() or not len(steps):
        without = f"{(~spoken).sum()} rows without an instruction" if len(steps) else "no rows"
        print(f"{dataset.folder}: episode {entry.index}: left out: {without}", file=sys.stderr)
    steps = steps[spoken]
    if not len(steps):
        return None
    instructions = tuple(sentences[step] for step in steps)
    task, seed = _task_and_seed(dataset, entry)
    return Demonstration(
        images=cached_pictures(dataset, entry, steps, cameras, reading.size, reading.cache),
        steps=steps,
        state=_numbers(dataset, entry, STATE)[steps],
        actions=_numbers(dataset, entry, ACTION),
        objects=_objects(dataset, entry, steps),
        instructions=instructions,
        tasks=instructions if task is None else (task,) * len(steps),
        seed=seed,
        led=dataset.interventions(entry)[steps],
    )


def _task_and_seed(dataset: Dataset, entry: EpisodeEntry) -> tuple[str | None, int]:
    """Name of a task of ours, whatever its sentences are, and seed of the scene, where they are noted."""
    tasks, notes = dataset.ours.get("tasks"), dataset.ours.get("episodes")
    if not isinstance(tasks, list) or not isinstance(notes, list):
        return None, entry.index
    note = notes[entry.index] if entry.index < len(notes) else None
    if not isinstance(note, dict) or note.get("length") != entry.length:
        return None, entry.index
    task, seed = note.get("task"), note.get("seed", entry.index)
    if task not in tasks or not isinstance(task, str) or not isinstance(seed, int):
        return None, entry.index
    return task, seed


def _own_frames(dataset: Dataset, entry: EpisodeEntry) -> NDArray[np.int64]:
    """Frames whose observation is not the one before's; all where the dataset has no stamps."""
    if STAMPS not in dataset.features:
        return np.arange(entry.length, dtype=np.int64)
    stamps = dataset.column(entry, STAMPS)[:, 0]
    return np.flatnonzero(np.diff(stamps, prepend=-1)).astype(np.int64)


def _objects(
    dataset: Dataset, entry: EpisodeEntry, steps: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """Where a dataset of ours says that its simulator's state is positions of things in m."""
    if not dataset.ours.get("object_positions"):
        return None
    return _numbers(dataset, entry, ENVIRONMENT)[steps]


def _numbers(dataset: Dataset, entry: EpisodeEntry, key: str) -> NDArray[np.float32]:
    """(N, D), NaN where a value is missing: the demonstration set names it."""
    try:
        return np.asarray(dataset.column(entry, key).astype(np.float32))
    except (TypeError, ValueError) as error:
        where, do = f"{dataset.folder}: episode {entry.index}: {key}", "drop the episode"
        raise ContractError(problem(where, "rows of numbers", error, do)) from error
