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


def all_finite(values: NDArray[np.float64]) -> bool:
    """Whether no value of a (N,) vector is NaN or infinite; one pass where all are."""
    return math.isfinite(values @ values) or bool(np.isfinite(values).all())
