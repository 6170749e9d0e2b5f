# SPDX-License-Identifier: Apache-2.0
"""Small films of what the policies saw, one picture per inference, to stand beside the charts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adamoe_ros.evaluation.report.video import write_mp4

HEIGHT = 160  # px of each camera's picture
MOST = 1200  # pictures of one film: ten minutes at two per second


class Film:
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
        """As MP4, one second of film per picture; None without pictures."""
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
