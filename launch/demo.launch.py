# SPDX-License-Identifier: Apache-2.0
"""The whole demo as a ROS graph: embedded MuJoCo robot, policy and control."""

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import OpaqueFunction
from launch.substitutions import LaunchConfiguration

from adamoe_ros.ros.launching import (
    argument,
    environment,
    node,
    robot_arguments,
    robot_nodes,
)


def _simulator(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    given = {name: LaunchConfiguration(name).perform(context) for name in ("robot", "task")}
    parameters = {name: value for name, value in given.items() if value}
    parameters["seed"] = int(LaunchConfiguration("seed").perform(context))
    return [node("sim_node", parameters, context)]


def generate_launch_description() -> LaunchDescription:
    """sim_node, policy_node and control_node."""
    return LaunchDescription(
        [
            *environment(),
            argument("task", "", "Task of the simulator; empty: its default."),
            argument("seed", "0", "Seed of the first episode."),
            *robot_arguments(robot="aloha_sim"),
            OpaqueFunction(function=_simulator),
            robot_nodes(),
        ]
    )
