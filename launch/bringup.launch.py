# SPDX-License-Identifier: Apache-2.0
"""Policy and control for a robot whose drivers run: ``robot:=<profile> checkpoint:=<folder>``."""

from launch import LaunchDescription

from adamoe_ros.ros.launching import environment, robot_arguments, robot_nodes


def generate_launch_description() -> LaunchDescription:
    """policy_node and control_node."""
    return LaunchDescription([*environment(), *robot_arguments(robot=None), robot_nodes()])
