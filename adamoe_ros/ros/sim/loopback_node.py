# SPDX-License-Identifier: Apache-2.0
"""loopback_node: plays the driver of any robot profile by echoing commands as joint states.

Publishes and subscribes exactly what the profile says, cameras included, so that a profile and a
launch file can be tried before the robot is switched on. One thread, and one for the cameras.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.duration import Duration
from sensor_msgs.msg import JointState

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import CommandTopic, StateTopic, command_topics, state_topics
from adamoe_ros.ros import qos
from adamoe_ros.ros.control.command_outputs import message_type
from adamoe_ros.ros.lifecycle import ManagedNode
from adamoe_ros.ros.sim.loopback_cameras import LoopbackCameras
from adamoe_ros.ros.sim.loopback_parameters import LoopbackParameters
from adamoe_ros.sim.loopback import LoopbackRobot

_LOG_EVERY = 5.0  # s between lines about messages that do not fit
_CLOCKS = {"clock_ahead": 0.5, "clock_behind": -0.5}  # s
_OFFSET = 0.2  # rad or m, of the fault of that name


class LoopbackNode(ManagedNode[LoopbackParameters]):
    """The robot; active while it publishes."""

    def __init__(self) -> None:
        super().__init__("loopback_node", LoopbackParameters)
        self._entities: list[Any] = []
        self._cameras: LoopbackCameras | None = None
        self._sent = 0  # joint states

    def setup(self) -> None:
        """Make publishers and subscriptions of the profile."""
        profile = load_profile(profile_path(self.params.robot, robots_dir()))
        self._robot = LoopbackRobot(profile)
        self._frozen = self._robot.state
        self._states = [
            (self.create_publisher(JointState, topic.source.topic, qos.COMMAND), topic)
            for topic in state_topics(profile)
        ]
        for topic in command_topics(profile):
            self._subscribe(topic)
        if self.params.cameras:
            self._cameras = LoopbackCameras(
                self, profile, lambda: self.params.camera_fault, lambda: self.active
            )
        # steady: a wall clock that steps back must not silence the robot
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        period = 1.0 / self.params.state_rate
        self._entities.append(self.create_timer(period, self._publish, clock=steady))

    def stop(self) -> None:
        """Say how much was sent, so that a listener's losses can be counted."""
        pictures = self._cameras.sent if self._cameras is not None else 0
        self.get_logger().info(f"sent {self._sent} joint states and {pictures} pictures")

    def teardown(self) -> None:
        """Take everything down again."""
        for entity in self._entities:
            (
                self.destroy_timer
                if hasattr(entity, "timer_period_ns")
                else self.destroy_subscription
            )(entity)
        for publisher, _ in getattr(self, "_states", []):
            self.destroy_publisher(publisher)
        if self._cameras is not None:
            self._cameras.destroy()
            self._cameras = None
        self._entities, self._states = [], []

    def parameters_changed(self, values: LoopbackParameters) -> None:
        """A new fault begins with the pose of this moment."""
        if hasattr(self, "_robot"):
            self._frozen = self._robot.state.copy()

    def _subscribe(self, topic: CommandTopic) -> None:
        callback = partial(self._command, topic.target.topic)
        self._entities.append(
            self.create_subscription(message_type(topic), topic.target.topic, callback, qos.COMMAND)
        )

    def _command(self, topic: str, message: Any) -> None:
        try:
            self._robot.command(topic, message, self.get_clock().now().nanoseconds)
        except ContractError as error:
            self.get_logger().error(str(error), throttle_duration_sec=_LOG_EVERY)

    def _publish(self) -> None:
        if not self.active or self.params.fault == "silent":
            return
        now = self.get_clock().now()
        self._robot.advance(now.nanoseconds)
        off = Duration(seconds=_CLOCKS.get(self.params.fault, 0.0))
        stamp = (now + off).to_msg()
        for publisher, topic in self._states:
            message = self._state(topic)
            message.header.stamp = stamp
            publisher.publish(message)
            self._sent += 1

    def _state(self, topic: StateTopic) -> JointState:
        names, fault = list(topic.names), self.params.fault
        values = self._robot.positions(topic)
        if fault == "freeze":
            values = [float(self._frozen[column]) for column in topic.columns]
        elif fault == "missing_joint":
            names, values = names[:-1], values[:-1]
        elif fault == "reverse_order":
            names, values = names[::-1], values[::-1]
        elif fault == "nan":
            values[0] = float("nan")
        elif fault == "offset":
            values = [value + _OFFSET for value in values]
        return JointState(name=names, position=values)


def main() -> int:
    """Run the node; the exit code."""
    from adamoe_ros.ros.runner import main as run

    return run("adamoe_ros.ros.sim.loopback_node", "LoopbackNode")


if __name__ == "__main__":
    sys.exit(main())
