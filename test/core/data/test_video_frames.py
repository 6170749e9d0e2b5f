# SPDX-License-Identifier: Apache-2.0
"""Frames out of the middle of a video, whatever its key frames and times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from adamoe_ros.data.lerobot.video_frames import VideoTimes, frames_at, read_times

COUNT, FPS, LEVEL = 60, 25, 4  # grey level of a frame: its number times LEVEL


def make_video(path: Path, codec: str, first_pts: int = 0, **options: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base, stream.bit_rate = Fraction(1, FPS), 4_000_000
        for number in range(COUNT):
            picture = np.full((48, 64, 3), LEVEL * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = first_pts + number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class Counted:
    """A container that counts what it decodes."""

    def __init__(self, container: Any) -> None:
        self._container, self.decoded = container, 0
        self.streams, self.seek = container.streams, container.seek

    def decode(self, stream: Any) -> Any:
        for frame in self._container.decode(stream):
            self.decoded += 1
            yield frame


VIDEOS = {
    "two": ("libx264", {"g": "2"}),
    "twelve": ("libx264", {"g": "12"}),
    "b-frames": ("libx264", {"g": "15", "bf": "3"}),
    "one key frame": ("libx264", {"g": "1000", "sc_threshold": "0"}),
    "mpeg4": ("mpeg4", {"g": "10"}),
}


def levels(path: Path, numbers: list[int]) -> tuple[list[int], int]:
    """Grey levels of some frames, and how many were decoded for them."""
    times = read_times(path, FPS)
    with av.open(str(path)) as container:
        counted = Counted(container)
        frames = frames_at(counted, times, numbers)
        shown = [round(float(f.to_ndarray(format="rgb24").mean()) / LEVEL) for f in frames]
        return shown, counted.decoded


@pytest.mark.parametrize("begin", [0, 50], ids=["from 0", "later"])
@pytest.mark.parametrize("kind", VIDEOS)
def test_every_place_of_a_video(tmp_path: Path, kind: str, begin: int) -> None:
    codec, options = VIDEOS[kind]
    path = make_video(tmp_path / "video.mp4", codec, begin, **options)
    times = read_times(path, FPS)
    assert len(times.pts) == COUNT and times.period == pytest.approx(1 / FPS)
    for first in range(0, COUNT, 3):
        wanted = list(range(first, min(first + 5, COUNT)))
        shown, decoded = levels(path, wanted)
        assert shown == wanted
        if options["g"] != "1000":
            assert decoded <= len(wanted) + int(options["g"])


@pytest.mark.parametrize("kind", VIDEOS)
def test_some_frames_and_the_same_frame_twice(tmp_path: Path, kind: str) -> None:
    codec, options = VIDEOS[kind]
    path = make_video(tmp_path / "video.mp4", codec, **options)
    assert levels(path, [3, 3, 17, 40, 59, 59])[0] == [3, 3, 17, 40, 59, 59]


def test_a_video_whose_frames_tell_no_time(tmp_path: Path) -> None:
    """A bare H.264 stream: its frames are counted."""
    path = make_video(tmp_path / "video.h264", "libx264", g="12")
    assert read_times(path, FPS).timeless
    assert levels(path, [30, 31, 31, 32, 59])[0] == [30, 31, 31, 32, 59]


def test_a_row_takes_the_nearest_frame_within_half_a_period() -> None:
    seconds = np.array([0.0, 0.04, 0.08, 0.16, 0.20])
    times = VideoTimes(np.arange(5), seconds, 0.04, 0.0208, False, "yuv420p")
    rows = np.array([-0.03, 0.0, 0.019, 0.021, 0.08, 0.12, 0.145, 0.2, 0.215, 0.24])
    assert times.nearest(rows).tolist() == [-1, 0, 0, 1, 2, -1, 3, 4, 4, -1]
    assert VideoTimes(np.arange(1), seconds[:1], 0.04, 0.0208, False, "").nearest(rows)[1] == 0


def test_a_format_that_no_decoder_knows(tmp_path: Path) -> None:
    path = make_video(tmp_path / "video.mp4", "libx264")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(IndexError, match="no decoder knows"):
        read_times(path, FPS)
