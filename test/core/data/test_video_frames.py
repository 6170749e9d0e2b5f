# SPDX-License-Identifier: Apache-2.0
"""Frames out of the middle of a film, whatever its key frames and times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from adamoe_ros.data.lerobot.video_frames import frames_from

COUNT, FPS, LEVEL = 60, 25, 4  # grey level of a frame: its number times LEVEL


def make_film(path: Path, codec: str, first_pts: int = 0, **options: str) -> Path:
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


class Timeless(Counted):
    """A container whose frames have lost their times."""

    def decode(self, stream: Any) -> Any:
        for frame in super().decode(stream):
            frame.pts = None
            yield frame


FILMS = {
    "two": ("libx264", {"g": "2"}),
    "twelve": ("libx264", {"g": "12"}),
    "b-frames": ("libx264", {"g": "15", "bf": "3"}),
    "one key frame": ("libx264", {"g": "1000", "sc_threshold": "0"}),
    "mpeg4": ("mpeg4", {"g": "10"}),
}


@pytest.mark.parametrize("begin", [0, 50], ids=["from 0", "later"])
@pytest.mark.parametrize("kind", FILMS)
def test_every_place_of_a_film(tmp_path: Path, kind: str, begin: int) -> None:
    codec, options = FILMS[kind]
    path = make_film(tmp_path / "film.mp4", codec, begin, **options)
    for first in range(COUNT):
        with av.open(str(path)) as container:
            counted = Counted(container)
            found = []
            for frame in frames_from(counted, first, FPS):
                found.append(round(float(frame.to_ndarray(format="rgb24").mean()) / LEVEL))
                if len(found) == 5:
                    break
        assert found == list(range(first, min(first + 5, COUNT)))
        if options["g"] != "1000":
            assert counted.decoded <= len(found) + int(options["g"])


def test_a_film_whose_frames_tell_no_time(tmp_path: Path) -> None:
    """As if its index led nowhere: counted from the begin."""
    path = make_film(tmp_path / "film.mp4", "libx264", g="12")
    with av.open(str(path)) as container:
        frames = frames_from(Timeless(container), 30, FPS)
        levels = [float(next(frames).to_ndarray(format="rgb24").mean()) for _ in range(3)]
    assert [round(level / LEVEL) for level in levels] == [30, 31, 32]
