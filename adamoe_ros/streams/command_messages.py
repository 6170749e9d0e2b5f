# SPDX-License-Identifier: Apache-2.0
"""Command messages -> vectors in the profile's order: the inverse of ``commands``, for recordings.

Messages are duck-typed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import CommandTopic, command_topics
from adamoe_ros.streams.messages import all_finite, stamp_ns

Vector = NDArray[np.float64]


class CommandReader:
    """Reads the command topics of a robot, in the driver's command units.

    Args:
        profile: the robot.

    Attributes:
        topics: every command topic, once.
    """

    def __init__(self, profile: RobotProfile) -> None:
        self.topics = command_topics(profile)
        self._by_name = {topic.target.topic: topic for topic in self.topics}
        self._columns = {topic.target.topic: np.array(topic.columns) for topic in self.topics}
        self._named: dict[str, tuple[Sequence[str], NDArray[np.intp]]] = {}
        self._positions = np.full(len(profile.joint_ids), np.nan)

    def push(self, topic: str, message: Any, arrival_ns: int) -> tuple[int, Vector] | None:
        """Take a message; joints that it leaves out keep what they were told before.

        Returns:
            Its stamp (arrival where it has none) and the positions of the topic's joints, in the
            order of ``CommandTopic.columns``; None before each of them was told.

        Raises:
            ContractError: names, number or values do not fit.
        """
        known = self._by_name[topic]
        names, values = _content(known, message)
        self._write(known, names, values)
        header = getattr(message, "header", None)
        stamp = stamp_ns(header.stamp) if header is not None else 0
        own = self._positions[self._columns[topic]]
        return (stamp or arrival_ns, own) if all_finite(own) else None

    @property
    def whole(self) -> Vector | None:
        """(J,) what every joint was last told; None before."""
        return self._positions.copy() if all_finite(self._positions) else None

    def _write(self, topic: CommandTopic, names: Sequence[str], values: Vector) -> None:
        where = f"commands on {topic.target.topic}"
        if not all_finite(values):
            raise ContractError(problem(where, "finite positions", "NaN or inf", "leave it out"))
        if not len(names):
            names = topic.names
        if len(names) != len(values):
            got = f"{len(values)} positions"
            raise ContractError(problem(where, f"{len(names)} positions", got, "check the profile"))
        known = self._named.get(topic.target.topic)
        if known is None or known[0] != names:
            known = self._named[topic.target.topic] = names, self._places(topic, names, where)
        self._positions[known[1]] = values

    @staticmethod
    def _places(topic: CommandTopic, names: Sequence[str], where: str) -> NDArray[np.intp]:
        places = dict(zip(topic.names, topic.columns, strict=True))
        unknown = [name for name in names if name not in places]
        if unknown:
            expected = f"the joints {', '.join(topic.names)}"
            raise ContractError(problem(where, expected, ", ".join(unknown), "check the profile"))
        return np.array([places[name] for name in names], np.intp)


def _content(topic: CommandTopic, message: Any) -> tuple[Sequence[str], Vector]:
    """Names (empty: all, in the profile's order) and positions of one message."""
    kind = topic.target.type
    if kind == "joint_state":
        return list(message.name), np.array(message.position, np.float64)
    if kind == "joint_trajectory":
        if len(message.points) != 1:
            where, got = f"commands on {topic.target.topic}", f"{len(message.points)} points"
            raise ContractError(problem(where, "trajectories of one point", got, "use next_state"))
        return list(message.joint_names), np.array(message.points[0].positions, np.float64)
    if kind == "interbotix":
        values = np.atleast_1d(np.array(message.cmd, np.float64))
        single = getattr(message, "name", "") if values.size == 1 else ""
        return [single] if single in topic.names else [], values
    return [], np.array(message.data, np.float64)
