# SPDX-License-Identifier: Apache-2.0
"""The one table of raw image encodings: how bytes become (H, W, 3) uint8 RGB.

Names are those of sensor_msgs and of drivers, in any case. 16 bits a sample become 8 by a shift: the
high byte, so 65535 is white and a sensor of 12 bits in 16 comes out dark. YUV is BT.601, limited
range. ``8UC3`` and ``8UC4`` say no order: the profile does, with ``bgr8`` or ``rgb8`` (``bgra8``,
``rgba8``). Nothing is guessed, and depth maps are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem

Pixels = NDArray[np.uint8]
Convert = Callable[[Pixels, bool], Pixels]


@dataclass(frozen=True)
class Encoding:
    """One encoding.

    Attributes:
        bytes_per_pixel: of a row without padding; planar ones: of a row of the first plane.
        to_rgb: (rows, W * bytes_per_pixel) uint8 and big-endian flag -> (H, W, 3) uint8.
        rows_of_two: rows of data for two rows of the picture; more than 2: planes follow.
        multiple: of which width and height must be.
        chroma_width: length of a row of the further planes, in rows of the first.
    """

    bytes_per_pixel: int
    to_rgb: Convert
    rows_of_two: int = 2
    multiple: tuple[int, int] = (1, 1)
    chroma_width: float = 1.0


def opencv() -> Any:
    """The cv2 module, loaded at first need (it costs 0.1 s and is optional on a robot).

    Raises:
        ImportError: it is not installed.
    """
    import cv2

    return cv2


def _channels(order: tuple[int, int, int], count: int, size: int = 1) -> Convert:
    """Interleaved samples; of 16 bits the high byte."""

    def convert(rows: Pixels, big_endian: bool) -> Pixels:
        samples = rows.reshape(rows.shape[0], -1, count, size)
        pixels = samples[..., 0 if big_endian else size - 1]
        whole = order == (0, 1, 2) and count == 3 and size == 1
        return pixels if whole else np.ascontiguousarray(pixels[:, :, order])  # whole: a view

    return convert


def _mono(size: int) -> Convert:
    return lambda rows, big_endian: np.repeat(_high(rows, size, big_endian)[:, :, None], 3, axis=2)


def _high(rows: Pixels, size: int, big_endian: bool) -> Pixels:
    return np.ascontiguousarray(rows[:, (0 if big_endian else size - 1) :: size])


def _opencv(code: str, channels: int = 1, size: int = 1) -> Convert:
    def convert(rows: Pixels, big_endian: bool) -> Pixels:
        cv2 = opencv()
        shape = (rows.shape[0], -1) if channels == 1 else (rows.shape[0], -1, channels)
        source = _high(rows, size, big_endian).reshape(shape)
        return np.asarray(cv2.cvtColor(source, getattr(cv2, code)), dtype=np.uint8)

    return convert


def _nv24(rows: Pixels, big_endian: bool) -> Pixels:
    """4:4:4: OpenCV knows 4:2:0 alone, so every luma sample is doubled in both directions."""
    height, width = rows.shape[0] // 3, rows.shape[1]
    luma = rows[:height].repeat(2, axis=0).repeat(2, axis=1)
    chroma = rows[height:].reshape(height, 2 * width)
    return np.ascontiguousarray(_NV12(np.concatenate([luma, chroma]), big_endian)[::2, ::2])


_NV12 = _opencv("COLOR_YUV2RGB_NV12")


def _planar(code: str, chroma_width: float = 1.0) -> Encoding:
    return Encoding(1, _opencv(f"COLOR_YUV2RGB_{code}"), 3, (2, 2), chroma_width)


def _packed(code: str) -> Encoding:
    return Encoding(2, _opencv(f"COLOR_YUV2RGB_{code}", 2), multiple=(2, 1))


ENCODINGS: dict[str, Encoding] = {
    "rgb8": Encoding(3, _channels((0, 1, 2), 3)),
    "bgr8": Encoding(3, _channels((2, 1, 0), 3)),
    "rgba8": Encoding(4, _channels((0, 1, 2), 4)),
    "bgra8": Encoding(4, _channels((2, 1, 0), 4)),
    "rgb16": Encoding(6, _channels((0, 1, 2), 3, 2)),
    "bgr16": Encoding(6, _channels((2, 1, 0), 3, 2)),
    "rgba16": Encoding(8, _channels((0, 1, 2), 4, 2)),
    "bgra16": Encoding(8, _channels((2, 1, 0), 4, 2)),
    "mono8": Encoding(1, _mono(1)),
    "mono16": Encoding(2, _mono(2)),
    "uyvy": _packed("UYVY"),
    "yuyv": _packed("YUY2"),
    "yvyu": _packed("YVYU"),
    "nv12": _planar("NV12"),
    "nv21": _planar("NV21"),
    "nv24": Encoding(1, _nv24, 6, chroma_width=2.0),
    "i420": _planar("I420", 0.5),
    "yv12": _planar("YV12", 0.5),
}
# OpenCV names a Bayer pattern by its second row, ROS by its first: hence the crossed codes.
for _pattern, _code in {"rggb": "BG", "bggr": "RG", "gbrg": "GR", "grbg": "GB"}.items():
    for _bits in (8, 16):
        ENCODINGS[f"bayer_{_pattern}{_bits}"] = Encoding(
            _bits // 8, _opencv(f"COLOR_Bayer{_code}2RGB", size=_bits // 8), multiple=(2, 2)
        )

ALIASES = {"yuv422": "uyvy", "yuv422_yuy2": "yuyv", "yuy2": "yuyv", "8uc1": "mono8"}
# names that say how many bytes, not which: the profile names the order
UNORDERED: dict[str, tuple[str, ...]] = {
    "8uc1": ("mono8", "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"),
    "8uc3": ("bgr8", "rgb8"),
    "8uc4": ("bgra8", "rgba8"),
}
DEPTH = ("16uc1", "16sc1", "32fc1", "64fc1")


def encoding_name(name: str, where: str, expected: str | None = None) -> str:
    """The key of ``ENCODINGS`` that a message's or a profile's encoding stands for.

    Args:
        where: start of an error line.
        expected: what the profile says; None: anything that is known.

    Raises:
        ContractError: it is unknown, says no order, is a depth map, or another than expected.
    """
    given = name.strip(" \0").lower()  # drivers in C leave what ends their texts
    wanted = None if expected is None else encoding_name(expected, where)
    if wanted is not None and wanted in UNORDERED.get(given, ()):
        return wanted
    known = ALIASES.get(given, given)
    if known in ENCODINGS and known == (wanted or known):
        return known
    do = "set the driver's encoding, or the camera's encoding and topic in the profile"
    got = name or "an empty encoding"
    if given in DEPTH:
        got, do = f"{name}, a depth map", "set the topic of the colour camera"
    elif given in UNORDERED:
        orders = UNORDERED[given]
        got = f"{name}, which says no order of colours"
        do = f"set the profile's encoding to {orders[0]} (OpenCV's order) or {orders[1]}"
        expected = wanted or " or ".join(orders)
    raise ContractError(problem(where, expected or f"one of {', '.join(ENCODINGS)}", got, do))
