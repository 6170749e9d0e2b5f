# SPDX-License-Identifier: Apache-2.0
"""Publishers of a robot's commands: one per command topic, message type by profile."""

from __future__ import annotations

import array
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import CommandTopic
from adamoe_ros.ros import names, qos
from adamoe_ros.streams.commands import CommandEncoder, command_type


class CommandOutputs:
    """Sends command vectors to the robot, or to shadow topics.

    Args:
        node: publishers are made on it.
        profile: the robot.
        shadow: publish below ``~/shadow/`` instead.
        trajectory_time: s, time_from_start of JointTrajectory points.

    Raises:
        ContractError: a command type does not exist, or its message package is not installed.
    """

    def __init__(
        self, node: Node, profile: RobotProfile, shadow: bool, trajectory_time: float
    ) -> None:
        self._node = node
        self._encoder = CommandEncoder(profile, trajectory_time)
        classes = [message_type(topic) for topic in self._encoder.topics]
        prefix = names.SHADOW_PREFIX if shadow else ""
        self._publishers = [
            node.create_publisher(kind, _join(prefix, topic), qos.COMMAND)
            for kind, topic in zip(classes, self._encoder.topics, strict=True)
        ]

    def send(self, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> None:
        """Publish one command.

        Args:
            positions: (J,) driver's command units, finite.
            velocities: (J,) the same per second; used where the profile asks for them.
        """
        stamp = int(self._node.get_clock().now().nanoseconds)
        messages = self._encoder.encode(positions, velocities, stamp, make_message)
        for publisher, message in zip(self._publishers, messages, strict=True):
            publisher.publish(message)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)
        self._publishers = []


def message_type(topic: CommandTopic) -> Any:
    """Message class of a command topic.

    Raises:
        ContractError: its package is not installed.
    """
    name = command_type(topic)
    try:
        return message_class(name)
    except (ImportError, AttributeError) as error:
        package = name.split("/")[0]
        vendor = {"interbotix_xs_msgs": "the Interbotix workspace"}.get(package, "its workspace")
        raise ContractError(
            problem(
                f"command topic {topic.target.topic}",
                f"{package} to import",
                error,
                f"source {vendor}, or set another command type in the profile",
            )
        ) from error


def make_message(type_name: str, **fields: Any) -> Any:
    """A ROS message; numpy arrays become arrays that rclpy takes without a look at each value."""
    return message_class(type_name)(
        **{
            name: array.array(value.dtype.char, value.tobytes())
            if isinstance(value, np.ndarray)
            else value
            for name, value in fields.items()
        }
    )


@lru_cache
def message_class(type_name: str) -> Any:
    """The class of ``package/msg/Name`` (ImportError, AttributeError: not installed)."""
    package, folder, name = type_name.split("/")
    return getattr(import_module(f"{package}.{folder}"), name)


def _join(prefix: str, topic: CommandTopic) -> str:
    return prefix + topic.target.topic.lstrip("/") if prefix else topic.target.topic
