# SPDX-License-Identifier: Apache-2.0
"""A robot that is where it was commanded to be: commands become states, no physics.

For trying a profile, a launch file or a network without the robot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.joint_map import state_to_command
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import StateTopic, command_topics
from adamoe_ros.streams.commands import CommandDecoder


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
        self._decoder = CommandDecoder(command_topics(profile))

    def command(self, topic: str, message: Any, now_ns: int) -> None:
        """Take a command message.

        Raises:
            ContractError: it does not fit; the state stays.
        """
        self._decoder.push(topic, message, now_ns)
        self.advance(now_ns)

    def advance(self, now_ns: int) -> None:
        """Go where the commands say that the joints are at a moment."""
        command = self._to_command.apply(self.state)
        for motion in self._decoder.motions:
            command[list(motion.columns)] = motion.at(now_ns)
        self.state = self._to_command.invert(command)

    def positions(self, topic: StateTopic) -> list[float]:
        """Values for one state message, in the order of ``topic.names``."""
        return [float(self.state[column]) for column in topic.columns]
