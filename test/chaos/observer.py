# SPDX-License-Identifier: Apache-2.0
"""An observer of joint commands: a process of its own that shares no code with control or its gate.

    python test/chaos/observer.py OUT TOPIC...

Writes a line for each sensor_msgs/JointState: steady time of receipt (s), topic's place, positions.
Ends on SIGTERM.
"""

from __future__ import annotations

import contextlib
import sys
import time

import rclpy
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import JointState


def main() -> int:
    """Observe until a signal."""
    rclpy.init()
    node = rclpy.create_node("chaos_observer")
    with open(sys.argv[1], "w", buffering=1, encoding="ascii") as out:

        def note(place: int, message: JointState) -> None:
            values = " ".join(f"{value:.9g}" for value in message.position)
            out.write(f"{time.monotonic():.6f} {place} {values}\n")

        for place, topic in enumerate(sys.argv[2:]):
            node.create_subscription(
                JointState, topic, lambda message, place=place: note(place, message), 100
            )
        with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
            rclpy.spin(node)
    return 0


if __name__ == "__main__":
    sys.exit(main())
