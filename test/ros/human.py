# SPDX-License-Identifier: Apache-2.0
"""Somebody with leader arms and a dead-man switch.

``Human`` is in the test's own process. Run as a program it is a leader's driver alone, until killed: it
swings slowly around where control_node commands the arms when it starts.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import rclpy
from control_rig import Probe
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import leader_topics
from adamoe_ros.msg import ControlStatus
from adamoe_ros.ros import names, qos

RATE = 50.0
REACH, SPEED = 0.15, 0.5  # rad, rad/s at most, of the first joint that each topic leads
# a busy machine lets a process wait: the switch of these tests may be silent for longer than a robot's
PROFILE = """
extends: aloha_sim
name: led
use_sim_time: false
arms: {left: {state: {timeout: 1.0}}, right: {state: {timeout: 1.0}}}
teleop:
  arms: {left: {timeout: 1.0}, right: {timeout: 1.0}}
  deadman: {timeout: 1.0}
"""


class Leader:
    """Publishes leader arms once they have been brought to a pose, swinging from there."""

    def __init__(self, node: Node, profile: RobotProfile) -> None:
        self._node, self._topics = node, leader_topics(profile)
        self._publishers = [
            node.create_publisher(JointState, topic.target.topic, 5) for topic in self._topics
        ]
        self._begin, self._pose = 0.0, np.zeros(0)
        node.create_timer(1.0 / RATE, self._send)

    def bring(self, pose: np.ndarray) -> None:
        """To (J,) command units; empty: it falls silent."""
        self._begin, self._pose = time.monotonic(), np.array(pose)

    def _send(self) -> None:
        if not self._pose.size:
            return
        phase = 2.0 * SPEED / REACH * (time.monotonic() - self._begin)
        for publisher, topic in zip(self._publishers, self._topics, strict=True):
            values = self._pose[list(topic.columns)]
            values[0] += REACH * (1 - np.cos(phase)) / 2
            message = JointState(name=list(topic.names), position=values.tolist())
            message.header.stamp = self._node.get_clock().now().to_msg()
            publisher.publish(message)


class Human:
    """At a robot.

    Attributes:
        held: what the dead-man says; None: nothing.
    """

    def __init__(self, probe: Probe) -> None:
        self.held: bool | None = False
        self._probe = probe
        teleop = probe.profile.teleop
        assert teleop is not None
        self.leader = probe.in_executor(lambda: Leader(probe.node, probe.profile))
        self._deadman = probe.node.create_publisher(Bool, teleop.deadman.topic, 1)
        probe.in_executor(lambda: probe.node.create_timer(1.0 / RATE, self._say))

    def _say(self) -> None:
        if self.held is not None:
            self._deadman.publish(Bool(data=self.held))

    def take_over(self) -> None:
        """Bring the leader to the arms, press, and wait until they follow."""
        self.let_go()
        self.leader.bring(self._probe.status.commanded)
        self._probe.wait(lambda: 0 <= self._probe.status.leader_age < 0.5, "the leader to be heard")
        self.press()

    def press(self) -> None:
        """With the leader as it is."""
        self.held = True
        self._probe.wait(
            lambda: self._probe.status.source == ControlStatus.SOURCE_HUMAN, "the human to lead"
        )

    def let_go(self) -> None:
        """Until control has heard it."""
        self.held = False
        asked = time.monotonic()
        self._probe.wait(
            lambda: any(
                at > asked + 0.2 and 0 <= status.deadman_age < at - asked - 0.1
                for at, status in self._probe.statuses[-3:]
            ),
            "the dead-man to be heard",
        )


def main(robot: str) -> None:
    """A leader's driver."""
    profile = load_profile(profile_path(robot, robots_dir()))
    rclpy.init()
    node = rclpy.create_node("leader_driver")
    leader, brought = Leader(node, profile), False

    def heard(status: ControlStatus) -> None:
        nonlocal brought
        if not brought and len(status.commanded):
            leader.bring(np.array(status.commanded))
            brought = True

    node.create_subscription(ControlStatus, names.CONTROL_STATUS, heard, qos.CONTROL_STATUS)
    rclpy.spin(node)


if __name__ == "__main__":
    main(sys.argv[1])
