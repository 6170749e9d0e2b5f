# SPDX-License-Identifier: Apache-2.0
"""A bag into the same nodes: ``ros2 bag play`` with its clock, policy, and control in shadow mode."""

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import ExecuteProcess, OpaqueFunction, SetLaunchConfiguration
from launch.substitutions import LaunchConfiguration

from adamoe_ros.ros.launching import argument, environment, robot_arguments, robot_nodes


def _player(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    value = {name: LaunchConfiguration(name).perform(context) for name in ("bag", "rate", "loop")}
    command = [
        "ros2",
        "bag",
        "play",
        value["bag"],
        "--clock",
        "100",
        "--rate",
        value["rate"],
    ]
    if value["loop"] == "true":
        command.append("--loop")
    return [ExecuteProcess(cmd=command, output="screen")]


def generate_launch_description() -> LaunchDescription:
    """Bag player, policy_node and control_node; commands stay below ``~/shadow/``."""
    return LaunchDescription(
        [
            *environment(),
            argument("bag", None, "Folder of a rosbag2 bag with the profile's topics."),
            argument("rate", "1.0", "Speed of the replay."),
            argument("loop", "false", "Begin again at the end.", ["true", "false"]),
            *robot_arguments(robot=None),
            # recorded joint states do not answer to commands, and their time is the bag's
            SetLaunchConfiguration("shadow", "true"),
            SetLaunchConfiguration("use_sim_time", "true"),
            OpaqueFunction(function=_player),
            robot_nodes(),
        ]
    )
