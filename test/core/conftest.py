# SPDX-License-Identifier: Apache-2.0
"""Core tests run as on a machine without ROS when ``ADAMOE_WITHOUT_ROS`` is set (make test-core)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process
# that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

_ROS = ("rclpy", "rosidl", "rmw_", "builtin_interfaces", "std_srvs", "rcl_interfaces", "launch_ros")
_OVERLAY = ("adamoe_ros.msg", "adamoe_ros.srv", "adamoe_ros.action")


class _NoRos(MetaPathFinder):
    """Refuses ROS packages, which the wheels put into the same environment."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top = name.partition(".")[0]
        if top.startswith(_ROS) or top.endswith("_msgs") or name.startswith(_OVERLAY):
            raise ModuleNotFoundError(f"No module named {name!r} (core tests run without ROS)")
        return None


if os.environ.get("ADAMOE_WITHOUT_ROS"):
    sys.meta_path.insert(0, _NoRos())
