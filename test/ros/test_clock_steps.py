# SPDX-License-Identifier: Apache-2.0
"""The wall clock steps back: drivers go on publishing."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import rclpy
from control_rig import START, Process, node_command
from harness import wait_for_message
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
BACK = 3600  # s


def stepping(folder: Path) -> tuple[dict[str, str], Path]:
    """Environment of a process, and the file that says by how many s its wall clock is off."""
    library, step = folder / "stepped_clock.so", folder / "step"
    source = FIXTURES / "stepped_clock.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    step.write_bytes(struct.pack("l", 0))
    return {**os.environ, "LD_PRELOAD": str(library), "STEPPED_CLOCK": str(step)}, step


def test_the_loopback_robot_goes_on_when_the_wall_clock_steps_back(tmp_path: Path) -> None:
    environment, step = stepping(tmp_path)
    parameters = {"robot": "aloha_sim", "autostart": True, "cameras": True}
    command = node_command("adamoe_ros.ros.sim.loopback_node", "LoopbackNode", parameters)
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("test_clock_steps", context=context)
    process = Process(command, tmp_path / "loopback.log", environment)
    topics = ((JointState, "follower_left/joint_states"), (Image, "cam_high/image_raw"))
    try:
        for kind, topic in topics:
            wait_for_message(node, kind, topic, qos_profile_sensor_data, timeout=START)
        now = node.get_clock().now().nanoseconds / 1e9
        with step.open("r+b") as stream:  # the same file: it is mapped
            stream.write(struct.pack("l", -BACK))
        for kind, topic in topics:
            wait_for_message(
                node,
                kind,
                topic,
                qos_profile_sensor_data,
                lambda message: message.header.stamp.sec < now - BACK / 2,
                timeout=START,
            )
    finally:
        process.stop(timeout=START)
        node.destroy_node()
        rclpy.try_shutdown(context=context)
