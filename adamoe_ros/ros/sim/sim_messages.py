# SPDX-License-Identifier: Apache-2.0
"""Pictures and joint vectors as messages, and joint commands back."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import Image, JointState

from adamoe_ros.contract.topics import LeaderTopic, StateTopic


def image_message(stamp: Time, frame_id: str, picture: NDArray[np.uint8]) -> Image:
    """An rgb8 image.

    The data goes through ``array.frombytes``: assigning bytes or a list is checked byte by byte
    and takes tens of milliseconds at 640x480.

    Args:
        picture: (H, W, 3) uint8 RGB.
    """
    height, width, channels = picture.shape
    data = array("B")
    data.frombytes(np.ascontiguousarray(picture).data.cast("B"))
    message = Image(height=height, width=width, encoding="rgb8", step=width * channels)
    message.header.stamp = stamp
    message.header.frame_id = frame_id
    message.data = data
    return message


def joint_message(
    stamp: Time,
    topic: StateTopic | LeaderTopic,
    positions: NDArray[np.float64],
    velocities: NDArray[np.float64],
) -> JointState:
    """The joints of one topic of joint states.

    Args:
        positions: (J,) of the whole robot, driver's units.
        velocities: (J,) per second.
    """
    columns = list(topic.columns)
    message = JointState(name=list(topic.names))
    message.header.stamp = stamp
    message.position = array("d", positions[columns])
    message.velocity = array("d", velocities[columns])
    return message


def take_command(
    message: JointState, names: Sequence[str], columns: Sequence[int], targets: NDArray[np.float64]
) -> str:
    """Write commanded positions into ``targets``; names that are not given keep their target.

    Returns:
        What is wrong with the message, then nothing was written; empty when it is fine.
    """
    if len(message.name) != len(message.position):
        return f"{len(message.name)} names but {len(message.position)} positions"
    places = dict(zip(names, columns, strict=True))
    unknown = [name for name in message.name if name not in places]
    if unknown:
        return f"unknown joint {', '.join(unknown)}"
    values = np.asarray(message.position, dtype=np.float64)
    if not np.isfinite(values).all():
        return "a position that is not finite"
    for name, value in zip(message.name, values, strict=True):
        targets[places[name]] = value
    return ""
