# SPDX-License-Identifier: Apache-2.0
"""Image messages -> (H, W, 3) uint8 RGB, checked against the profile.

Raw images follow here, compressed ones in ``compressed``; ``image_reader`` picks by profile. What can
be wrong with a message is found when it is read, which costs microseconds, and only then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.extras import how_to_install
from adamoe_ros.contract.profile import Camera
from adamoe_ros.streams.compressed import check_compressed, decode_whole, picture_size
from adamoe_ros.streams.encodings import ENCODINGS, encoding_name
from adamoe_ros.streams.messages import ImageMessage

Image = NDArray[np.uint8]
ImageDecoder = Callable[[Any], Image]
ImageReader = Callable[[Any], Callable[[], Image]]


def fitted_size(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a picture after scaling it into ``size``, cut to whole pixels."""
    ratio = max(width / size[1], height / size[0])
    return max(1, int(height / ratio)), max(1, int(width / ratio))


def image_reader(slot: str, camera: Camera, any_size: bool = False) -> ImageReader:
    """The function that checks messages of one camera, and leaves the decoding for later.

    Args:
        slot: camera slot, for error lines.
        camera: its profile entry, not absent.
        any_size: accept another resolution than the profile's.

    Returns:
        message -> function that gives (H, W, 3) uint8 RGB, read-only; a view of the message where it
        can be one. A message that does not fit raises ContractError with one line; only compressed
        data that is damaged inside passes, and raises when it is decoded.

    Raises:
        ContractError: the profile asks for an encoding that cannot be read.
    """
    where = _where(slot, camera)

    def read(message: Any) -> Callable[[], Image]:
        decode: Callable[[], Image]
        if camera.type == "compressed":
            data = check_compressed(message, where)
            width, height = picture_size(data)
            # damaged, or turned as its Exif data says: only the decoder can tell
            unsure = (width, height) in ((0, 0), (camera.height, camera.width))
            decode = partial(decode_whole, data, where)
        else:
            decode = read_image(message, where, camera.encoding)
            width, height, unsure = int(message.width), int(message.height), False
        if not any_size and not unsure:
            _check_size(where, camera, width, height)

        def picture() -> Image:
            image = decode()
            if not any_size:
                _check_size(where, camera, image.shape[1], image.shape[0])
            image.flags.writeable = False
            return image

        return picture

    return read


def image_decoder(slot: str, camera: Camera, any_size: bool = False) -> ImageDecoder:
    """As ``image_reader``, decoded at once: message -> (H, W, 3) uint8 RGB, or ContractError."""
    read = image_reader(slot, camera, any_size)
    return lambda message: read(message)()


def _where(slot: str, camera: Camera) -> str:
    encoding_name(camera.encoding, f"cameras.{slot}.encoding")
    return f"cameras.{slot} ({camera.topic})"


def _check_size(where: str, camera: Camera, width: int, height: int) -> None:
    if (width, height) != (camera.width, camera.height):
        raise ContractError(
            problem(
                where,
                f"{camera.width} x {camera.height} pixels",
                f"{width} x {height}",
                "set the driver's resolution or width and height in the profile",
            )
        )


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
    return read_image(message, where, expected)()


def read_image(
    message: ImageMessage, where: str, expected: str | None = None
) -> Callable[[], Image]:
    """As ``decode_image``, checked now; what is returned makes the RGB."""
    name = encoding_name(message.encoding, where, expected)
    rows, big_endian = _image_rows(message, where, name), bool(message.is_bigendian)

    def to_rgb() -> Image:
        try:
            return ENCODINGS[name].to_rgb(rows, big_endian)
        except ImportError as error:
            do = how_to_install(["data"])
            raise ContractError(
                problem(where, f"opencv to read {name}", "no cv2 module", do)
            ) from error

    return to_rgb


def _image_rows(message: ImageMessage, where: str, name: str) -> Image:
    """The rows of a raw image message that looks whole.

    Args:
        message: sensor_msgs/Image or alike.
        where: start of an error line.
        name: of ``ENCODINGS``.

    Returns:
        (rows, W * bytes per pixel) uint8 without padding, a view where it can be one; planes follow
        each other.

    Raises:
        ContractError: data that does not fit.
    """
    encoding = ENCODINGS[name]
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, dtype=np.uint8)
    used = width * encoding.bytes_per_pixel
    lines = height * encoding.rows_of_two // 2
    across, down = encoding.multiple
    if width % across or height % down:
        even = f"{name} of an even width" + (" and height" if down > 1 else "")
        raise ContractError(problem(where, even, f"{width} x {height}", "check the driver"))
    # the step says nothing where it is 0, too small, or counts all planes, and the data are whole
    if data.size == used * lines and (step < used or encoding.rows_of_two > 2):
        step = used
    if height < 1 or width < 1 or step < used or data.size < step * lines:
        raise ContractError(
            problem(
                where,
                f"{name} of {width} x {height} in at least {max(step, used) * lines} bytes",
                f"step {step} and {data.size} bytes",
                "the image is truncated: check the driver and the network",
            )
        )
    rows = data[: step * lines].reshape(lines, step)
    if step > used and encoding.chroma_width != 1.0:
        length = round(step * encoding.chroma_width)  # of a padded row of the further planes
        chroma = rows[height:].reshape(-1)[: (lines - height) * step // length * length]
        chroma = chroma.reshape(-1, length)[:, : round(used * encoding.chroma_width)]
        return np.concatenate([rows[:height, :used], chroma.reshape(lines - height, used)])
    return rows[:, :used]
