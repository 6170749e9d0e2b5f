# SPDX-License-Identifier: Apache-2.0
"""Frames of a video by their times, also out of the middle of a file that many episodes share.

The times of all frames are read once a file, without decoding; a row's frame is the nearest one, within
half a period of the video's own rate. Then nothing is decoded but what lies between the key frame
before the first wanted frame and the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SLACK = 0.02  # of a period: times are rounded to the video's ticks and to float32


@dataclass(frozen=True)
class VideoTimes:
    """When the frames of a video are shown.

    Attributes:
        pts: (N,) ticks, in order; of videos whose frames tell no time, their numbers.
        seconds: (N,) the same in s.
        period: s, between the frames of the video's own rate.
        reach: s, from a time to its frame at most.
        timeless: the frames tell no time.
        pixels: pixel format, e.g. ``yuv420p``.
    """

    pts: NDArray[np.int64]
    seconds: NDArray[np.float64]
    period: float
    reach: float
    timeless: bool
    pixels: str

    @property
    def begin(self) -> float:
        """s at which the first frame is shown."""
        return float(self.seconds[0]) if len(self.seconds) else 0.0

    def nearest(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """(R,) number of the frame nearest to each time, s; -1 beyond half a period of any."""
        if not len(self.seconds):
            return np.full(len(times), -1)
        after = np.searchsorted(self.seconds, times).clip(1, max(len(self.seconds) - 1, 1))
        before, after = after - 1, np.minimum(after, len(self.seconds) - 1)
        earlier = times - self.seconds[before] <= self.seconds[after] - times
        chosen = np.where(earlier, before, after)
        near = np.abs(self.seconds[chosen] - times) <= self.reach
        return np.where(near, chosen, -1)


def open_video(path: Path) -> Any:
    """A container to read; its texts, of no interest here, may be in any encoding."""
    import av

    return av.open(str(path), metadata_errors="replace")


def read_times(path: Path, fps: float, stated: float = 0.0) -> VideoTimes:
    """Times of all frames of the first video stream; nothing is decoded.

    Args:
        fps: rate that is taken where neither the frames nor the file tell one, Hz.
        stated: rate that the dataset says the video has, Hz: a slower one has lost frames, and no
            other one stands for them. 0: it does not say.

    Raises:
        av.FFmpegError, IndexError: no video.
    """

    with open_video(path) as container:
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise IndexError("a video in a format that no decoder knows")
        shown = [p.pts for p in container.demux(stream) if p.size and not p.is_discard]
        tick, rate = stream.time_base, float(stream.average_rate or fps)
        pixels = str(stream.pix_fmt or "")
    timeless = any(pts is None for pts in shown)
    if timeless:
        pts = np.arange(len(shown), dtype=np.int64)
        seconds, reach = np.asarray(pts / rate, np.float64), _reach(1.0 / rate, stated)
        return VideoTimes(pts, seconds, 1.0 / rate, reach, timeless, pixels)
    pts = np.sort(np.array(shown, np.int64))
    times = np.asarray(pts * float(tick or 1 / rate), np.float64)
    steps = np.diff(times)
    period = float(np.median(steps)) if len(steps) and np.median(steps) > 0 else 1.0 / rate
    return VideoTimes(pts, times, period, _reach(period, stated), timeless, pixels)


def _reach(period: float, stated: float) -> float:
    return (0.5 + _SLACK) * (min(period, 1.0 / stated) if stated else period)


def frames_at(container: Any, times: VideoTimes, numbers: Sequence[int]) -> Iterator[Any]:
    """The decoded frames with these numbers; ends early where the video cannot be decoded that far.

    Args:
        container: an open ``av`` container.
        times: of this video.
        numbers: in ascending order; one may be there several times.
    """
    if not len(numbers):
        return
    stream = container.streams.video[0]
    if times.timeless:
        yield from _counted(container.decode(stream), numbers)
        return
    wanted = [int(times.pts[number]) for number in numbers]
    frames = _from_key_frame(container, stream, wanted[0]) if numbers[0] > 0 else None
    frames = container.decode(stream) if frames is None else frames
    frame = next(frames, None)
    for pts in wanted:
        while frame is not None and frame.pts < pts:
            frame = next(frames, None)
        if frame is None or frame.pts != pts:
            return
        yield frame


def _counted(frames: Iterator[Any], numbers: Sequence[int]) -> Iterator[Any]:
    at, frame = -1, None
    for number in numbers:
        if number > at:
            frame = next(islice(frames, number - at - 1, None), None)
            at = number
        if frame is None:
            return
        yield frame


def _from_key_frame(container: Any, stream: Any, pts: int) -> Iterator[Any] | None:
    """Frames from the key frame before a time on; None: the file's index leads past it."""
    container.seek(pts, stream=stream)
    frames = container.decode(stream)
    head = next(frames, None)
    if head is None or head.pts is None or head.pts > pts:
        container.seek(int(stream.start_time or 0), stream=stream)
        return None
    return chain([head], frames)
