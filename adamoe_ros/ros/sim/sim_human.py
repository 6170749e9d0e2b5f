# SPDX-License-Identifier: Apache-2.0
"""A scripted human at the simulator: the task's expert with leader arms and a dead-man switch.

Silent until the switch is wanted, so that others may lead. Before a press and after a release the switch
says for a moment that it is let go. A press plans from where the scene and the arms are, so that the
leaders begin at the arms' own commands.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile, Teleop
from adamoe_ros.contract.topics import leader_topics
from adamoe_ros.ros import qos
from adamoe_ros.ros.policy.policy_messages import to_time
from adamoe_ros.ros.sim.sim_messages import joint_message

Vector = NDArray[np.float64]
_REST = 10  # control periods


class SimHuman:
    """Publishes the ``teleop`` topics of a profile.

    Args:
        node: publishers are made on it.
        plan: (T, 14) targets from the present moment on, one a control period.

    Raises:
        ContractError: the profile's leaders are no joint states, or its switch is no Bool.
    """

    def __init__(self, node: Node, profile: RobotProfile, plan: Callable[[], Vector]) -> None:
        assert profile.teleop is not None
        _check(profile.name, profile.teleop)
        self._plan, self._tick = plan, 0
        self._wanted, self._rested = False, _REST
        self._rows: Vector | None = None
        self._leaders = [
            (topic, node.create_publisher(JointState, topic.target.topic, qos.COMMAND))
            for topic in leader_topics(profile)
        ]
        self._deadman = node.create_publisher(Bool, profile.teleop.deadman.topic, qos.COMMAND)

    def speak(self, now_ns: int, pressed: bool) -> None:
        """Once a control period; under the simulator's lock."""
        if pressed != self._wanted:
            self._wanted, self._rested = pressed, 0
        resting = self._rested < _REST
        if resting and self._deadman.get_subscription_count():
            self._rested += 1
        if not pressed and not resting:
            return
        pressed = pressed and not resting
        if not pressed:
            self._rows = None
        elif self._rows is None:
            self._rows, self._tick = self._plan(), 0
        if self._rows is not None:
            row = self._rows[min(self._tick, len(self._rows) - 1)]
            self._tick += 1
            for topic, publisher in self._leaders:
                message = joint_message(to_time(now_ns), topic, row, np.zeros_like(row))
                publisher.publish(message)
        self._deadman.publish(Bool(data=pressed))


def _check(robot: str, teleop: Teleop) -> None:
    kinds = {leader.type for leader in teleop.arms.values()}
    if kinds != {"joint_state"} or teleop.deadman.type != "bool":
        got = f"{', '.join(sorted(kinds))} and {teleop.deadman.type}"
        where, do = f"{robot}: teleop", "use the profile aloha_sim"
        raise ContractError(problem(where, "joint_state leaders and a bool dead-man", got, do))
