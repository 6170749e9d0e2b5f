# SPDX-License-Identifier: Apache-2.0
"""The parts of ROS messages that are read here, as structural types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Stamp(Protocol):
    """builtin_interfaces/Time."""

    @property
    def sec(self) -> int:
        """Whole seconds."""

    @property
    def nanosec(self) -> int:
        """Remaining nanoseconds."""


class Header(Protocol):
    """std_msgs/Header."""

    @property
    def stamp(self) -> Any:
        """Acquisition time."""


class ImageMessage(Protocol):
    """sensor_msgs/Image; ``data`` is anything with a buffer."""

    header: Any
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


class CompressedImageMessage(Protocol):
    """sensor_msgs/CompressedImage; ``data`` is anything with a buffer."""

    header: Any
    format: str
    data: Any


class JointStateMessage(Protocol):
    """sensor_msgs/JointState."""

    header: Any
    name: Sequence[str]
    position: Sequence[float]


def stamp_ns(stamp: Stamp) -> int:
    """Time message -> ns; 0 means that the driver left it empty."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


CLOCK_TOLERANCE_S = 2.0  # stamp to arrival; beyond it the stamp is of another clock
STANDING = 4  # messages in a row with the stamp of the one before: its clock stands
_DEVICE_UPTIME_S = 3e8  # ten years: a smaller stamp counts from a start, not from 1970


def other_clock(stamp: int, arrival_ns: int) -> bool:
    """Whether a stamp is so far from its arrival that it must be of another clock; both ns."""
    return abs(arrival_ns - stamp) > CLOCK_TOLERANCE_S * 1e9


def clock_line(stamp: int, arrival_ns: int) -> str:
    """How far a stamp of another clock is off, and what to do; both ns."""
    off = (arrival_ns - stamp) / 1e9
    side = "behind" if off > 0 else "ahead of"
    if 0 <= stamp / 1e9 < _DEVICE_UPTIME_S < arrival_ns / 1e9:
        text = f"stamps count from the device's start: {stamp / 1e9:.1f} s, {off:.1f} s {side} "
    else:
        text = f"stamps are {abs(off):.1f} s {side} "
    return (
        f"{text}their arrival; synchronise the clocks, set use_sim_time for a simulator or bag, or "
        "'stamp: arrival' for this stream in the profile"
    )


def standing_line(stamp: int) -> str:
    """That a driver's stamp, ns, never changes, and what to do."""
    return (
        f"stamps stand still at {stamp / 1e9:.3f} s; correct the driver, or set 'stamp: arrival' "
        "for this stream in the profile"
    )


def all_finite(values: NDArray[np.float64]) -> bool:
    """Whether no value of a (N,) vector is NaN or infinite; one pass where all are."""
    return math.isfinite(values @ values) or bool(np.isfinite(values).all())
