# SPDX-License-Identifier: Apache-2.0
"""Policy and control for a robot in Isaac Sim.

The stage's action graph publishes joint states, cameras and /clock and subscribes to the joint
commands on the topics of the profile; Isaac Sim's ROS 2 bridge must use the same RMW and domain.
"""

import shlex

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from adamoe_ros.ros.launching import argument, environment, robot_arguments, robot_nodes


def _simulator(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    command = shlex.split(LaunchConfiguration("isaac_command").perform(context))
    return [ExecuteProcess(cmd=command, output="screen")] if command else []


def generate_launch_description() -> LaunchDescription:
    """Isaac Sim where its command is given, policy_node and control_node."""
    return LaunchDescription(
        [
            *environment(),
            argument(
                "isaac_command",
                "",
                "Command that starts Isaac Sim with the stage, e.g. '<isaac>/isaac-sim.sh --exec "
                "open_stage.py'; empty: it runs already.",
            ),
            *robot_arguments(robot="isaac_franka_dual"),
            OpaqueFunction(function=_simulator),
            robot_nodes(),
        ]
    )
