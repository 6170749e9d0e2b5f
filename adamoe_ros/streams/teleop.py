# SPDX-License-Identifier: Apache-2.0
"""What a human says with leader arms and a dead-man switch: messages -> set points and a switch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.joint_map import leader_to_command
from adamoe_ros.contract.profile import Deadman, RobotProfile
from adamoe_ros.contract.topics import leader_topics
from adamoe_ros.streams.commands import CommandDecoder
from adamoe_ros.streams.joint_states import JointSample, listed

# type of a profile's dead-man -> message type, whether a message says that it is held
DEADMEN: dict[str, tuple[str, Callable[[Any, Deadman], bool]]] = {
    "bool": ("std_msgs/msg/Bool", lambda message, deadman: bool(message.data)),
    "joy": ("sensor_msgs/msg/Joy", lambda message, deadman: _pressed(message, deadman.button)),
}


def _pressed(message: Any, button: int) -> bool:
    """A button that the message does not have is not held."""
    return button < len(message.buttons) and message.buttons[button] == 1


def deadman_type(deadman: Deadman) -> str:
    """Message type, ``package/msg/Name``."""
    return DEADMEN[deadman.type][0]


def deadman_held(deadman: Deadman, message: Any) -> bool:
    """Whether a message of the dead-man's topic says that it is held."""
    return DEADMEN[deadman.type][1](message, deadman)


class LeaderReader:
    """Joins the leader topics of a robot into one vector, with an age per joint.

    Args:
        profile: the robot, with ``teleop``.

    Attributes:
        topics: every topic to subscribe to, once.

    Raises:
        ContractError: a leader's type does not exist.
    """

    def __init__(self, profile: RobotProfile) -> None:
        self.topics = leader_topics(profile)
        self._ids = profile.joint_ids
        self._decoder = CommandDecoder(self.topics, "leader")
        self._to_command = leader_to_command(profile)
        self._timeouts = {
            topic.target.topic: round(topic.source.timeout * 1e9) for topic in self.topics
        }
        self._led = sorted(column for topic in self.topics for column in topic.columns)
        self._positions: NDArray[np.float64] = np.zeros(len(self._ids))
        self._stamps = np.zeros(len(self._ids), np.int64)  # 0: never heard
        self._until = np.zeros(len(self._ids), np.int64)

    def push(self, topic: str, message: Any, arrival_ns: int) -> JointSample | None:
        """Take a message; where all led joints have been heard of: where they are led to.

        Returns:
            Command units; joints that nobody leads are 0. Of a trajectory its last point.

        Raises:
            ContractError: as ``CommandDecoder.push``; what was heard before stays.
        """
        motion = self._decoder.push(topic, message, arrival_ns)
        if motion is not None:
            columns = list(motion.columns)
            self._positions[columns] = motion.positions[-1]
            stamp = min(motion.stamp_ns, arrival_ns)  # one ahead does not stay valid for longer
            self._stamps[columns] = stamp
            self._until[columns] = stamp + self._timeouts[topic]
        stamps = self._stamps[self._led]
        if not stamps.all():
            return None
        positions = self._to_command.apply(self._positions)
        return JointSample(int(stamps.min()), positions, int(self._until[self._led].min()))

    def silent(self, now_ns: int) -> str:
        """Led joints without a fresh position, for people; empty: there are none."""
        stale = [column for column in self._led if now_ns > self._until[column]]
        return listed([self._ids[column] for column in stale])
