# SPDX-License-Identifier: Apache-2.0
"""Publishers of a robot's commands: one per command topic, message type by profile."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import CommandTopic
from adamoe_ros.ros import names, qos
from adamoe_ros.streams.commands import CommandBuilder, TopicCommand

_ARM_GROUP = "arm"  # the group's name in Interbotix' motor configurations of the followers

Fill = Callable[[TopicCommand, Any], Any]  # command, stamp -> message


class CommandOutputs:
    """Sends command vectors to the robot, or to shadow topics.

    Args:
        node: publishers are made on it.
        profile: the robot.
        shadow: publish below ``~/shadow/`` instead.
        trajectory_time: s, time_from_start of JointTrajectory points.

    Raises:
        ContractError: a message package of the profile is not installed.
    """

    def __init__(
        self, node: Node, profile: RobotProfile, shadow: bool, trajectory_time: float
    ) -> None:
        self._node = node
        self._builder = CommandBuilder(profile, trajectory_time)
        kinds = [message_type(topic) for topic in self._builder.topics]
        prefix = names.SHADOW_PREFIX if shadow else ""
        self._outputs = [
            (
                node.create_publisher(kind, _join(prefix, topic), qos.COMMAND),
                _FILLS[topic.target.type],
            )
            for kind, topic in zip(kinds, self._builder.topics, strict=True)
        ]

    def send(self, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> None:
        """Publish one command.

        Args:
            positions: (J,) driver's command units, finite.
            velocities: (J,) the same per second; used where the profile asks for them.
        """
        stamp = self._node.get_clock().now().to_msg()
        commands = self._builder.build(positions, velocities)
        for (publisher, fill), command in zip(self._outputs, commands, strict=True):
            publisher.publish(fill(command, stamp))

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher, _ in self._outputs:
            self._node.destroy_publisher(publisher)
        self._outputs = []


def message_type(topic: CommandTopic) -> Any:
    """Message class of a command topic.

    Raises:
        ContractError: its package is not installed.
    """
    if topic.target.type != "interbotix":
        return _TYPES[topic.target.type]
    try:
        from interbotix_xs_msgs import msg
    except ImportError as error:
        raise ContractError(
            problem(
                f"command topic {topic.target.topic}",
                "interbotix_xs_msgs to import",
                error,
                "source the Interbotix workspace, or set another command type in the profile",
            )
        ) from error
    return msg.JointGroupCommand if len(topic.names) > 1 else msg.JointSingleCommand


def _join(prefix: str, topic: CommandTopic) -> str:
    return prefix + topic.target.topic.lstrip("/") if prefix else topic.target.topic


def _joint_state(command: TopicCommand, stamp: Any) -> JointState:
    message = JointState(
        name=list(command.names),
        position=array.array("d", command.positions),
        velocity=array.array("d", command.velocities),
    )
    message.header.stamp = stamp
    return message


def _trajectory(command: TopicCommand, stamp: Any) -> JointTrajectory:
    """One point; the header's stamp stays 0, which a trajectory controller reads as 'now'."""
    point = JointTrajectoryPoint(
        positions=array.array("d", command.positions),
        velocities=array.array("d", command.velocities),
        time_from_start=Duration(seconds=command.time_from_start_s).to_msg(),
    )
    return JointTrajectory(joint_names=list(command.names), points=[point])


def _array(command: TopicCommand, stamp: Any) -> Float64MultiArray:
    return Float64MultiArray(data=array.array("d", command.positions))


def _interbotix(command: TopicCommand, stamp: Any) -> Any:
    from interbotix_xs_msgs import msg

    if len(command.names) == 1:
        return msg.JointSingleCommand(name=command.names[0], cmd=command.positions[0])
    return msg.JointGroupCommand(name=_ARM_GROUP, cmd=command.positions)


_TYPES: dict[str, Any] = {
    "joint_state": JointState,
    "joint_trajectory": JointTrajectory,
    "float64_multi_array": Float64MultiArray,
}
_FILLS: dict[str, Fill] = {
    "joint_state": _joint_state,
    "joint_trajectory": _trajectory,
    "float64_multi_array": _array,
    "interbotix": _interbotix,
}
