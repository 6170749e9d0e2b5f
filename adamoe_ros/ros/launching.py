# SPDX-License-Identifier: Apache-2.0
"""What the launch files share: arguments, environment, and the two nodes of a robot.

Arguments carry what differs per deployment; every other value keeps the default of its declaration.
Runs in the Python of ``ros2 launch``, the distribution's own: without the environment of the nodes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from launch import LaunchContext, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from adamoe_ros.contract.profile_io import profile_path, read_profile
from adamoe_ros.contract.resources import robots_dir, share_dir

PACKAGE = "adamoe_ros"
_SWITCH = ["true", "false"]


def environment() -> list[LaunchDescriptionEntity]:
    """Fast DDS with a shared-memory segment that holds camera frames.

    The default segment (512 kB) drops most best-effort frames of 640x480 and above. The variable's
    name changed with Kilted, which warns about the old one; without ROS_DISTRO both are set.
    """
    distro = os.environ.get("ROS_DISTRO", "")
    old, new = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
    variables = [old] if distro in ("humble", "jazzy") else [new] if distro else [old, new]
    profile = str(share_dir() / "config" / "fastdds.xml")
    return [SetEnvironmentVariable(variable, profile) for variable in variables]


def argument(
    name: str,
    default: str | None,
    description: str,
    choices: Sequence[str] | None = None,
) -> DeclareLaunchArgument:
    """A documented launch argument; a default of None makes it required."""
    return DeclareLaunchArgument(
        name, default_value=default, description=description, choices=choices
    )


def robot_arguments(robot: str | None) -> list[LaunchDescriptionEntity]:
    """Arguments of everything that starts policy and control for a robot.

    Args:
        robot: default profile; None: must be given.
    """
    return [
        argument(
            "robot",
            robot,
            "Robot profile: name in config/robots or path of a .yaml file.",
        ),
        argument(
            "checkpoint",
            "",
            "Checkpoint folder of policy_node (see 'adamoe convert', 'adamoe train').",
        ),
        argument(
            "policy_url",
            "",
            "Server that infers instead of this computer, ws://host:port or wss://host:port.",
        ),
        argument(
            "namespace",
            "",
            "Namespace of both nodes; one per robot on the same machine.",
        ),
        argument(
            "params_file",
            "",
            "YAML file with node parameters that differ from the defaults.",
        ),
        argument(
            "strategy",
            "",
            "How chunks follow each other, in both nodes; empty: default.",
        ),
        argument("device", "", "Device of the policy: cpu, cuda, cuda:N; empty: default."),
        argument(
            "shadow",
            "false",
            "Publish commands to ~/shadow/ only; nothing moves.",
            _SWITCH,
        ),
        argument(
            "max_speed_scale",
            "",
            "Share of the joints' speed limits, 0.02 ... 1; empty: 1.",
        ),
        argument("use_sim_time", "", "true, false, or empty for what the profile says."),
        argument("policy", "true", "Start policy_node.", _SWITCH),
        argument("control", "true", "Start control_node.", _SWITCH),
        argument(
            "console",
            "false",
            "Start console_node (the operator's page) and recorder_node.",
            _SWITCH,
        ),
        argument("autostart", "true", "Configure and activate both nodes.", _SWITCH),
        argument(
            "respawn",
            "true",
            "Start policy_node again when it ends; arms hold.",
            _SWITCH,
        ),
        argument("log_level", "info", "debug, info, warn, error or fatal."),
    ]


def robot_nodes() -> OpaqueFunction:
    """policy_node and control_node, from the arguments of ``robot_arguments``."""
    return OpaqueFunction(function=_robot_nodes)


def node(
    executable: str,
    parameters: dict[str, Any],
    context: LaunchContext,
    respawn: bool = False,
) -> Node:
    """One node of this package in the launch file's namespace, with its overrides."""
    params_file, level = _text(context, "params_file"), _text(context, "log_level")
    return Node(
        package=PACKAGE,
        executable=executable,
        name=executable,
        namespace=_text(context, "namespace"),
        parameters=[parameters, *([params_file] if params_file else [])],
        ros_arguments=["--log-level", f"{_logger(context, executable)}:={level}"],
        output="screen",
        emulate_tty=True,
        respawn=respawn,
        respawn_delay=1.0,
        # a node ends in order on the first SIGINT; these bound a wedged one
        sigterm_timeout="8",
        sigkill_timeout="4",
    )


def _robot_nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    robot = _text(context, "robot")
    profile = read_profile(profile_path(robot, robots_dir()))  # the nodes validate it
    shared: dict[str, Any] = {
        "robot": robot,
        "use_sim_time": _sim_time(
            _text(context, "use_sim_time"), profile.get("use_sim_time") is True
        ),
        "autostart": _on(context, "autostart"),
        **_given(context, "strategy"),
    }
    policy = {
        **shared,
        "checkpoint": _text(context, "checkpoint"),
        "policy": _text(context, "policy_url"),
        **_given(context, "device"),
    }
    control = {**shared, "shadow": _on(context, "shadow"), **_speed(context)}
    nodes: list[LaunchDescriptionEntity] = []
    if _on(context, "control"):
        nodes.append(node("control_node", control, context))
    if _on(context, "policy"):
        nodes.append(node("policy_node", policy, context, respawn=_on(context, "respawn")))
    if _on(context, "console"):
        beside = {"robot": robot, "checkpoint": policy["checkpoint"]}
        recorder = {**beside, "use_sim_time": shared["use_sim_time"]}
        nodes.append(node("console_node", beside, context, respawn=True))
        nodes.append(node("recorder_node", recorder, context, respawn=True))
    return nodes


def _logger(context: LaunchContext, executable: str) -> str:
    """Name of a node's logger: namespace and name with dots."""
    namespace = _text(context, "namespace").strip("/").replace("/", ".")
    return f"{namespace}.{executable}" if namespace else executable


def _text(context: LaunchContext, name: str) -> str:
    return str(LaunchConfiguration(name).perform(context))


def _on(context: LaunchContext, name: str) -> bool:
    return _text(context, name) == "true"


def _sim_time(argument_value: str, of_profile: bool) -> bool:
    return of_profile if argument_value == "" else argument_value == "true"


def _given(context: LaunchContext, name: str) -> dict[str, Any]:
    """The argument as a parameter, or nothing where it was left empty."""
    value = _text(context, name)
    return {name: value} if value else {}


def _speed(context: LaunchContext) -> dict[str, Any]:
    value = _text(context, "max_speed_scale")
    return {"max_speed_scale": float(value)} if value else {}
