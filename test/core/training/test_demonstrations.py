# SPDX-License-Identifier: Apache-2.0
"""Chunks start at the frame's own step and hold at the end; bad data is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.training.demonstration_set import DataLayout, Demonstration, DemonstrationSet

_LAYOUT = DataLayout(
    embodiment="test_arm",
    camera_slots=("cam_high", "cam_left_wrist"),
    roles=("left_0", "left_gripper"),
    control_rate_hz=50.0,
)


def _episode(first: float, length: int = 9, every: int = 4, task: str = "lift") -> Demonstration:
    steps = np.arange(0, length, every)
    actions = first + np.stack([np.arange(length), -np.arange(length)], 1).astype(np.float32)
    return Demonstration(
        images=np.full((len(steps), 2, 4, 4, 3), int(first), dtype=np.uint8),
        steps=steps,
        state=actions[steps] + 0.5,
        actions=actions,
        objects=np.full((len(steps), 3), first, dtype=np.float32),
        instructions=(f"do {task}",) * len(steps),
        tasks=(task,) * len(steps),
    )


def _set(*episodes: Demonstration) -> DemonstrationSet:
    return DemonstrationSet(episodes, _LAYOUT, rows=4)


def test_chunks_follow_the_frame_and_hold_at_the_end() -> None:
    data = _set(_episode(0), _episode(100, task="push"))
    assert len(data) == 6
    batch = data.batch(np.array([1, 2, 3]))
    assert batch.actions[:, :, 0].tolist() == [
        [4, 5, 6, 7],
        [8, 8, 8, 8],
        [100, 101, 102, 103],
    ]
    assert batch.state[:, 0].tolist() == [4.5, 8.5, 100.5]
    assert batch.images[2].min() == 100
    assert batch.instructions == ("do lift", "do lift", "do push")
    assert data.tasks().tolist() == [0, 0, 0, 1, 1, 1]
    assert data.sentences() == ("do lift", "do push")


def test_objects_only_when_every_episode_has_them() -> None:
    known, unknown = _episode(0), replace(_episode(1), objects=None)
    assert _set(known).objects() is not None
    mixed = _set(known, unknown)
    assert mixed.objects() is None
    assert mixed.batch(np.array([0, 4])).objects is None


def test_every_fault_in_one_go() -> None:
    blind = replace(_episode(0), images=_episode(0).images[:, :1])
    broken = _episode(1)
    broken.actions[3, 1] = np.nan
    with pytest.raises(ContractError) as caught:
        _set(blind, broken)
    assert len(caught.value.problems) == 2
    assert "1 cameras" in caught.value.problems[0]
    assert "row 3" in caught.value.problems[1]
