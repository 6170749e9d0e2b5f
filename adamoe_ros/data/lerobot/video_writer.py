# SPDX-License-Identifier: Apache-2.0
"""Pictures to H.264 and back, one thread per camera; the loss is measured and stated.

Every second frame is a key frame, as LeRobot's own videos have it: training reads single frames.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.data.lerobot.video_frames import open_video
from adamoe_ros.data.running_statistics import RunningStatistics
from adamoe_ros.streams.encodings import opencv
from adamoe_ros.streams.frames import Frame

Picture = NDArray[np.uint8]
GOP = 2
PRESET = "ultrafast"
_WAITING = 8  # frames between the reader and the encoder
_EVERY = 10  # frames of which one counts for the statistics
_STRIDE = 8  # px of which one counts for the statistics
_PROBES = 32  # pictures kept to measure the loss, at most
_PROBE_EVERY = 3  # frames between them at first; odd, as key frames lose less than the others
_PROBE_STRIDE = 5  # px of which one is kept; no divisor of the codec's blocks


@dataclass(frozen=True)
class CodecLoss:
    """Difference of decoded to original pictures, 8-bit levels: mean, and 99 % of all values.

    Measured on pictures that are spread evenly over the video.
    """

    mean: float
    p99: float


class Probes:
    """Some pixels of some pictures of a video whose length is not known, evenly spread.

    Attributes:
        kept: number of the picture -> its pixels.
    """

    def __init__(self) -> None:
        self.kept: dict[int, Picture] = {}
        self._every = _PROBE_EVERY

    def offer(self, number: int, picture: Picture) -> None:
        """Look at the next picture; when there are too many, every third stays."""
        if number % self._every:
            return
        self.kept[number] = _probed(picture).copy()
        if len(self.kept) > _PROBES:
            self._every *= 3
            self.kept = {n: kept for n, kept in self.kept.items() if n % self._every == 0}


class VideoWriter:
    """Encodes the pictures of one camera in a thread of its own.

    Args:
        path: of the .mp4.
        fps: frames per second.
        size: (height, width), both even.
        crf: x264's quality: less is better.
        lost: told once per picture that cannot be decoded; the one before stands in.

    Attributes:
        statistics: of sampled pixels, three channels, 0 ... 1.
    """

    def __init__(
        self,
        path: Path,
        fps: float,
        size: tuple[int, int],
        crf: int,
        lost: Callable[[str], None],
    ) -> None:
        self.statistics = RunningStatistics(3)
        self.path = path
        self._settings = fps, size, crf
        self._lost = lost
        self._queue: queue.Queue[Frame | None] = queue.Queue(_WAITING)
        self._error: BaseException | None = None
        self._probes = Probes()
        self._count = 0
        self._thread = threading.Thread(target=self._run, name=path.stem, daemon=True)
        self._thread.start()

    def add(self, frame: Frame) -> None:
        """Take a picture; waits while the encoder is behind."""
        while self._error is None:
            try:
                self._queue.put(frame, timeout=0.5)
                return
            except queue.Full:
                continue
        raise self._error

    def close(self) -> CodecLoss:
        """Finish the file; the measured loss."""
        while self._thread.is_alive():
            try:
                self._queue.put(None, timeout=0.5)
                break
            except queue.Full:
                continue
        self._thread.join()
        if self._error is not None:
            raise self._error
        return measured_loss(self.path, self._settings[0], self._probes.kept)

    def abort(self) -> None:
        """Give up; the file is not usable."""
        self._error = self._error or RuntimeError("aborted")
        self._thread.join()

    def _run(self) -> None:
        try:
            self._encode()
        except BaseException as error:  # shown to the caller by add and close
            self._error = error

    def _frames(self) -> Iterator[Picture]:
        before: Picture | None = None
        while self._error is None:
            try:
                frame = self._queue.get(timeout=0.5)
            except queue.Empty:
                continue
            if frame is None:
                return
            try:
                before = frame.pixels()
            except ContractError as error:
                self._lost(str(error))
                if before is None:
                    before = np.zeros((*self._settings[1], 3), np.uint8)
            yield before

    def _encode(self) -> None:
        import av

        cv2 = opencv()
        rate, (height, width), crf = self._settings
        fps = exact_rate(rate)
        with av.open(str(self.path), "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.options = {"crf": str(crf), "preset": PRESET, "g": str(GOP), "threads": "1"}
            for picture in self._frames():
                planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
                frame = av.VideoFrame.from_numpy_buffer(planes, format="yuv420p")  # no copy
                frame.pts, frame.time_base = self._count, 1 / fps
                container.mux(stream.encode(frame))
                self._sample(picture)
                self._count += 1
            container.mux(stream.encode())

    def _sample(self, picture: Picture) -> None:
        self._probes.offer(self._count, picture)
        if self._count % _EVERY == 0:
            self.statistics.add(sampled_pixels(picture))


def sampled_pixels(picture: Picture) -> NDArray[np.float64]:
    """(N, 3) of a picture's pixels, 0 ... 1."""
    return np.asarray(picture[::_STRIDE, ::_STRIDE].reshape(-1, 3) / 255.0)


def every_sampled(number: int) -> bool:
    """Whether the n-th picture counts for the statistics."""
    return number % _EVERY == 0


def _probed(picture: Picture) -> Picture:
    return picture[::_PROBE_STRIDE, ::_PROBE_STRIDE]


def exact_rate(fps: float) -> Fraction:
    """A rate as codecs take it: 29.97 is 2997/100, 30000/1001 stays itself."""
    return Fraction(fps).limit_denominator(1001)


def measured_loss(path: Path, fps: float, originals: Mapping[int, Picture]) -> CodecLoss:
    """Difference of some of a file's pictures to what ``Probes`` kept of their originals."""
    differences: list[NDArray[Any]] = []
    for number, picture in _single_pictures(path, fps, sorted(originals)):
        change = np.abs(_probed(picture).astype(np.int16) - originals[number].astype(np.int16))
        differences.append(change.ravel())
    if not differences:
        return CodecLoss(0.0, 0.0)
    values = np.concatenate(differences)
    return CodecLoss(float(values.mean()), float(np.quantile(values, 0.99)))


def _single_pictures(
    path: Path, rate: float, numbers: Sequence[int]
) -> Iterator[tuple[int, Picture]]:
    """Some pictures of a file; decodes from the key frame before each only."""
    with open_video(path) as container:
        stream = container.streams.video[0]
        fps = exact_rate(rate)
        tick = stream.time_base or 1 / fps
        for number in numbers:
            container.seek(round(number / fps / tick), stream=stream)
            for frame in container.decode(stream):
                if round((frame.pts or 0) * tick * fps) == number:
                    yield number, np.asarray(frame.to_ndarray(format="rgb24"))
                    break
