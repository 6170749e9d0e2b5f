# SPDX-License-Identifier: Apache-2.0
"""Compressed image messages (JPEG, PNG, and TIFF and WebP) -> (H, W, 3) uint8 RGB."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.extras import how_to_install
from adamoe_ros.streams.encodings import DEPTH, opencv
from adamoe_ros.streams.messages import CompressedImageMessage

_JPEG = b"\xff\xd8"
_PNG, _WEBP = b"\x89PNG\r\n\x1a\n", b"WEBP"
_TIFF = (b"II*\x00", b"MM\x00*")
_MARK = 0xFF  # begins every segment of a JPEG
_FRAME_HEADS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 ... SOF15; the three are others
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_RESTART, _RESTART_BITS = 0xD0, 0xF8  # eight codes that stand inside coded data
_GREY_16 = b"\x10\x00"  # PNG: bits a sample, colour type
_OFFSETS, _COUNTS = (273, 324), (279, 325)  # TIFF: where strips or tiles are, and their bytes


def decode_whole(data: bytes, where: str) -> NDArray[np.uint8]:
    """RGB of what ``check_compressed`` gave, whatever order it was compressed from.

    Args:
        data: of one picture.
        where: start of an error line.

    Returns:
        (H, W, 3) uint8 RGB, a new array.

    Raises:
        ContractError: broken data, or no cv2 module.
    """
    try:
        image = decode_data(data)
    except ImportError as error:
        raise ContractError(
            problem(where, "opencv to read it", "no cv2 module", how_to_install(["data"]))
        ) from error
    if image is None:
        raise ContractError(_broken(where, "undecodable data", len(data)))
    return image


def decode_data(data: bytes) -> NDArray[np.uint8] | None:
    """(H, W, 3) uint8 RGB of what cv2 can read; None: it cannot.

    Raises:
        ImportError: no cv2 module.
    """
    cv2 = opencv()
    straight = getattr(cv2, "IMREAD_COLOR_RGB", None)  # since OpenCV 4.11; the same values
    how = cv2.IMREAD_COLOR if straight is None else straight
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error:  # sizes beyond all bounds
        return None
    if image is not None and straight is None:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return None if image is None else np.asarray(image, dtype=np.uint8)


def check_compressed(message: CompressedImageMessage, where: str) -> bytes:
    """The data of a message that looks whole, without what follows its end; nothing is decoded.

    Drivers that publish their whole buffer leave any bytes behind a picture.

    Args:
        message: sensor_msgs/CompressedImage or alike; ``format`` as "jpeg", "png", or
            "rgb8; jpeg compressed bgr8" (image_transport).
        where: start of an error line.

    Raises:
        ContractError: depth data, another format, or truncated data.
    """
    data = bytes(memoryview(message.data))
    words = message.format.lower()
    source = words.split(";")[0].strip()
    grey_16 = data.startswith(_PNG) and data[24:26] == _GREY_16 and source != "mono16"
    if "compresseddepth" in words or source in DEPTH or grey_16:
        got = f"a depth map (format {message.format!r})"
        raise ContractError(problem(where, "a colour image", got, "set the colour topic"))
    stop = picture_end(data)
    if stop is None:
        got = f"format {message.format!r} starting with {data[:4].hex() or 'nothing'}"
        raise ContractError(
            problem(where, "JPEG, PNG, TIFF or WebP data", got, "set the driver's format")
        )
    if not stop:
        raise ContractError(_broken(where, "no end of one", len(data)))
    return data if stop == len(data) else data[:stop]


def picture_end(data: bytes) -> int | None:
    """Where a picture ends; 0: it is cut, and decoders would fill the rest; None: another format."""
    end = next((end for fits, end in _FORMATS if fits(data)), None)
    return None if end is None else end(data)


def _jpeg_end(data: bytes) -> int:
    """Where the picture ends; 0: it does not. A preview inside has an end mark of its own."""
    place = 2
    while 0 <= place <= len(data) - 2:
        kind = data[place + 1]
        if kind == _END:
            return place + 2
        if kind == _START:
            return 0  # the next picture begins before this one has ended
        if kind in (0, _MARK):
            place = data.find(_MARK, place + 1)
            continue
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        # drivers may leave bytes between segments
        place = _scan_end(data, place) if kind == _SCAN else data.find(_MARK, place)
    return 0


def _scan_end(data: bytes, start: int) -> int:
    """Where the first marker after coded data stands; -1: there is none."""
    coded = np.frombuffer(data, np.uint8)[start:]
    marks = np.flatnonzero((coded[:-1] == _MARK) & (coded[1:] != 0))  # before a 0 it is a number
    codes = coded[marks + 1]
    ends = marks[(codes != _MARK) & ((codes & _RESTART_BITS) != _RESTART)]
    return start + int(ends[0]) if len(ends) else -1


def _png_end(data: bytes) -> int:
    place = len(_PNG)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        place += 12 + length
        if kind == b"IEND":
            return place if place <= len(data) else 0
    return 0


def _webp_end(data: bytes) -> int:
    stop = 8 + int.from_bytes(data[4:8], "little")
    return stop if stop <= len(data) else 0


def _tiff_end(data: bytes) -> int:
    """All of the data, if every strip or tile of the first picture lies in them."""
    order = "<" if data.startswith(b"II") else ">"
    try:
        (place,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, place)
        tags = {}
        for number in range(count):
            tag, kind, size = struct.unpack_from(f"{order}HHI", data, place + 2 + 12 * number)
            letter = {3: "H", 4: "I"}.get(kind)
            if letter is not None:
                at = place + 10 + 12 * number
                if size * struct.calcsize(letter) > 4:
                    (at,) = struct.unpack_from(f"{order}I", data, at)
                tags[tag] = struct.unpack_from(f"{order}{size}{letter}", data, at)
    except struct.error:
        return 0
    offsets = next((tags[tag] for tag in _OFFSETS if tag in tags), ())
    counts = next((tags[tag] for tag in _COUNTS if tag in tags), ())
    ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
    return len(data) if ends and max(ends) <= len(data) else 0


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], int]], ...] = (
    (lambda data: data.startswith(_JPEG), _jpeg_end),
    (lambda data: data.startswith(_PNG), _png_end),
    (lambda data: data.startswith(b"RIFF") and data[8:12] == _WEBP, _webp_end),
    (lambda data: data.startswith(_TIFF), _tiff_end),
)


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height that JPEG or PNG data give in their head; (0, 0) for others."""
    if data.startswith(_PNG):
        width, height = struct.unpack_from(">II", data, 16) if len(data) >= 24 else (0, 0)
        return width, height
    if not data.startswith(_JPEG):
        return 0, 0
    place = 2
    while place + 9 <= len(data) and data[place] == _MARK:
        kind, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if kind in _FRAME_HEADS:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        place += 1 if kind == _MARK else 2 + length
    return 0, 0


def _broken(where: str, what: str, size: int) -> str:
    return problem(
        where, "a whole image", f"{what} in {size} bytes", "check the driver and the network"
    )
