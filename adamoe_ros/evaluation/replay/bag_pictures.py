# SPDX-License-Identifier: Apache-2.0
"""The pictures of a bag: decoded ahead of their use, and as the report's video."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adamoe_ros.contract.observation import Observation
from adamoe_ros.data.observations import BagObservation, Event
from adamoe_ros.evaluation.report.video import write_mp4

DEPTH = 8  # observations that are read ahead: 0.25 s of three cameras, 22 MB where all are decoded


class Ahead(NamedTuple):
    """An event; ``loading`` has the observation with its pictures, None: not asked for."""

    event: Event
    loading: Future[Observation] | None


def decoded_ahead(
    events: Iterable[Event],
    wanted: Callable[[BagObservation], bool],
    pool: Executor,
    depth: int = DEPTH,
) -> Iterator[Ahead]:
    """Events in their order, read ahead of their use.

    Args:
        wanted: whether an observation's pictures are needed; asked once for each, in order.
        pool: of threads; an observation's pictures are decoded by one.
        depth: observations between reading and use.
    """
    waiting: deque[Ahead] = deque()
    observations = 0
    for event in events:
        if event.kind != "observation":
            waiting.append(Ahead(event, None))
            continue
        loading = pool.submit(event.value.load) if wanted(event.value) else None
        waiting.append(Ahead(event, loading))
        observations += 1
        while observations > depth:
            first = waiting.popleft()
            observations -= first.event.kind == "observation"
            yield first
    yield from waiting


HEIGHT = 160  # px of each camera's picture
MOST = 1200  # pictures of one video: ten minutes at two per second


class ReplayVideo:
    """Collects pictures of one bag.

    Attributes:
        times: s since the first observation, of each picture.
    """

    def __init__(self) -> None:
        self.times: list[float] = []
        self._pictures: list[NDArray[np.uint8]] = []

    def add(self, seconds: float, images: Mapping[str, NDArray[np.uint8]]) -> None:
        """Take the pictures of an observation, side by side."""
        if len(self._pictures) < MOST:
            self.times.append(seconds)
            self._pictures.append(side_by_side(images))

    def write(self, path: Path) -> bytes | None:
        """As MP4, one second per picture; None without pictures."""
        if not self._pictures:
            return None
        write_mp4(path, self._pictures, 1.0)
        return path.read_bytes()


def side_by_side(images: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """(HEIGHT, W, 3): every camera at the same height, even width."""
    small = []
    for image in images.values():
        height, width = image.shape[:2]
        size = (max(2, round(width * HEIGHT / height / 2) * 2), HEIGHT)
        small.append(np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)))
    return np.ascontiguousarray(np.concatenate(small, axis=1))
