# SPDX-License-Identifier: Apache-2.0
"""JointState messages -> positions in the profile's order, by name.

Several publishers may share a topic, each with joints of its own (arm and gripper, two arms, a base
that is not the profile's): a message is a *part*, and every joint has the stamp of its own part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import StateTopic, state_topics
from adamoe_ros.streams.clocks import clock_line, other_clock
from adamoe_ros.streams.messages import JointStateMessage, all_finite, stamp_ns

Vector = NDArray[np.float64]
_NAMED = 12  # joints that a line lists


@dataclass(frozen=True)
class JointPart:
    """Positions of the joints that one message has.

    Attributes:
        columns: their places in ``RobotProfile.joint_ids``; empty: the message has none of them.
        values: (len(columns),) float64, driver's units.
    """

    columns: tuple[int, ...]
    values: Vector

    def at(self, time_ns: int) -> Vector:
        """The values, whatever the time: as of ``CommandedMotion``."""
        return self.values


@dataclass(frozen=True)
class JointSample:
    """The complete joint state of a robot.

    Attributes:
        stamp_ns: oldest of the joints' newest stamps.
        positions: (J,) float64, order of ``RobotProfile.joint_ids``, driver's state units.
        valid_until_ns: from then on a joint's time-out is exceeded.
    """

    stamp_ns: int
    positions: Vector
    valid_until_ns: int


class JointStateDecoder:
    """Reads the messages of one topic.

    Args:
        topic: what is taken from it.

    Attributes:
        others: joints of its last message that is no part of the topic's.
    """

    def __init__(self, topic: StateTopic) -> None:
        self.topic = topic
        self.others: tuple[str, ...] = ()
        self._where = f"joint states on {topic.source.topic}"
        # names of a message -> places in it, columns of the profile; one entry a publisher
        self._known: dict[tuple[str, ...], tuple[NDArray[np.intp], tuple[int, ...]]] = {}

    def decode(self, message: JointStateMessage) -> JointPart:
        """The topic's joints that a message has; other names in it are ignored.

        Raises:
            ContractError: counts differ, a joint stands twice, or a value is not finite.
        """
        names, count = tuple(message.name), len(message.position)
        if self.topic.source.match == "index":
            part = JointPart(self.topic.columns, self._by_index(message.position))
        else:
            if count not in (len(names), 0):  # none: the driver sends velocities or efforts alone
                raise ContractError(
                    problem(self._where, f"{len(names)} positions", count, "correct the driver")
                )
            places, columns = self._find(names if count else ())
            part = JointPart(columns, np.asarray(message.position, np.float64)[places])
            if not columns:
                self.others = names if count else ("no positions",)
        if not all_finite(part.values):
            self._refuse_values(part)
        return part

    def _refuse_values(self, part: JointPart) -> None:
        names = dict(zip(self.topic.columns, self.topic.names, strict=True))
        bad = [
            names[column]
            for column, value in zip(part.columns, part.values, strict=True)
            if not np.isfinite(value)
        ]
        raise ContractError(
            problem(
                self._where, "finite positions", f"none of {', '.join(bad)}", "check the driver"
            )
        )

    def _by_index(self, positions: Sequence[float]) -> Vector:
        if len(positions) != len(self.topic.names):
            raise ContractError(
                problem(
                    self._where,
                    f"exactly {len(self.topic.names)} positions, as they are matched by index",
                    len(positions),
                    "use match: name or correct the profile's joints",
                )
            )
        return np.array(positions, np.float64)

    def _find(self, names: tuple[str, ...]) -> tuple[NDArray[np.intp], tuple[int, ...]]:
        known = self._known.get(names)
        if known is not None:
            return known
        repeated = sorted({name for name in self.topic.names if names.count(name) > 1})
        if repeated:
            got = f"twice {', '.join(repeated)}"
            raise ContractError(problem(self._where, "each joint once", got, "fix the driver"))
        own = [
            (names.index(name), column)
            for name, column in zip(self.topic.names, self.topic.columns, strict=True)
            if name in names
        ]
        if len(self._known) >= len(self.topic.names) + 1:
            self._known.clear()  # a driver whose names vary without end
        places = np.array([place for place, _ in own], np.intp)
        found = places, tuple(column for _, column in own)
        self._known[names] = found
        return found


class JointStateReader:
    """Joins the state topics of a robot into one vector, with an age per joint.

    Args:
        profile: the robot.

    Attributes:
        topics: every topic to subscribe to, once.
    """

    def __init__(self, profile: RobotProfile) -> None:
        self.topics = state_topics(profile)
        self._ids = profile.joint_ids
        self._decoders = {topic.source.topic: JointStateDecoder(topic) for topic in self.topics}
        self._positions = np.zeros(len(self._ids))
        self._stamps = np.zeros(len(self._ids), np.int64)  # 0: never heard
        self._until = np.zeros(len(self._ids), np.int64)
        self._refused: dict[str, str] = {}  # topic -> why its last message does not count

    def decode(
        self, topic: str, message: JointStateMessage, arrival_ns: int
    ) -> tuple[int, JointPart]:
        """One message alone: its stamp (arrival where it has none that counts) and its joints.

        Raises:
            ContractError: as ``JointStateDecoder.decode``.
        """
        decoder = self._decoders[topic]
        part = decoder.decode(message)
        by_header = decoder.topic.source.stamp == "header"
        return (by_header and stamp_ns(message.header.stamp)) or arrival_ns, part

    def push(self, topic: str, message: JointStateMessage, arrival_ns: int) -> JointSample | None:
        """Take a message; the whole state once every joint has been heard, else None.

        Raises:
            ContractError: as ``JointStateDecoder.decode``, or the stamp is of another clock; the
                state before stays.
        """
        try:
            stamp, part = self.decode(topic, message, arrival_ns)
            if part.columns and other_clock(stamp, arrival_ns):
                raise ContractError(f"joint states on {topic}: {clock_line(stamp, arrival_ns)}")
        except ContractError as error:
            self._refused[topic] = str(error)
            raise
        if part.columns:
            columns = list(part.columns)
            self._refused.pop(topic, None)
            self._positions[columns] = part.values
            self._stamps[columns] = stamp
            # a stamp ahead of its arrival does not make a joint valid for longer
            timeout = round(self._decoders[topic].topic.source.timeout * 1e9)
            self._until[columns] = min(stamp, arrival_ns) + timeout
        return self.sample

    @property
    def sample(self) -> JointSample | None:
        """The newest whole state; None before every joint has been heard."""
        stamp = int(self._stamps.min())
        if stamp == 0:
            return None
        return JointSample(stamp, self._positions.copy(), int(self._until.min()))

    def problems(self, now_ns: int, do: str = "start the driver") -> list[str]:
        """One line per topic that has joints without a fresh position; empty: all are fresh.

        Args:
            do: what to do about a topic that sends nothing.
        """
        found = (self._problem(topic, now_ns, do) for topic in self.topics)
        return [line for line in found if line]

    def _problem(self, topic: StateTopic, now_ns: int, do: str) -> str:
        name = topic.source.topic
        columns = list(topic.columns)
        never = [column for column in columns if self._stamps[column] == 0]
        stale = [column for column in columns if now_ns > self._until[column]]
        if stale and name in self._refused:
            return self._refused[name]
        where = f"joint states on {name}"
        if never:
            whole = len(never) == len(columns)
            others = self._decoders[name].others
            if whole and not others:
                return problem(where, "a message", "none yet", do)
            got = listed(others) if whole else f"none of {self._named(never)}"
            wanted = self._named(never if whole else columns)
            do = "start their driver, or correct the names in the profile"
            return problem(where, f"the joints {wanted}", got, do)
        if stale:
            age = (now_ns - min(int(self._stamps[column]) for column in stale)) / 1e9
            which = "" if len(stale) == len(columns) else f" of {self._named(stale)}"
            do = "start the driver again, synchronise the hosts' clocks, or set use_sim_time as it has it"
            return problem(where, f"fresh stamps{which}", f"{age:.2f} s old ones", do)
        return ""

    def _named(self, columns: Sequence[int]) -> str:
        return listed([self._ids[column] for column in columns])

    def others(self, topic: str) -> tuple[str, ...]:
        """Joints of the last message on a topic that has none of the profile's."""
        return self._decoders[topic].others


def listed(names: Sequence[str]) -> str:
    """Names for a line, the first of many."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
