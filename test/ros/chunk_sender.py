# SPDX-License-Identifier: Apache-2.0
"""A process that behaves as policy_node towards control: heartbeat, RUN, and chunks, until killed."""

from __future__ import annotations

import sys

import numpy as np
import rclpy

from adamoe_ros.contract.joint_map import state_to_command
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.msg import ActionChunk, MotionCommand, PolicyStatus
from adamoe_ros.ros import names, qos

GENERATION, DT, ROWS = 1000, 0.02, 50


def main(robot: str) -> None:
    """Send for ever."""
    profile = load_profile(profile_path(robot, robots_dir()))
    home = np.array([value for _, arm in profile.ordered_arms for value in arm.home])
    home = state_to_command(profile).apply(home)
    rclpy.init()
    node = rclpy.create_node("chunk_sender")
    chunks = node.create_publisher(ActionChunk, names.ACTION_CHUNK, qos.CHUNK)
    motion = node.create_publisher(MotionCommand, names.MOTION, qos.MOTION)
    alive = node.create_publisher(PolicyStatus, names.POLICY_STATUS, qos.POLICY_STATUS)
    motion.publish(MotionCommand(command=MotionCommand.RUN, generation=GENERATION, reason="sender"))
    begin, count = node.get_clock().now().nanoseconds, 0

    def send() -> None:
        nonlocal count
        alive.publish(PolicyStatus(state="active", phase="executing"))
        count += 1
        now = node.get_clock().now()
        seconds = (now.nanoseconds - begin) / 1e9 + np.arange(ROWS) * DT
        rows = np.tile(home, (ROWS, 1))
        rows[:, 0] += 0.15 * (1 - np.cos(2.0 * seconds))
        message = ActionChunk(
            chunk_id=count,
            generation=GENERATION,
            joint_names=list(profile.joint_ids),
            dt=DT,
            rows=ROWS,
            positions=rows.ravel().tolist(),
        )
        message.header.stamp = now.to_msg()
        chunks.publish(message)

    node.create_timer(0.2, send)
    rclpy.spin(node)


if __name__ == "__main__":
    main(sys.argv[1])
