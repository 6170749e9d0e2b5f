# SPDX-License-Identifier: Apache-2.0
"""Commands of a robot: vectors in the profile's order -> one message per topic, and back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import CommandTopic, command_topics
from adamoe_ros.streams.clocks import clock_line, other_clock
from adamoe_ros.streams.command_codecs import CommandCodec, JointCommand, Make, command_codec
from adamoe_ros.streams.messages import all_finite

Vector = NDArray[np.float64]
Rows = NDArray[np.float64]


def topic_codec(topic: CommandTopic) -> CommandCodec:
    """The codec of a command topic.

    Raises:
        ContractError: the profile names none that exists.
    """
    return command_codec(topic.target.type, f"type of command topic {topic.target.topic}")


def command_type(topic: CommandTopic) -> str:
    """Message type of a command topic, ``package/msg/Name``.

    Raises:
        ContractError: the profile names a command type that does not exist.
    """
    return topic_codec(topic).message_type(len(topic.names))


class CommandEncoder:
    """Splits command vectors by topic.

    Args:
        profile: the robot.
        trajectory_time_s: time_from_start of trajectory points, s; 0: two control periods.

    Attributes:
        topics: every command topic, once.
        types: their message types.

    Raises:
        ContractError: a command type of the profile does not exist.
    """

    def __init__(self, profile: RobotProfile, trajectory_time_s: float = 0.0) -> None:
        self.topics = command_topics(profile)
        self._codecs = [topic_codec(topic) for topic in self.topics]
        self.types = [command_type(topic) for topic in self.topics]
        self._columns = [np.array(topic.columns) for topic in self.topics]
        self._width = len(profile.joint_ids)
        self._times_s = (trajectory_time_s or 2.0 / profile.command_rate,)

    @property
    def definitions(self) -> dict[str, str]:
        """Type name -> .msg text, of types that no ROS distribution brings."""
        return {name: text for codec in self._codecs for name, text in codec.definitions.items()}

    def encode(
        self, positions: Vector, velocities: Vector | None, stamp_ns: int, make: Make
    ) -> list[Any]:
        """One message per command topic.

        Args:
            positions: (J,) driver's command units, finite.
            velocities: (J,) the same per second; used where the profile asks for them. None: none.
            stamp_ns: of the headers.
            make: message factory, see ``command_codecs``.

        Raises:
            ValueError: another width.
        """
        wrong = velocities is not None and velocities.shape != (self._width,)
        if positions.shape != (self._width,) or wrong:
            raise ValueError(f"command of {self._width} joints expected, got {positions.shape}")
        messages = []
        for topic, codec, columns in zip(self.topics, self._codecs, self._columns, strict=True):
            wanted = topic.target.velocity and velocities is not None
            command = JointCommand(
                topic.names,
                positions[None, columns],
                velocities[None, columns] if wanted and velocities is not None else None,
                self._times_s,
                stamp_ns,
            )
            messages.append(codec.encode(command, make))
        return messages


@dataclass(frozen=True)
class CommandedMotion:
    """What some joints were commanded by one message.

    Attributes:
        stamp_ns: start.
        columns: places in ``RobotProfile.joint_ids``.
        times_ns: K times when each row is to be reached.
        positions: (K, len(columns)) driver's command units.
    """

    stamp_ns: int
    columns: tuple[int, ...]
    times_ns: tuple[int, ...]
    positions: Rows

    def at(self, time_ns: int) -> Vector:
        """(len(columns),) set point of a moment: linear between points, the first before them."""
        place = bisect_right(self.times_ns, time_ns)
        if place == 0 or place == len(self.times_ns):
            return np.asarray(self.positions[min(place, len(self.times_ns) - 1)])
        before, after = self.times_ns[place - 1], self.times_ns[place]
        share = (time_ns - before) / (after - before)
        old, new = self.positions[place - 1], self.positions[place]
        return np.asarray(old + share * (new - old))


class CommandDecoder:
    """Reads the command topics of a robot, in the driver's command units.

    Args:
        topics: ``command_topics`` or ``leader_topics`` of the robot.
        what: they carry, for error lines.

    Attributes:
        topics: as given.
        others: topic -> joints in its messages that the profile does not have.

    Raises:
        ContractError: a command type of the profile does not exist.
    """

    def __init__(self, topics: Sequence[CommandTopic], what: str = "commands") -> None:
        self.topics, self._what = topics, what
        self.others: dict[str, tuple[str, ...]] = {}
        self._by_name = {topic.target.topic: topic for topic in self.topics}
        self._codecs = {topic.target.topic: topic_codec(topic) for topic in self.topics}
        # topic -> names of its last message, columns and places of those that are the profile's
        self._places: dict[str, tuple[Sequence[str], tuple[int, ...], NDArray[np.intp]]] = {}
        self._motions: dict[tuple[int, ...], CommandedMotion] = {}

    def push(self, topic: str, message: Any, arrival_ns: int) -> CommandedMotion | None:
        """Take a message; joints that it does not name keep their command.

        Returns:
            What it commands; it starts at its stamp, at the arrival where it has none. None: it is
            for other joints alone.

        Raises:
            ContractError: names, number, values or stamp do not fit.
        """
        known = self._by_name[topic]
        where = f"{self._what} on {topic}"
        try:
            command = self._codecs[topic].decode(message, known.names)
        except (ValueError, TypeError, AttributeError) as error:
            line = f"{where}: {error}; check the publisher and the profile's type"
            raise ContractError(line) from error
        columns, places = self._own(known, where, command)
        if not columns:
            return None
        rows = command.positions[:, places]
        if not all_finite(rows.reshape(-1)):
            raise ContractError(problem(where, "finite positions", "NaN or inf", "leave it out"))
        start = self._start(known, where, command.stamp_ns, arrival_ns)
        times = tuple([start + round(time_s * 1e9) for time_s in command.times_s])
        motion = CommandedMotion(start, columns, times, rows)
        own = frozenset(columns)
        for key in [key for key in self._motions if own.issuperset(key)]:
            del self._motions[key]
        self._motions[columns] = motion  # last: it overrides the others where they overlap
        return motion

    @property
    def motions(self) -> Iterable[CommandedMotion]:
        """What was commanded last, a later one overrides an earlier one where both have a joint."""
        return self._motions.values()

    def _own(
        self, topic: CommandTopic, where: str, command: JointCommand
    ) -> tuple[tuple[int, ...], NDArray[np.intp]]:
        """Columns of the joints that are the profile's, and their places in the message."""
        names: Sequence[str] = command.names or topic.names
        width = command.positions.shape[1]
        if len(names) != width:
            got = f"{width} positions"
            raise ContractError(problem(where, f"{len(names)} positions", got, "check the profile"))
        known = self._places.get(topic.target.topic)
        if known is None or known[0] != names:  # messages repeat their names
            known = self._places[topic.target.topic] = (names, *self._found(topic, where, names))
        return known[1], known[2]

    def _found(
        self, topic: CommandTopic, where: str, names: Sequence[str]
    ) -> tuple[tuple[int, ...], NDArray[np.intp]]:
        columns = dict(zip(topic.names, topic.columns, strict=True))
        places = [place for place, name in enumerate(names) if name in columns]
        own = [names[place] for place in places]
        if len(set(own)) < len(own):
            raise ContractError(problem(where, "each joint once", ", ".join(own), "fix the driver"))
        if len(own) < len(names):
            self.others[topic.target.topic] = tuple(name for name in names if name not in columns)
        return tuple(columns[name] for name in own), np.array(places, np.intp)

    @staticmethod
    def _start(topic: CommandTopic, where: str, stamp_ns: int, arrival_ns: int) -> int:
        if not stamp_ns or topic.target.stamp == "arrival":
            return arrival_ns
        if other_clock(stamp_ns, arrival_ns):
            raise ContractError(f"{where}: {clock_line(stamp_ns, arrival_ns)}")
        return stamp_ns
