# SPDX-License-Identifier: Apache-2.0
"""Which ROS 2 is used: the one that is sourced, or the wheels.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DISTROS = ("humble", "jazzy", "kilted")
# what a sourced ROS adds to a shell and its nodes need; kept for shells where it is not sourced
KEPT = (
    "AMENT_PREFIX_PATH",
    "CMAKE_PREFIX_PATH",
    "COLCON_PREFIX_PATH",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONPATH",
    "ROS_DISTRO",
    "ROS_PYTHON_VERSION",
    "ROS_VERSION",
)


class RosSourceError(Exception):
    """A ROS is sourced that cannot be used; the text is the line for the person."""


@dataclass(frozen=True)
class RosSource:
    """Where ROS comes from.

    Attributes:
        distro: humble, jazzy or kilted.
        wheels: true for the wheels in ``.venv``, false for the ROS that is sourced.
        prefixes: AMENT_PREFIX_PATH of the sourced one without this repository's own overlay.
    """

    distro: str
    wheels: bool
    prefixes: tuple[Path, ...] = field(default=())


def choose(environment: Mapping[str, str], root: Path) -> RosSource:
    """Decide from the environment.

    A prefix counts as ROS when it has rclpy. This repository's own ``install`` and ``.venv`` do not
    count, so that set-up from a shell with a sourced overlay decides as from a fresh one.

    Raises:
        RosSourceError: a ROS 1, a distribution this package does not know, or half a ROS.
    """
    distro = environment.get("ROS_DISTRO", "")
    own = (root / "install", root / ".venv")
    named = [Path(part) for part in environment.get("AMENT_PREFIX_PATH", "").split(":") if part]
    prefixes = tuple(
        path for path in named if not any(path == mine or mine in path.parents for mine in own)
    )
    if not prefixes:
        if environment.get("ROS_VERSION") == "1":
            raise RosSourceError(
                f"ROS: expected ROS 2 or none, got ROS 1 {distro}; use a shell without it"
            )
        return RosSource("kilted", wheels=True)
    if not any((path / "share" / "rclpy").is_dir() for path in prefixes):
        raise RosSourceError(
            f"ROS: expected rclpy under one of AMENT_PREFIX_PATH={':'.join(map(str, prefixes))}, "
            "found none; source /opt/ros/<distro>/setup.bash first, or unset AMENT_PREFIX_PATH"
        )
    if distro not in DISTROS:
        raise RosSourceError(
            f"ROS_DISTRO: expected one of {', '.join(DISTROS)}, got {distro or 'nothing'!r}; "
            "source another one, or none to use the wheels"
        )
    return RosSource(distro, wheels=False, prefixes=prefixes)
