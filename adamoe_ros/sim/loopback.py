# SPDX-License-Identifier: Apache-2.0
"""A robot that is where it was commanded to be: commands become states, no physics.

For trying a profile, a launch file or a network without the robot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.joint_map import state_to_command
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import CommandTopic, StateTopic


class LoopbackRobot:
    """Joint values of a profile, driven by its commands.

    Args:
        profile: gives joints, home pose and the conversion between command and state units.

    Attributes:
        state: (J,) float64, driver's state units, in the order of ``profile.joint_ids``.
    """

    def __init__(self, profile: RobotProfile) -> None:
        home = [value for _, arm in profile.ordered_arms for value in arm.home]
        self.state: NDArray[np.float64] = np.array(home, dtype=np.float64)
        self._to_command = state_to_command(profile)

    def command(self, topic: CommandTopic, values: Sequence[float], names: Sequence[str]) -> None:
        """Take over one command message.

        Args:
            topic: where it came from.
            values: rad or m, driver's command units; NaN leaves a joint where it is.
            names: joint of each value; empty: in the topic's order.
        """
        command = self._to_command.apply(self.state)
        for name, value in zip(names or topic.names, values, strict=True):
            if name in topic.names and not np.isnan(value):
                command[topic.columns[topic.names.index(name)]] = value
        self.state = self._to_command.invert(command)

    def positions(self, topic: StateTopic) -> list[float]:
        """Values for one state message, in the order of ``topic.names``."""
        return [float(self.state[column]) for column in topic.columns]
