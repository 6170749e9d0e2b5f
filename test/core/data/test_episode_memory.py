# SPDX-License-Identifier: Apache-2.0
"""A staged episode keeps numbers, not pictures: memory does not grow with its length."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest

from adamoe_ros.data.lerobot.dataset_schema import DatasetCamera, DatasetSchema
from adamoe_ros.data.lerobot.episode_writer import EpisodeWriter, FrameRow
from adamoe_ros.streams.frames import Frame

ROWS = 60  # fewer than are written at a time
WAITING = 12  # frames that one camera's encoder may hold: its queue and what it works on


@pytest.mark.parametrize("lossless", [True, False])
def test_pictures_are_let_go_once_they_are_written(tmp_path: Path, lossless: bool) -> None:
    schema = DatasetSchema(("a", "b"), (DatasetCamera("top", 48, 64),), 30, lossless=lossless)
    writer = EpisodeWriter(tmp_path / "episode", schema, 23)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (48, 64, 3)).astype(np.uint8) for _ in range(ROWS)]
    frames: list[weakref.ref[Frame]] = []
    for number, pixels in enumerate(pictures):
        frame = Frame(lambda pixels=pixels: pixels)  # type: ignore[misc]
        frames.append(weakref.ref(frame))
        stamps = np.full(3, number, np.int64)
        writer.add(FrameRow(np.full(2, number), np.zeros(2), stamps, "lift", {"top": frame}))
    del frame
    assert sum(item() is not None for item in frames) <= WAITING
    writer.close({})
    assert writer.length == ROWS
