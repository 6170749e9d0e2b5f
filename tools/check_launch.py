#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run the launch files against the real launch and launch_ros.

For each file: load it, list its arguments, and resolve its actions as far as they need no other
package. With ``--run`` the bringup is really launched with control_node alone: the node must come up
as a process in the launch's namespace, hold, and end in order. launch and launch_ros are not on the
package index: run this where ROS 2 is installed, or put their sources on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE = "launch_check"


def describe(path: Path) -> list[str]:
    """Load one launch file; lines about arguments without a description."""
    from launch import LaunchContext
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    description = PythonLaunchDescriptionSource(str(path)).get_launch_description(LaunchContext())
    arguments = description.get_launch_arguments()
    print(f"{path.name}: {len(arguments)} arguments, {len(description.entities)} actions")
    return [
        f"{path.name}: argument {argument.name} has no description"
        for argument in arguments
        if not argument.description or argument.description == "no description given"
    ]


def run_bringup(robot: str, seconds: float) -> list[str]:
    """Launch control_node (and the loopback robot beside it), watch control_status, shut down."""
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch_ros.actions import Node

    arguments = {"robot": robot, "namespace": NAMESPACE, "policy": "false"}
    service = LaunchService(noninteractive=True)
    service.include_launch_description(
        LaunchDescription(
            [
                Node(
                    package="adamoe_ros",
                    executable="loopback_node",
                    namespace=NAMESPACE,
                    parameters=[{"robot": robot, "autostart": True}],
                ),
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(str(ROOT / "launch" / "bringup.launch.py")),
                    launch_arguments=arguments.items(),
                ),
            ]
        )
    )
    modes: list[int] = []
    watcher = threading.Thread(target=_watch, args=(service, modes, seconds))
    watcher.start()
    code = asyncio.new_event_loop().run_until_complete(service.run_async())
    watcher.join()
    problems = [] if code == 0 else [f"launch ended with {code}"]
    if 1 not in modes:
        problems.append(f"control_node never held within {seconds} s; modes seen: {modes}")
    print(f"bringup of {robot}: launch exit code {code}, modes seen {sorted(set(modes))}")
    return problems


def _watch(service: object, modes: list[int], seconds: float) -> None:
    import rclpy

    from adamoe_ros.msg import ControlStatus
    from adamoe_ros.ros import names, qos

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("watcher", namespace=NAMESPACE, context=context)
    node.create_subscription(
        ControlStatus,
        names.CONTROL_STATUS,
        lambda status: modes.append(status.mode),
        qos.CONTROL_STATUS,
    )
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    end = time.monotonic() + seconds
    while time.monotonic() < end and modes.count(1) < 5:
        executor.spin_once(timeout_sec=0.2)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown(context=context)
    service.shutdown()  # type: ignore[attr-defined]


def main() -> int:
    """Check; exit code 1 with one line per problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="store_true", help="launch control_node for real")
    parser.add_argument("--robot", default="aloha_agilex", help="profile for --run")
    parser.add_argument("--seconds", type=float, default=20.0, help="longest wait for --run")
    options = parser.parse_args()
    try:
        import launch_ros.actions  # noqa: F401
    except ImportError as error:
        print(f"launch_ros does not import ({error}): source ROS 2 or extend PYTHONPATH")
        return 2
    problems = [line for path in sorted((ROOT / "launch").glob("*.py")) for line in describe(path)]
    if options.run:
        problems += run_bringup(options.robot, options.seconds)
    print("\n".join(problems) or "launch files are fine")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
