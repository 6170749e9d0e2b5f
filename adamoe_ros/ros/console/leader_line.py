# SPDX-License-Identifier: Apache-2.0
"""The page's leader and dead-man on the topics of ``teleop``: a source like any other, at 50 Hz while used.

In a thread of its own. Messages have no stamp, which reads as their arrival: no clock is needed here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from adamoe_ros.console.page_leader import PERIOD_S, PageLeader
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import leader_topics
from adamoe_ros.ros import qos
from adamoe_ros.ros.sim.sim_messages import joint_message

_LOOK_S = 5.0  # between looks at whether the page has ended


class LeaderLine:
    """Publishes what a ``PageLeader`` says.

    Args:
        node: publishers are made on it.
        profile: with ``teleop.console``.
        resolve: relative name -> full name.
    """

    def __init__(
        self, node: Node, profile: RobotProfile, leader: PageLeader, resolve: Callable[[str], str]
    ) -> None:
        assert profile.teleop is not None
        self._leader, self._closing = leader, False
        self._leaders: list[tuple[Any, Any]] = [
            (topic, node.create_publisher(JointState, resolve(topic.target.topic), qos.COMMAND))
            for topic in leader_topics(profile)
        ]
        deadman = resolve(profile.teleop.deadman.topic)
        self._deadman = node.create_publisher(Bool, deadman, qos.COMMAND)
        self._thread = threading.Thread(target=self._run, name="leader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go and end the thread."""
        self._closing = True
        self._leader.leave(self._leader.by)
        self._thread.join(2.0)

    def _run(self) -> None:
        while not self._closing:
            said = self._leader.step()
            if said is None:
                self._leader.wait(_LOOK_S)
                continue
            self._publish(*said)
            time.sleep(PERIOD_S)
        self._deadman.publish(Bool(data=False))

    def _publish(self, held: bool, positions: np.ndarray) -> None:
        rest = np.zeros_like(positions)
        for topic, publisher in self._leaders:
            publisher.publish(joint_message(Time(), topic, positions, rest))
        self._deadman.publish(Bool(data=held))
