# SPDX-License-Identifier: Apache-2.0
"""Image messages -> (H, W, 3) uint8 RGB, checked against the profile. Imports: numpy, contract.

Raw images follow here, compressed ones in ``compressed``; ``image_decoder`` picks by profile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import Camera
from adamoe_ros.streams.compressed import decode_compressed
from adamoe_ros.streams.encodings import ENCODINGS
from adamoe_ros.streams.messages import ImageMessage

Image = NDArray[np.uint8]
ImageDecoder = Callable[[Any], Image]


def image_decoder(slot: str, camera: Camera, any_size: bool = False) -> ImageDecoder:
    """The function that turns messages of one camera into RGB.

    Args:
        slot: camera slot, for error lines.
        camera: its profile entry, not absent.
        any_size: accept another resolution than the profile's.

    Returns:
        message -> (H, W, 3) uint8 RGB, read-only; a view of the message where it can be one.
        It raises ContractError with one line when the message does not fit.

    Raises:
        ContractError: the profile asks for an encoding that cannot be read.
    """
    where = f"cameras.{slot}"
    if camera.encoding not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise ContractError(
            problem(f"{where}.encoding", f"one of {known}", camera.encoding, "correct the profile")
        )
    where = f"{where} ({camera.topic})"

    def decode(message: Any) -> Image:
        if camera.type == "compressed":
            image = decode_compressed(message, where)
        else:
            image = decode_image(message, where, camera.encoding)
        if not any_size and image.shape[:2] != (camera.height, camera.width):
            raise ContractError(
                problem(
                    where,
                    f"{camera.width} x {camera.height} pixels",
                    f"{image.shape[1]} x {image.shape[0]}",
                    "set the driver's resolution or width and height in the profile",
                )
            )
        image.flags.writeable = False
        return image

    return decode


def decode_image(message: ImageMessage, where: str, expected: str | None = None) -> Image:
    """A raw image message as RGB.

    Args:
        message: sensor_msgs/Image or alike.
        where: start of an error line.
        expected: encoding that it must have; None: any that is known.

    Returns:
        (H, W, 3) uint8; a view for rgb8, else a copy.

    Raises:
        ContractError: encoding unknown or not the expected one, or data that does not fit.
    """
    name = message.encoding
    if name not in ENCODINGS or name != (expected or name):
        raise ContractError(
            problem(
                where,
                expected or f"one of {', '.join(ENCODINGS)}",
                name or "an empty encoding",
                "set the driver's encoding, or the camera's encoding and topic in the profile",
            )
        )
    encoding = ENCODINGS[name]
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, dtype=np.uint8)
    used = width * encoding.bytes_per_pixel
    if height < 1 or width < 1 or step < used or data.size < step * height:
        raise ContractError(
            problem(
                where,
                f"{name} of {width} x {height} in at least {max(step, used) * height} bytes",
                f"step {step} and {data.size} bytes",
                "the image is truncated: check the driver and the network",
            )
        )
    rows = data[: step * height].reshape(height, step)[:, :used]
    try:
        return encoding.to_rgb(rows, bool(message.is_bigendian))
    except ImportError as error:
        raise ContractError(
            problem(where, f"opencv to read {name}", "no cv2 module", "install python3-opencv")
        ) from error
