# SPDX-License-Identifier: Apache-2.0
"""Publishes three cameras of 640x480 as best effort at 25 Hz, and then says how many frames it sent.

Waits until somebody listens to all of them, so that no frame is lost before the connection stands.
"""

from __future__ import annotations

import signal
import sys
import time

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")
RATE = 25.0  # Hz
QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def main(seconds: float) -> None:
    """Send for some seconds."""
    rclpy.init()
    node = rclpy.create_node("camera_sender")
    publishers = [node.create_publisher(Image, f"{name}/image_raw", QOS) for name in CAMERAS]
    image = Image(height=480, width=640, encoding="rgb8", step=640 * 3)
    image.data.frombytes(bytes(640 * 480 * 3))
    while not all(publisher.get_subscription_count() for publisher in publishers):
        rclpy.spin_once(node, timeout_sec=0.05)
    frames = round(seconds * RATE)
    start = time.monotonic()
    for frame in range(frames):
        time.sleep(max(0.0, start + frame / RATE - time.monotonic()))
        image.header.stamp = node.get_clock().now().to_msg()
        for name, publisher in zip(CAMERAS, publishers, strict=True):
            image.header.frame_id = f"{name} {frame}"
            publisher.publish(image)
    print(f"sent {frames}", flush=True)
    signal.pause()  # the last frames lie in the shared memory of this process until it ends


if __name__ == "__main__":
    main(float(sys.argv[1]))
