# SPDX-License-Identifier: Apache-2.0
"""JointState messages -> vectors in the profile's order, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import StateTopic, state_topics
from adamoe_ros.streams.messages import JointStateMessage, all_finite, stamp_ns

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class JointSample:
    """The complete joint state of a robot.

    Attributes:
        stamp_ns: oldest of the topics' newest stamps.
        positions: (J,) float64, order of ``RobotProfile.joint_ids``, driver's state units.
        valid_until_ns: from then on a topic's time-out is exceeded.
    """

    stamp_ns: int
    positions: Vector
    valid_until_ns: int


class JointStateDecoder:
    """Reads the messages of one topic.

    Args:
        topic: what is taken from it.
    """

    def __init__(self, topic: StateTopic) -> None:
        self.topic = topic
        self._seen: tuple[str, ...] = ()
        self._places: list[int] = []

    def decode(self, message: JointStateMessage) -> Vector:
        """Positions in the order of ``topic.names``; other names in the message are ignored.

        Returns:
            (len(topic.names),) float64, driver's units.

        Raises:
            ContractError: a joint is missing, counts differ, or a value is not finite.
        """
        where = f"joint states on {self.topic.source.topic}"
        names, count = tuple(message.name), len(message.position)
        if self.topic.source.match == "index":
            values = self._by_index(where, message.position)
        else:
            if count != len(names):
                raise ContractError(
                    problem(where, f"{len(names)} positions", count, "correct the driver")
                )
            if names != self._seen or not self._places:
                self._places = self._find(where, names)
                self._seen = names
            values = np.array([message.position[place] for place in self._places], np.float64)
        if not all_finite(values):
            bad = [
                name
                for name, value in zip(self.topic.names, values, strict=True)
                if not np.isfinite(value)
            ]
            raise ContractError(
                problem(where, "finite positions", f"none of {', '.join(bad)}", "check the driver")
            )
        return values

    def _by_index(self, where: str, positions: Sequence[float]) -> Vector:
        if len(positions) != len(self.topic.names):
            raise ContractError(
                problem(
                    where,
                    f"exactly {len(self.topic.names)} positions, as they are matched by index",
                    len(positions),
                    "use match: name or correct the profile's joints",
                )
            )
        return np.array(positions, np.float64)

    def _find(self, where: str, names: tuple[str, ...]) -> list[int]:
        missing = [name for name in self.topic.names if name not in names]
        if missing:
            raise ContractError(
                problem(
                    where,
                    f"the joints {', '.join(missing)}",
                    ", ".join(names) or "no names",
                    "correct the names in the profile",
                )
            )
        repeated = sorted({name for name in self.topic.names if names.count(name) > 1})
        if repeated:
            raise ContractError(
                problem(where, "each joint once", f"twice {', '.join(repeated)}", "fix the driver")
            )
        return [names.index(name) for name in self.topic.names]


class JointStateReader:
    """Joins the state topics of a robot into one vector.

    Args:
        profile: the robot.

    Attributes:
        topics: every topic to subscribe to, once.
    """

    def __init__(self, profile: RobotProfile) -> None:
        self.topics = state_topics(profile)
        self._decoders = {topic.source.topic: JointStateDecoder(topic) for topic in self.topics}
        self._stamps: dict[str, int] = {}
        self._positions = np.zeros(len(profile.joint_ids))

    def decode(self, topic: str, message: JointStateMessage, arrival_ns: int) -> tuple[int, Vector]:
        """One message alone: its stamp (arrival where the driver leaves it empty) and values.

        Raises:
            ContractError: as ``JointStateDecoder.decode``.
        """
        values = self._decoders[topic].decode(message)
        return stamp_ns(message.header.stamp) or arrival_ns, values

    def push(self, topic: str, message: JointStateMessage, arrival_ns: int) -> JointSample | None:
        """Take a message; the whole state once every topic has been heard, else None.

        Raises:
            ContractError: as ``JointStateDecoder.decode``; the state before stays.
        """
        stamp, values = self.decode(topic, message, arrival_ns)
        self._positions[list(self._decoders[topic].topic.columns)] = values
        self._stamps[topic] = stamp
        return self.sample

    @property
    def sample(self) -> JointSample | None:
        """The newest whole state; None before every topic has been heard."""
        if len(self._stamps) < len(self.topics):
            return None
        until = min(
            self._stamps[topic.source.topic] + round(topic.source.timeout * 1e9)
            for topic in self.topics
        )
        return JointSample(min(self._stamps.values()), self._positions.copy(), until)

    def missing(self) -> list[str]:
        """Topics that have not been heard yet."""
        return [
            topic.source.topic for topic in self.topics if topic.source.topic not in self._stamps
        ]
