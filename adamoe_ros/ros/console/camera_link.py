# SPDX-License-Identifier: Apache-2.0
"""Pictures of one robot for the page, taken only while somebody looks.

In the participant for pictures and a thread of its own (``ros/transports.py``): what stops and steers
waits for none of it. Messages stay bytes until it is their turn to be shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from adamoe_ros.console.picture_feed import PictureFeed
from adamoe_ros.contract.profile import Camera, RobotProfile
from adamoe_ros.ros import qos
from adamoe_ros.ros.transports import PictureNode
from adamoe_ros.streams.images import image_decoder

_LOOK_S = 0.2  # s between looks at whether somebody looks


class CameraLink:
    """Subscriptions to the cameras of a profile, feeding the page.

    Args:
        main: node in the robot's namespace.
        profile: of the robot.
        feed: takes the frames.
        resolve: relative name -> full name.
    """

    def __init__(
        self, main: Node, profile: RobotProfile, feed: PictureFeed, resolve: Callable[[str], str]
    ) -> None:
        self._profile, self._feed, self._resolve = profile, feed, resolve
        self._pictures = PictureNode(main, sends=False)
        self._subscriptions: list[Any] = []
        self._executor = SingleThreadedExecutor(context=self._pictures.node.context)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="cameras", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, then the subscriptions."""
        self._closing = True
        self._executor.wake()
        self._thread.join(2.0)
        self._executor.shutdown(timeout_sec=1.0)
        self._listen(False)
        self._pictures.close()

    def _run(self) -> None:
        if self._pictures.apart:
            self._executor.add_node(self._pictures.node)
        while not self._closing:
            if self._feed.looked_at != bool(self._subscriptions):
                self._listen(self._feed.looked_at)
            try:
                self._executor.spin_once(timeout_sec=_LOOK_S)
            except ExternalShutdownException:
                return

    def _listen(self, wanted: bool) -> None:
        node = self._pictures.node
        for subscription in self._subscriptions:
            node.destroy_subscription(subscription)
        self._subscriptions = []
        cameras = self._profile.present_cameras.items() if wanted else ()
        for slot, camera in cameras:
            kind = CompressedImage if camera.type == "compressed" else Image
            take = partial(self._take, slot, kind, image_decoder(slot, camera, any_size=True))
            topic, quality = self._resolve(str(camera.topic)), _newest(camera)
            self._subscriptions.append(
                node.create_subscription(kind, topic, take, quality, raw=True)
            )

    def _take(self, slot: str, kind: type, decode: Callable[[Any], Any], data: bytes) -> None:
        self._feed.offer(slot, lambda: decode(deserialize_message(data, kind)))


def _newest(camera: Camera) -> Any:
    return qos.sensor(camera.reliable, depth=1)
