# SPDX-License-Identifier: Apache-2.0
"""Which frame of a video is which row's, by time; dropped, doubled and drifting frames are named."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.lerobot.episode_entries import AGAIN, EpisodeEntry, by_video
from adamoe_ros.data.lerobot.video_frames import VideoTimes, frames_at, open_video, read_times

Picture = NDArray[np.uint8]


class RowFrames:
    """Frames of all videos of a dataset; any thread may ask.

    Args:
        entries: every listed episode.
        fps: rows per second.
        rates: feature -> Hz that the dataset says its videos have; 0: it does not say.
    """

    def __init__(self, entries: list[EpisodeEntry], fps: float, rates: Mapping[str, float]) -> None:
        self._fps, self._rates, self._sharing = fps, rates, by_video(entries)
        self._known: dict[Path, VideoTimes] = {}
        self._lock = threading.Lock()

    def pictures(
        self, entry: EpisodeEntry, key: str, times: NDArray[np.float64], rows: NDArray[np.int64]
    ) -> Iterator[Picture]:
        """(H, W, 3) uint8 RGB of some rows of an episode.

        Args:
            times: (N,) s of every row since the episode's begin.
            rows: in ascending order.

        Raises:
            ContractError: see ``numbers``; or a frame that cannot be decoded.
        """
        import av

        video, numbers = self.numbers(entry, key, times)
        if video.pixels.startswith("gray1"):
            raise self._problem(entry, key, "RGB pictures", f"a depth map ({video.pixels})")
        done = 0
        try:
            with open_video(entry.videos[key][0]) as container:
                for frame in frames_at(container, video, numbers[rows].tolist()):
                    yield np.asarray(frame.to_ndarray(format="rgb24"))
                    done += 1
        except (av.FFmpegError, ValueError, TypeError) as error:
            raise self._problem(entry, key, "pictures that decode", _short(error)) from error
        if done < len(rows):
            got = f"a frame that cannot be decoded in row {int(rows[done])}"
            raise self._problem(entry, key, "pictures that decode", got)

    def numbers(
        self, entry: EpisodeEntry, key: str, times: NDArray[np.float64]
    ) -> tuple[VideoTimes, NDArray[np.int64]]:
        """(N,) number of every row's frame in its video; nothing is decoded.

        Raises:
            ContractError: no video, a row without a frame, or frames without a row.
        """
        video = self._video(entry, key)
        start = entry.videos[key][1] + self._offset(entry, key, video)
        wanted = start + times
        numbers = video.nearest(wanted)
        missing = np.flatnonzero(numbers < 0)
        if len(missing):
            row = int(missing[0])
            near = video.seconds[np.abs(video.seconds - wanted[row]).argmin()]
            expected = f"a frame at {wanted[row]:.3f} s for row {row}"
            got = f"the nearest at {near:.3f} s; {len(missing)} of {len(times)} rows have none"
            raise self._problem(entry, key, expected, got)
        extra = self._extra(entry, key, video, start, numbers)
        if extra is not None:
            row = int(np.abs(wanted - extra).argmin())
            got = f"a frame at {extra:.3f} s, by row {row}, that belongs to none"
            raise self._problem(entry, key, "a row for every frame", got)
        return video, numbers

    def fit(self, entry: EpisodeEntry, key: str, times: NDArray[np.float64]) -> tuple[float, float]:
        """Period of the video, and by how much the frame of a row is off at most, s.

        Raises:
            ContractError: see ``numbers``.
        """
        video, numbers = self.numbers(entry, key, times)
        wanted = entry.videos[key][1] + self._offset(entry, key, video) + times
        return video.period, float(np.abs(video.seconds[numbers] - wanted).max(initial=0.0))

    def _problem(self, entry: EpisodeEntry, key: str, expected: str, got: str) -> ContractError:
        where = f"{entry.videos[key][0]}: episode {entry.index}: {key}"
        return ContractError(problem(where, expected, got, AGAIN))

    def _video(self, entry: EpisodeEntry, key: str) -> VideoTimes:
        import av

        path, _ = entry.videos[key]
        with self._lock:
            video = self._known.get(path)
        if video is None:
            try:
                video = read_times(path, self._fps, self._rates.get(key, 0.0))
            except (av.FFmpegError, OSError, IndexError, ValueError) as error:
                raise self._problem(entry, key, "a whole video", _short(error)) from error
            with self._lock:
                self._known[path] = video
        if not len(video.pts):
            raise self._problem(entry, key, "frames", "none")
        return video

    def _offset(self, entry: EpisodeEntry, key: str, video: VideoTimes) -> float:
        """s at which a video's time 0 is: some encoders begin later, with all frames there."""
        if video.begin <= 0.5 * video.period:
            return 0.0
        entries = self._sharing[entry.videos[key][0], key]
        end = max(e.videos[key][1] + (e.length - 1) / self._fps for e in entries)
        whole = len(video.pts) >= sum(e.length for e in entries)
        fits = end + video.begin <= video.seconds[-1] + 0.5 * video.period
        return video.begin if whole and fits else 0.0

    def _extra(
        self,
        entry: EpisodeEntry,
        key: str,
        video: VideoTimes,
        start: float,
        numbers: NDArray[np.int64],
    ) -> float | None:
        """s of a frame in an episode's part of a video that no row takes; None: there is none."""
        if video.period < 0.75 / self._fps:
            return None  # a faster camera than the rows: it has frames between them
        path, begin = entry.videos[key]
        later = [e for e in self._sharing[path, key] if e.videos[key][1] > begin]
        after = min(later, key=lambda e: e.videos[key][1], default=None)
        end = np.inf
        if after is not None and after.index == entry.index + 1:
            end = start + after.videos[key][1] - begin
        elif after is not None:  # frames of an episode that is not listed follow
            end = start + entry.length / self._fps
        half = 0.5 * video.period
        first, last = np.searchsorted(video.seconds, [start - half, end - half])
        unused = np.setdiff1d(np.arange(first, last), numbers)
        return float(video.seconds[unused[0]]) if len(unused) else None


def _short(error: Any) -> str:
    """What a decoder says, without the path that the line has already."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:120]
