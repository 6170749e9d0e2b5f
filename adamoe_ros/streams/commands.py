# SPDX-License-Identifier: Apache-2.0
"""Command vector -> what each command topic carries, as plain data.

The node turns these into messages field by field; nothing here knows ROS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.profile import CommandType, RobotProfile
from adamoe_ros.contract.topics import command_topics

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class TopicCommand:
    """What one message carries.

    Attributes:
        topic: as in the profile.
        type: message type of the profile. ``interbotix`` with one name is a JointSingleCommand,
            with several a JointGroupCommand.
        names: driver's names for commands, column order.
        positions: rad, grippers in the driver's command unit.
        velocities: rad/s or unit/s; empty where the profile does not ask for them.
        time_from_start_s: of a trajectory point; 0 for other types.
    """

    topic: str
    type: CommandType
    names: tuple[str, ...]
    positions: list[float]
    velocities: list[float]
    time_from_start_s: float = 0.0


class CommandBuilder:
    """Splits command vectors by topic.

    Args:
        profile: the robot.
        trajectory_time_s: time_from_start of trajectory points, s; 0: two control periods.
    """

    def __init__(self, profile: RobotProfile, trajectory_time_s: float = 0.0) -> None:
        self.topics = command_topics(profile)
        self._columns = [np.array(topic.columns) for topic in self.topics]
        self._width = len(profile.joint_ids)
        self._time_s = trajectory_time_s or 2.0 / profile.command_rate

    def build(self, positions: Vector, velocities: Vector) -> list[TopicCommand]:
        """One entry per command topic.

        Args:
            positions: (J,) driver's command units.
            velocities: (J,) the same per second.

        Raises:
            ValueError: another width.
        """
        if positions.shape != (self._width,) or velocities.shape != (self._width,):
            raise ValueError(f"command of {self._width} joints expected, got {positions.shape}")
        commands = []
        for topic, columns in zip(self.topics, self._columns, strict=True):
            target = topic.target
            wanted = target.velocity and target.type in ("joint_state", "joint_trajectory")
            commands.append(
                TopicCommand(
                    target.topic,
                    target.type,
                    topic.names,
                    positions[columns].tolist(),
                    velocities[columns].tolist() if wanted else [],
                    self._time_s if target.type == "joint_trajectory" else 0.0,
                )
            )
        return commands
