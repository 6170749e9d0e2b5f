# SPDX-License-Identifier: Apache-2.0
"""Policy and control for a robot in Gazebo: ros_gz_sim, ros_gz_bridge, gz_ros2_control.

Needs ros_gz_sim, ros_gz_bridge, gz_ros2_control, robot_state_publisher and controller_manager, and a
URDF whose gz_ros2_control plugin loads config/gazebo/<robot>_controllers.yaml.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.resources import share_dir
from adamoe_ros.ros.launching import argument, environment, robot_arguments, robot_nodes

BRIDGE = "config/gazebo/bridge.yaml"


def _gazebo(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    gui = LaunchConfiguration("gui").perform(context) == "true"
    world = LaunchConfiguration("world").perform(context)
    source = PathJoinSubstitution([FindPackageShare("ros_gz_sim"), "launch", "gz_sim.launch.py"])
    return [
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(source),
            launch_arguments={"gz_args": f"-r {'' if gui else '-s '}{world}"}.items(),
        ),
        Node(
            package="ros_gz_bridge",
            executable="parameter_bridge",
            parameters=[{"config_file": str(share_dir() / BRIDGE), "use_sim_time": True}],
            output="screen",
        ),
    ]


def _robot(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    urdf = Path(LaunchConfiguration("urdf").perform(context))
    if not urdf.is_file():
        raise ContractError(
            problem(
                "urdf",
                "a URDF file",
                f"no file at '{urdf}'",
                "run xacro first, pass urdf:=",
            )
        )
    controllers = LaunchConfiguration("controllers").perform(context).split()
    description = {
        "robot_description": urdf.read_text(encoding="utf-8"),
        "use_sim_time": True,
    }
    spawn = ["-topic", "robot_description", "-name", "robot"]
    return [
        Node(
            package="robot_state_publisher",
            executable="robot_state_publisher",
            parameters=[description],
        ),
        Node(package="ros_gz_sim", executable="create", arguments=spawn, output="screen"),
        Node(
            package="controller_manager",
            executable="spawner",
            arguments=controllers,
            output="screen",
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Gazebo with the robot, its controllers and bridges, policy_node and control_node."""
    return LaunchDescription(
        [
            *environment(),
            argument(
                "world",
                "empty.sdf",
                "World file with the table, the objects and the cameras.",
            ),
            argument("urdf", None, "URDF of both arms with a gz_ros2_control plugin."),
            argument("gui", "true", "Show Gazebo's window.", ["true", "false"]),
            argument(
                "controllers",
                "joint_state_broadcaster left_arm_controller right_arm_controller "
                "left_gripper_controller right_gripper_controller",
                "Controllers to start, as named in the controllers file.",
            ),
            *robot_arguments(robot="gazebo_ur5_dual"),
            OpaqueFunction(function=_gazebo),
            OpaqueFunction(function=_robot),
            robot_nodes(),
        ]
    )
