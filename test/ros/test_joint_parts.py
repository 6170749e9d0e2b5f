# SPDX-License-Identifier: Apache-2.0
"""Joints that several publishers send in parts, and a command message of the user's own, live."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from control_rig import Probe, Process, Rig, node_command
from sensor_msgs.msg import JointState

from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.msg import ControlStatus


def own_profile(folder: Path, change: dict[str, Any]) -> Path:
    path = folder / "own.yaml"
    document = {"extends": "aloha_sim", "name": "own", "use_sim_time": False, **change}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


class Drivers:
    """Publishes the home pose in parts: arms and grippers are drivers of their own."""

    def __init__(self, probe: Probe) -> None:
        self.silent: set[str] = set()
        self._node = probe.node
        self._parts: list[tuple[str, Any, JointState]] = []
        for side, arm in probe.profile.ordered_arms:
            topic = arm.state.topic
            split = {"arm": slice(0, 6), "gripper": slice(6, 7)}
            for name, own in split.items():
                message = JointState(name=list(arm.names[own]), position=list(arm.home[own]))
                publisher = self._node.create_publisher(JointState, topic, 10)
                self._parts.append((f"{side} {name}", publisher, message))
            wheels = JointState(name=["wheel"], position=[0.0])
            self._parts.append(("base", self._node.create_publisher(JointState, topic, 10), wheels))
        self._timer = self._node.create_timer(0.02, self._publish)

    def _publish(self) -> None:
        for name, publisher, message in self._parts:
            if name not in self.silent:
                message.header.stamp = self._node.get_clock().now().to_msg()
                publisher.publish(message)


@contextmanager
def control(folder: Path, profile: Path) -> Iterator[tuple[Probe, Process]]:
    """control_node alone, and a probe."""
    probe = Probe(load_profile(profile))
    parameters = {"robot": profile, "autostart": True}
    command = node_command("adamoe_ros.ros.control.control_node", "ControlNode", parameters)
    process = Process(command, folder / "control.log")
    try:
        yield probe, process
    finally:
        process.stop()
        probe.close()


def test_arms_and_grippers_of_their_own_drivers(tmp_path: Path) -> None:
    """Active once every joint is there; a part that falls silent holds the arms and is named."""
    with control(tmp_path, own_profile(tmp_path, {})) as (probe, process):
        drivers = probe.in_executor(lambda: Drivers(probe))
        drivers.silent.add("right gripper")
        probe.wait(lambda: "none of right/gripper" in process.text, "the missing part to be named")
        drivers.silent.clear()
        probe.wait_mode(ControlStatus.HOLD)
        home = [value for _, arm in probe.profile.ordered_arms for value in arm.home]
        probe.wait(lambda: len(probe.status.measured) == len(home), "a measured pose")
        np.testing.assert_allclose(probe.status.measured, home)
        probe.run()
        probe.chunk(np.tile(probe.status.commanded, (400, 1)), dt=0.1)
        probe.wait_mode(ControlStatus.RUNNING)
        drivers.silent.add("left gripper")
        probe.wait_mode(ControlStatus.HOLD, "state_stale")
        line = "joint states on follower_left/joint_states: expected fresh stamps of left/gripper"
        probe.wait(lambda: line in process.text, "the stale part to be named")


def test_a_driver_on_another_clock_keeps_control_inactive_and_is_explained(tmp_path: Path) -> None:
    arms = {"left": {"state": {"stamp": "arrival"}}}
    with control(tmp_path, own_profile(tmp_path, {"arms": arms})) as (probe, process):
        names, home = list(probe.profile.arms["left"].names), list(probe.profile.arms["left"].home)
        sides = ("left", "right")
        publishers = [
            probe.node.create_publisher(JointState, probe.profile.arms[side].state.topic, 10)
            for side in sides
        ]
        honest = threading.Event()

        def publish() -> None:
            for side, publisher in zip(sides, publishers, strict=True):
                message = JointState(name=names, position=home)
                message.header.stamp = probe.node.get_clock().now().to_msg()
                if side == "left" or not honest.is_set():
                    message.header.stamp.sec -= 3 * 3600
                publisher.publish(message)

        probe.node.create_timer(0.02, publish)
        line = "follower_right/joint_states: stamps are 10800."
        probe.wait(lambda: line in process.text, "the clock to be named")
        assert "follower_left/joint_states: stamps" not in process.text
        assert "stamp: arrival" in process.text
        honest.set()
        probe.wait_mode(ControlStatus.HOLD)  # the left arm's stamps are still 3 h behind


OWN_CODEC = """
from math import degrees
import numpy as np
from adamoe_ros.streams.command_codecs import CommandCodec, JointCommand

class PointCodec(CommandCodec):
    '''Degrees in a bare JointTrajectoryPoint.'''
    type_name = "trajectory_msgs/msg/JointTrajectoryPoint"

    def encode(self, command, make):
        return make(self.type_name, positions=np.degrees(command.positions[0]))

    def decode(self, message, names):
        return JointCommand((), np.radians(np.array(message.positions))[None])
"""


def test_both_arms_follow_a_command_message_of_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_points.py").write_text(OWN_CODEC, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    arms = {side: {"command": {"type": "my_points:PointCodec"}} for side in ("left", "right")}
    with Rig(tmp_path, robot=str(own_profile(tmp_path, {"arms": arms}))) as rig:
        rig.holding()
        rows = rig.wave(1.0)
        rig.probe.run()
        rig.probe.chunk(rows)
        rig.probe.wait_mode(ControlStatus.RUNNING)
        rig.probe.wait_mode(ControlStatus.HOLD, "chunk_exhausted")

        def arrived() -> bool:
            return bool((np.abs(np.array(rig.probe.status.measured) - rows[-1]) < 0.01).all())

        rig.probe.wait(arrived, "the arms to arrive")


def test_a_trajectory_of_several_points_moves_the_loopback_robot_point_by_point(
    tmp_path: Path,
) -> None:
    from builtin_interfaces.msg import Duration
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

    robot = load_profile(robots_dir() / "gazebo_aloha_agilex.yaml")
    probe = Probe(robot)
    parameters = {"robot": "gazebo_aloha_agilex", "autostart": True}
    command = node_command("adamoe_ros.ros.sim.loopback_node", "LoopbackNode", parameters)
    process = Process(command, tmp_path / "loopback.log")
    seen: list[float] = []
    arm = robot.arms["left"]
    joint, home = arm.joints[0].name, arm.home[0]

    def note(message: JointState) -> None:
        if joint in message.name:
            seen.append(message.position[list(message.name).index(joint)] - home)

    try:
        probe.node.create_subscription(JointState, arm.state.topic, note, 100)
        publisher = probe.node.create_publisher(JointTrajectory, arm.command.topic, 10)
        probe.wait(lambda: seen and publisher.get_subscription_count(), "the robot")
        points = [
            JointTrajectoryPoint(
                positions=[home + 0.1 * step, 5.0], time_from_start=Duration(nanosec=step * 10**8)
            )
            for step in range(4)
        ]
        publisher.publish(JointTrajectory(joint_names=[joint, "lift"], points=points))
        probe.wait(lambda: seen[-1] > 0.2999, "the last point")
        between = [value for value in seen if 0.001 < value < 0.299]
        assert len(between) > 5 and between == sorted(between)
    finally:
        process.stop()
        probe.close()
