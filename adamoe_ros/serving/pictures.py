# SPDX-License-Identifier: Apache-2.0
"""Pictures and numbers that a client sent, checked; JPEG both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.streams.compressed import decode_data, picture_end, picture_size
from adamoe_ros.streams.encodings import opencv

Layout = Literal["hwc", "chw"]
_MOST_PIXELS = 4096  # of a side


def picture(value: Any, where: str, layout: Layout = "hwc") -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of what a client sent.

    Args:
        value: (H, W, 3) or (3, H, W), uint8 or numbers in 0 ... 1 as openpi takes them, or a JPEG.
        layout: which of both it is where the sizes leave that open.

    Raises:
        ContractError: anything else; one line.
    """
    if isinstance(value, bytes):
        return decode_picture(value, where)
    sizes: tuple[int, ...] = value.shape if isinstance(value, np.ndarray) else ()
    if len(sizes) != 3 or 3 not in (sizes[0], sizes[2]) or not _sensible(sizes):
        expected = f"a picture (height, width, 3) or (3, height, width), at most {_MOST_PIXELS} px"
        got = str(sizes) if isinstance(value, np.ndarray) else type(value).__name__
        raise ContractError(problem(where, expected, got, "send one"))
    first = sizes[0] == 3 and (sizes[2] != 3 or layout == "chw")
    pixels = value.transpose(1, 2, 0) if first else value
    return np.ascontiguousarray(_levels(pixels, where))


def slot_pictures(images: Mapping[str, Any], problems: Problems) -> dict[str, NDArray[np.uint8]]:
    """Camera slot -> picture, of those that are one; a line for every other."""
    found = {}
    for slot, value in images.items():
        try:
            found[slot] = picture(value, f"images.{slot}")
        except ContractError as error:
            problems.extend(error.problems)
    return found


def _sensible(sizes: tuple[int, ...]) -> bool:
    return all(1 <= size <= _MOST_PIXELS for size in sizes)


def _levels(pixels: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    expected = "uint8, or numbers in 0 ... 1"
    if pixels.dtype.kind != "f":
        raise ContractError(problem(where, expected, pixels.dtype, "convert it"))
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0.0 and high <= 1.0):
        raise ContractError(problem(where, expected, f"{low:g} ... {high:g}", "convert it"))
    return (255 * pixels).astype(np.uint8)


def decode_picture(data: bytes, where: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a JPEG or PNG.

    Raises:
        ContractError: the data are neither, damaged, or announce too large a picture.
    """
    width, height = picture_size(data)  # before anything is decoded
    if not _sensible((height, width)):
        got = (height, width) if width or height else f"{len(data)} other bytes"
        expected = f"a JPEG or PNG of at most {_MOST_PIXELS} px a side"
        raise ContractError(problem(where, expected, got, "encode it again"))
    made = decode_data(data) if picture_end(data) else None
    if made is None:
        raise ContractError(problem(where, "a whole picture", "a damaged one", "encode it again"))
    return made


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """A JPEG of an (H, W, 3) RGB picture, colours at half resolution as cameras do."""
    # contiguous BGR first: cv2 copies a view with negative strides anyway
    cv2 = opencv()
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return bytes(data)


def numbers(value: Any, shape: tuple[int, ...], where: str, do: str) -> NDArray[np.float64]:
    """Finite float64 of a given shape.

    Raises:
        ContractError: anything else; one line.
    """
    try:
        made = np.atleast_1d(np.asarray(value))
    except (ValueError, TypeError):  # ragged lists
        made = np.zeros(0, object)
    if made.dtype.kind not in "fiu" or made.shape != shape:
        got = f"{made.shape} of {made.dtype}" if made.dtype != object else type(value).__name__
        raise ContractError(problem(where, f"numbers of shape {shape}", got, do))
    made = made.astype(np.float64)
    if not np.isfinite(made).all() or np.abs(made).max(initial=0.0) > 1e6:
        raise ContractError(problem(where, "finite numbers, at most 1e6", "others", do))
    return made
