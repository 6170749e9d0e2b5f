# SPDX-License-Identifier: Apache-2.0
"""Joint commands as messages and back: one codec per command type of a profile.

A new command message is one class and one entry of ``CODECS``; a profile may name a codec of the
user's own as ``module:attribute``. Messages are duck-typed and made by a factory, so live topics and
bags share these lines.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.streams.messages import stamp_ns

Rows = NDArray[np.float64]
# ("package/msg/Name", field=value, ...) -> message; fields left out have their default, numeric
# arrays are numpy arrays
Make = Callable[..., Any]
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class JointCommand:
    """What one command message carries; driver's command units.

    Attributes:
        names: of the columns; empty: the message names none, they are the topic's in its order.
        positions: (K, N) one row per point; K = 1 but for trajectories.
        velocities: (K, N) per second; None: not given.
        times_s: (K,) when each row is to be reached, after the start.
        stamp_ns: start of the motion; 0: as soon as it arrives.
    """

    names: tuple[str, ...]
    positions: Rows
    velocities: Rows | None = None
    times_s: tuple[float, ...] = (0.0,)
    stamp_ns: int = 0


class CommandCodec(ABC):
    """One command type.

    Attributes:
        type_name: of the message, ``package/msg/Name``.
        definitions: type name -> .msg text of what no ROS distribution brings, for bags.
    """

    type_name: ClassVar[str] = ""
    definitions: ClassVar[Mapping[str, str]] = {}

    def message_type(self, joints: int) -> str:
        """Type name for a topic with so many joints."""
        return self.type_name

    @abstractmethod
    def encode(self, command: JointCommand, make: Make) -> Any:
        """A message; what it has no field for is left out.

        Args:
            command: its names are never empty.
        """

    @abstractmethod
    def decode(self, message: Any, names: Sequence[str]) -> JointCommand:
        """What a message carries.

        Args:
            names: the topic's joints, in the profile's order.

        Raises:
            ValueError: it carries no command; "expected ..., got ...".
        """


def make_time(make: Make, stamp_ns: int) -> Any:
    """builtin_interfaces/Time."""
    sec, nanosec = divmod(stamp_ns, _SECOND)
    return make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)


def make_header(make: Make, stamp_ns: int) -> Any:
    """std_msgs/Header without a frame."""
    return make("std_msgs/msg/Header", stamp=make_time(make, stamp_ns))


class JointStateCodec(CommandCodec):
    """sensor_msgs/JointState."""

    type_name = "sensor_msgs/msg/JointState"

    def encode(self, command: JointCommand, make: Make) -> Any:
        """The first row."""
        return make(
            self.type_name,
            header=make_header(make, command.stamp_ns),
            name=list(command.names),
            position=command.positions[0],
            velocity=_none() if command.velocities is None else command.velocities[0],
        )

    def decode(self, message: Any, names: Sequence[str]) -> JointCommand:
        """Names may be left out."""
        return JointCommand(
            tuple(message.name), _row(message.position), stamp_ns=stamp_ns(message.header.stamp)
        )


class JointTrajectoryCodec(CommandCodec):
    """trajectory_msgs/JointTrajectory."""

    type_name = "trajectory_msgs/msg/JointTrajectory"
    _POINT: ClassVar[str] = "trajectory_msgs/msg/JointTrajectoryPoint"

    def encode(self, command: JointCommand, make: Make) -> Any:
        """The stamp stays 0, which a trajectory controller reads as 'now'."""
        points = []
        for row, time_s in enumerate(command.times_s):
            sec, nanosec = divmod(round(time_s * 1e9), _SECOND)
            points.append(
                make(
                    self._POINT,
                    positions=command.positions[row],
                    velocities=_none() if command.velocities is None else command.velocities[row],
                    time_from_start=make(
                        "builtin_interfaces/msg/Duration", sec=sec, nanosec=nanosec
                    ),
                )
            )
        return make(self.type_name, joint_names=list(command.names), points=points)

    def decode(self, message: Any, names: Sequence[str]) -> JointCommand:
        """Every point; times must rise."""
        points = message.points
        if not len(points):
            raise ValueError("expected a trajectory of at least one point, got none")
        widths = {len(point.positions) for point in points}
        if len(widths) > 1 or widths == {0}:
            raise ValueError("expected positions for every joint in every point, got other counts")
        times = tuple(stamp_ns(point.time_from_start) / 1e9 for point in points)
        if any(later <= earlier for earlier, later in pairwise(times)):
            raise ValueError("expected points at rising times, got one that does not come later")
        return JointCommand(
            tuple(message.joint_names),
            np.array([point.positions for point in points], np.float64),
            times_s=times,
            stamp_ns=stamp_ns(message.header.stamp),
        )


class Float64MultiArrayCodec(CommandCodec):
    """std_msgs/Float64MultiArray, for controllers that take values in a fixed order."""

    type_name = "std_msgs/msg/Float64MultiArray"

    def encode(self, command: JointCommand, make: Make) -> Any:
        """The first row; there is no stamp."""
        return make(self.type_name, data=command.positions[0])

    def decode(self, message: Any, names: Sequence[str]) -> JointCommand:
        """In the topic's order."""
        return JointCommand((), _row(message.data))


class InterbotixCodec(CommandCodec):
    """JointGroupCommand for several joints, JointSingleCommand for one."""

    type_name = "interbotix_xs_msgs/msg/JointGroupCommand"
    _SINGLE: ClassVar[str] = "interbotix_xs_msgs/msg/JointSingleCommand"
    _GROUP: ClassVar[str] = "arm"  # the group's name in Interbotix' motor configurations
    definitions: ClassVar[Mapping[str, str]] = {
        type_name: "string name\nfloat32[] cmd\n",
        _SINGLE: "string name\nfloat32 cmd\n",
    }

    def message_type(self, joints: int) -> str:
        """Group or single."""
        return self.type_name if joints > 1 else self._SINGLE

    def encode(self, command: JointCommand, make: Make) -> Any:
        """The first row; there is no stamp."""
        row = command.positions[0]
        if len(command.names) == 1:
            return make(self._SINGLE, name=command.names[0], cmd=float(row[0]))
        return make(self.type_name, name=self._GROUP, cmd=row.astype(np.float32))

    def decode(self, message: Any, names: Sequence[str]) -> JointCommand:
        """A group in the topic's order, a single joint by its name."""
        row = _row(np.atleast_1d(message.cmd))
        single = row.size == 1 and message.name != self._GROUP
        return JointCommand((message.name,) if single else (), row)


CODECS: dict[str, CommandCodec] = {
    "joint_state": JointStateCodec(),
    "joint_trajectory": JointTrajectoryCodec(),
    "float64_multi_array": Float64MultiArrayCodec(),
    "interbotix": InterbotixCodec(),
}


def command_codec(type_: str, where: str = "command.type") -> CommandCodec:
    """The codec of a profile's command type.

    Args:
        type_: key of ``CODECS``, or ``module:attribute``: an instance or a class of a codec.
        where: start of an error line.

    Raises:
        ContractError: there is none.
    """
    if type_ in CODECS:
        return CODECS[type_]
    known = f"one of {', '.join(CODECS)}, or module:attribute of a CommandCodec of your own"
    module, _, attribute = type_.partition(":")
    if not attribute:
        raise ContractError(problem(where, known, repr(type_), "correct the profile"))
    try:
        found = getattr(importlib.import_module(module), attribute)
        made = found() if isinstance(found, type) else found
    except Exception as error:  # whatever the user's module does when it is imported
        got = f"{type_!r} ({type(error).__name__}: {error})"
        raise ContractError(problem(where, known, got, "check the module's path")) from error
    if not isinstance(made, CommandCodec):
        got = f"{type_!r}, a {type(made).__name__}"
        raise ContractError(problem(where, known, got, "derive it from CommandCodec"))
    return made


def _row(values: Any) -> Rows:
    return np.array(values, np.float64).reshape(1, -1)


def _none() -> Rows:
    return np.zeros(0)
