# SPDX-License-Identifier: Apache-2.0
"""A LeRobot dataset of ``adamoe dataset`` as demonstrations: episodes in memory, model-sized pictures.

Only frames with an observation of their own become samples; actions keep every row, so that chunks
are cut at the dataset's rate. May import: contract, data, policy, numpy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.observation import Observation
from adamoe_ros.data.lerobot.layout import ACTION
from adamoe_ros.data.lerobot.reader import Dataset, EpisodeEntry
from adamoe_ros.policy.images import resize_picture
from adamoe_ros.training.demonstrations import Episode
from adamoe_ros.training.samples import DataLayout


def dataset_layout(dataset: Dataset) -> DataLayout:
    """What a dataset's numbers mean, by its own account.

    Raises:
        ContractError: it does not say, as it was not made by ``adamoe dataset``, or its grippers
            have the driver's units.
    """
    ours, where = dataset.ours, str(dataset.folder)
    if not ours.get("roles") or ours.get("gripper") is None:
        got = "a dataset that does not say them"
        do = "make it with 'adamoe dataset convert --gripper 1_open'"
        raise ContractError(problem(where, "joint roles and gripper ends", got, do))
    return DataLayout(
        embodiment=str(ours["embodiments"][0]),
        camera_slots=tuple(dataset.cameras),
        roles=tuple(ours["roles"]),
        control_rate_hz=float(dataset.fps),
        gripper_open=float(ours["gripper"]["open"]),
        gripper_closed=float(ours["gripper"]["closed"]),
    )


def load_episode(dataset: Dataset, entry: EpisodeEntry, size: tuple[int, int]) -> Episode:
    """One episode for ``DemonstrationSet``.

    Args:
        size: (height, width) of the model's pictures.
    """
    steps, images, states = [], [], []
    before = -1
    sentence = ""
    for number, (observation, _) in enumerate(dataset.observations(entry)):
        if observation.stamp_ns == before:
            continue
        before = observation.stamp_ns
        sentence = sentence or observation.instruction
        steps.append(number)
        images.append(model_pictures(observation, size))
        states.append(observation.state)
    return Episode(
        images=np.stack(images),
        steps=np.array(steps, np.int64),
        state=np.stack(states).astype(np.float32),
        actions=dataset.column(entry, ACTION).astype(np.float32),
        objects=None,
        instruction=sentence,
        task=entry.tasks[0] if entry.tasks else "",
    )


def load_episodes(folder: Path, size: tuple[int, int]) -> tuple[list[Episode], DataLayout]:
    """Every episode of a dataset.

    Raises:
        ContractError: not a dataset, or one that does not say what its numbers mean.
    """
    dataset = Dataset(folder)
    layout = dataset_layout(dataset)
    return [load_episode(dataset, entry, size) for entry in dataset.episodes], layout


def model_pictures(observation: Observation, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(C, H, W, 3) in the order of the observation's cameras."""
    return np.stack([resize_picture(image, size) for image in observation.images.values()])
