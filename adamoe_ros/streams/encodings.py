# SPDX-License-Identifier: Apache-2.0
"""The one table of raw image encodings: how bytes become (H, W, 3) uint8 RGB.

Encodings outside of ``ENCODINGS`` are refused; nothing is guessed (``8UC3`` may be RGB or BGR).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Encoding:
    """One encoding.

    Attributes:
        bytes_per_pixel: of a row without padding.
        to_rgb: (H, W * bytes_per_pixel) uint8 and big-endian flag -> (H, W, 3) uint8.
    """

    bytes_per_pixel: int
    to_rgb: Callable[[Pixels, bool], Pixels]


def _channels(order: tuple[int, int, int], count: int) -> Callable[[Pixels, bool], Pixels]:
    def convert(rows: Pixels, big_endian: bool) -> Pixels:
        pixels = rows.reshape(rows.shape[0], -1, count)
        if order == (0, 1, 2) and count == 3:
            return pixels  # a view: nothing is copied
        return np.ascontiguousarray(pixels[:, :, order])

    return convert


def _high_bytes(order: tuple[int, int, int]) -> Callable[[Pixels, bool], Pixels]:
    def convert(rows: Pixels, big_endian: bool) -> Pixels:
        samples = rows.reshape(rows.shape[0], -1, 3, 2)
        return np.ascontiguousarray(samples[:, :, order, 0 if big_endian else 1])

    return convert


def _mono(rows: Pixels, big_endian: bool) -> Pixels:
    return np.repeat(rows[:, :, None], 3, axis=2)


def _opencv(code: str, channels: int) -> Callable[[Pixels, bool], Pixels]:
    def convert(rows: Pixels, big_endian: bool) -> Pixels:
        cv2 = opencv()
        shape = (rows.shape[0], -1) if channels == 1 else (rows.shape[0], -1, channels)
        source = np.ascontiguousarray(rows).reshape(shape)
        return np.asarray(cv2.cvtColor(source, getattr(cv2, code)), dtype=np.uint8)

    return convert


def opencv() -> Any:
    """The cv2 module, loaded at first need (it costs 0.1 s and is optional on a robot).

    Raises:
        ImportError: it is not installed.
    """
    import cv2

    return cv2


# OpenCV names a Bayer pattern by its second row, ROS by its first: hence the crossed codes.
ENCODINGS: dict[str, Encoding] = {
    "rgb8": Encoding(3, _channels((0, 1, 2), 3)),
    "bgr8": Encoding(3, _channels((2, 1, 0), 3)),
    "rgba8": Encoding(4, _channels((0, 1, 2), 4)),
    "bgra8": Encoding(4, _channels((2, 1, 0), 4)),
    "rgb16": Encoding(6, _high_bytes((0, 1, 2))),
    "bgr16": Encoding(6, _high_bytes((2, 1, 0))),
    "mono8": Encoding(1, _mono),
    "8UC1": Encoding(1, _mono),
    "yuv422": Encoding(2, _opencv("COLOR_YUV2RGB_UYVY", 2)),
    "uyvy": Encoding(2, _opencv("COLOR_YUV2RGB_UYVY", 2)),
    "yuv422_yuy2": Encoding(2, _opencv("COLOR_YUV2RGB_YUY2", 2)),
    "yuyv": Encoding(2, _opencv("COLOR_YUV2RGB_YUY2", 2)),
    "bayer_rggb8": Encoding(1, _opencv("COLOR_BayerBG2RGB", 1)),
    "bayer_bggr8": Encoding(1, _opencv("COLOR_BayerRG2RGB", 1)),
    "bayer_gbrg8": Encoding(1, _opencv("COLOR_BayerGR2RGB", 1)),
    "bayer_grbg8": Encoding(1, _opencv("COLOR_BayerGB2RGB", 1)),
}
