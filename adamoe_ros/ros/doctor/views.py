# SPDX-License-Identifier: Apache-2.0
"""Writes what each camera slot shows, by the lines that feed the policy.

As it was decoded, and, with a checkpoint, as the model gets it: scaled and padded to its size. A
swapped camera, a wrong colour order or a cropped picture is seen at a glance.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.ros.doctor.report import Report
from adamoe_ros.streams.images import image_decoder

_AREA = "robot"


def save_views(
    report: Report,
    profile: RobotProfile,
    messages: Mapping[str, Any],
    folder: Path,
    size: tuple[int, int] | None = None,
) -> None:
    """PNG files of each camera slot; a message that cannot be read is a failed check.

    Args:
        messages: camera slot -> its last image message.
        folder: made where it is missing.
        size: (height, width) of the model's pictures; None: those are not written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for slot, camera in profile.present_cameras.items():
        name = f"{slot} view"
        if slot not in messages:
            report.add(_AREA, name, "unchecked", "no image came")
            continue
        try:
            image = image_decoder(slot, camera, any_size=True)(messages[slot])
        except ContractError as error:
            report.add(_AREA, name, "fail", str(error))
            continue
        path = folder / f"{slot}.png"
        path.write_bytes(png(image))
        if size is not None:
            from adamoe_ros.policy.resizing import resize_picture  # torch

            (folder / f"{slot}_model.png").write_bytes(png(resize_picture(image, size)))
        do = "look whether it is this camera, upright, in true colours"
        report.add(_AREA, name, "ok", f"{path}; {do}", {"file": str(path)})


def png(image: NDArray[np.uint8]) -> bytes:
    """An RGB image as PNG.

    Args:
        image: (H, W, 3) uint8.
    """
    height, width, _ = image.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # filter byte 0, then the pixels
    rows[:, 1:] = image.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
