# SPDX-License-Identifier: Apache-2.0
"""The video: layout of a frame, and a file that a decoder reads back."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from adamoe_ros.evaluation.report.video import SCENE, SIZE, Caption, compose, write_mp4


def frame(level: int, right: str = "") -> np.ndarray:
    scene = np.full((SCENE[1], SCENE[0], 3), level, np.uint8)
    views = {f"cam_{index}": np.full((480, 640, 3), 60 * index, np.uint8) for index in range(3)}
    return compose(scene, views, Caption("lift the yellow bar", "1.0 s", right))


def test_scene_left_views_right() -> None:
    picture = frame(200)
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    assert (picture[300, 400] == 200).all()
    for index in range(3):
        assert (picture[index * 240 + 150, SCENE[0] + 200] == 60 * index).all()


def test_caption_and_success_change_the_picture() -> None:
    plain, done = frame(200), frame(200, "success")
    assert (plain[SCENE[1] - 80 :, : SCENE[0]] < 200).mean() > 0.9
    changed = np.argwhere((plain != done).any(axis=2))
    assert changed.min(axis=0)[1] > SCENE[0] / 2
    green = done[changed[:, 0], changed[:, 1]]
    assert (green[:, 1].astype(int) - green[:, 0]).max() > 80


def test_mp4_plays_back(tmp_path: Path) -> None:
    path = tmp_path / "demo.mp4"
    assert write_mp4(path, (frame(level) for level in range(0, 200, 20)), 25.0) == 10
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, float(stream.average_rate)) == ("h264", 25.0)
        pictures = [item.to_ndarray(format="rgb24") for item in container.decode(stream)]
    assert len(pictures) == 10
    assert abs(int(pictures[5][300, 400].mean()) - 100) < 8
