# SPDX-License-Identifier: Apache-2.0
"""Test pictures on the camera topics of a profile, each at its camera's rate.

One picture per camera: a ramp from left to right that ends at another brightness for each slot, so that
swapped cameras are seen. They are sent by a thread of their own: a listener that dies may delay the
sender of pictures, and must not delay joint states and commands.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from adamoe_ros.contract.profile import Camera, RobotProfile
from adamoe_ros.ros import qos
from adamoe_ros.ros.doctor.views import png
from adamoe_ros.ros.transports import PictureNode
from adamoe_ros.streams.encodings import ENCODINGS, encoding_name

_SHARE = 8  # of the rows that a truncated image keeps: one in so many


@dataclass
class _Source:
    """One camera; ``due``: steady s of its next picture."""

    publisher: Any
    message: Image | CompressedImage
    period: float
    due: float


class LoopbackCameras:
    """The cameras.

    Args:
        node: its clock gives the stamps.
        profile: topics, types, encodings, sizes, rates.
        fault: what the first camera does wrong at this moment, see ``loopback_parameters``.
        active: whether to publish at all.

    Attributes:
        sent: pictures so far.
    """

    def __init__(
        self,
        node: Node,
        profile: RobotProfile,
        fault: Callable[[], str],
        active: Callable[[], bool],
    ) -> None:
        self._node, self._fault, self._active = node, fault, active
        self.sent = 0
        self._pictures = PictureNode(node, sends=True)
        self._sources = [
            self._source(camera, 255 - 60 * (place % 4))
            for place, camera in enumerate(profile.present_cameras.values())
        ]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cameras", daemon=True)
        self._thread.start()

    def _source(self, camera: Camera, brightness: int) -> _Source:
        message = picture(camera, brightness)
        topic = self._pictures.topic(camera.topic or "")
        publisher = self._pictures.node.create_publisher(type(message), topic, qos.COMMAND)
        return _Source(publisher, message, 1.0 / camera.rate, time.monotonic())

    def destroy(self) -> None:
        """End the thread, take the publishers down."""
        self._ending.set()
        self._thread.join()
        for source in self._sources:
            self._pictures.node.destroy_publisher(source.publisher)
        self._pictures.close()

    def _run(self) -> None:
        while self._sources and not self._ending.is_set():
            for place, source in enumerate(self._sources):
                late = time.monotonic() - source.due
                if late >= 0:
                    source.due += source.period * (1 + late // source.period)  # none is made good
                    self._publish(source.publisher, source.message, place == 0)
            next_due = min(source.due for source in self._sources)
            self._ending.wait(max(0.0, next_due - time.monotonic()))

    def _publish(self, publisher: Any, message: Any, first: bool) -> None:
        fault = self._fault() if first else "none"
        if not self._active() or fault == "silent":
            return
        sent = message if fault == "none" else broken(message, fault)
        sent.header.stamp = self._node.get_clock().now().to_msg()
        publisher.publish(sent)
        self.sent += 1


def picture(camera: Camera, brightness: int) -> Image | CompressedImage:
    """A ramp from black to a brightness, in the camera's type, encoding and size."""
    ramp = np.linspace(0, brightness, camera.width).astype(np.uint8)
    if camera.type == "compressed":
        shape = (camera.height, camera.width, 3)
        message = CompressedImage(format=f"{camera.encoding}; png compressed {camera.encoding}")
        message.data.frombytes(png(np.broadcast_to(ramp[None, :, None], shape)))
        return message
    encoding = ENCODINGS[encoding_name(camera.encoding, "encoding")]
    size, height = encoding.bytes_per_pixel, camera.height * encoding.rows_of_two // 2
    rows = np.broadcast_to(np.repeat(ramp, size), (height, camera.width * size))
    raw = Image(height=camera.height, width=camera.width, encoding=camera.encoding)
    raw.step = camera.width * size
    raw.data.frombytes(np.ascontiguousarray(rows))
    return raw


def broken(message: Image | CompressedImage, fault: str) -> Image | CompressedImage:
    """A copy that has lost most of its bytes, or that names another encoding.

    Args:
        fault: "truncated" or "wrong_encoding".
    """
    if isinstance(message, CompressedImage):
        made = CompressedImage(format=message.format)
        kept = message.data[: len(message.data) // _SHARE] if fault == "truncated" else b"no image"
        made.data.frombytes(bytes(kept))
        return made
    other = Image(height=message.height, width=message.width, step=message.step)
    other.encoding = message.encoding
    other.data.frombytes(memoryview(message.data))
    if fault == "truncated":
        del other.data[len(other.data) // _SHARE :]
    else:
        other.encoding = "mono8" if message.encoding != "mono8" else "rgb8"
    return other
