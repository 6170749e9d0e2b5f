# SPDX-License-Identifier: Apache-2.0
"""Compressed image messages (JPEG, PNG) -> (H, W, 3) uint8 RGB."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.streams.encodings import opencv
from adamoe_ros.streams.messages import CompressedImageMessage

_JPEG = (b"\xff\xd8", b"\xff\xd9")
_MARK = 0xFF  # begins every segment of a JPEG
_FRAME_HEADS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 ... SOF15; the three are others
_PNG = (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82")


def decode_compressed(message: CompressedImageMessage, where: str) -> NDArray[np.uint8]:
    """A compressed image message as RGB, whatever order it was compressed from.

    Args:
        message: sensor_msgs/CompressedImage or alike; ``format`` as "jpeg", "png", or
            "rgb8; jpeg compressed bgr8" (image_transport).
        where: start of an error line.

    Returns:
        (H, W, 3) uint8 RGB, a new array.

    Raises:
        ContractError: depth data, another format, truncated or broken data, or no cv2 module.
    """
    data = check_compressed(message, where)
    try:
        cv2 = opencv()
    except ImportError as error:
        raise ContractError(
            problem(where, "opencv to read it", "no cv2 module", "install python3-opencv")
        ) from error
    straight = getattr(cv2, "IMREAD_COLOR_RGB", None)  # since OpenCV 4.11; the same values
    how = cv2.IMREAD_COLOR if straight is None else straight
    image = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    if image is None:
        raise ContractError(_broken(where, "undecodable data", len(data)))
    if straight is None:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return np.asarray(image, dtype=np.uint8)


def check_compressed(message: CompressedImageMessage, where: str) -> bytes:
    """The data of a message that looks whole; cheap, nothing is decoded.

    Raises:
        ContractError: depth data, another format, or truncated data.
    """
    data = bytes(memoryview(message.data))
    source = message.format.split(";")[0].strip()
    if "compressedDepth" in message.format or source in ("16UC1", "32FC1"):
        raise ContractError(
            problem(where, "a colour image", f"format {message.format!r}", "set the colour topic")
        )
    ends = next((ends for ends in (_JPEG, _PNG) if data.startswith(ends[0])), None)
    if ends is None:
        got = f"format {message.format!r} starting with {data[:4].hex() or 'nothing'}"
        raise ContractError(problem(where, "JPEG or PNG data", got, "set the driver's format"))
    if ends[1] not in data[-64:]:  # encoders may pad, decoders would fill the rest with grey
        raise ContractError(_broken(where, "no end marker", len(data)))
    return data


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height that JPEG or PNG data give in their head; (0, 0) where there is none."""
    if data.startswith(_PNG[0]):
        width, height = struct.unpack_from(">II", data, 16) if len(data) >= 24 else (0, 0)
        return width, height
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
