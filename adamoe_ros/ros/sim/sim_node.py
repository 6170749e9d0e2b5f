# SPDX-License-Identifier: Apache-2.0
"""sim_node: the embedded simulator where a robot's drivers would be, on the same topics.

Two threads of ``SimLoop`` run physics and cameras; the executor's thread takes commands and
``reset_task`` and sentences. A plain node, not a lifecycle node: drivers are simply there.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import CommandTopic, command_topics, state_topics
from adamoe_ros.data.sim_trace import TraceWriter
from adamoe_ros.msg import TaskStatus
from adamoe_ros.ros import names, qos
from adamoe_ros.ros.live_parameters import LiveParameters
from adamoe_ros.ros.policy.policy_messages import to_time
from adamoe_ros.ros.sim.sim_human import SimHuman
from adamoe_ros.ros.sim.sim_loop import Events, Rates, SimLoop
from adamoe_ros.ros.sim.sim_messages import image_message, joint_message, take_command
from adamoe_ros.ros.sim.sim_parameters import SimParameters
from adamoe_ros.ros.sim.sim_world import SimWorld
from adamoe_ros.ros.transports import PictureNode
from adamoe_ros.srv import ResetTask
from adamoe_ros.streams.messages import stamp_ns

_START_NS = 1_000_000_000  # time 0 means "no clock yet" in ROS


class SimNode(Node):
    """The simulator as a node.

    Raises:
        ContractError: a parameter, the profile or the task does not fit.
    """

    def __init__(self) -> None:
        super().__init__("sim_node")
        self._closed = False
        self._live = LiveParameters(self, SimParameters)
        params = self._live.values
        self._profile = load_profile(profile_path(params.robot, robots_dir()))
        self._world = SimWorld(params.task, params.instruction, params.seed)
        self._trace = TraceWriter(params.trace)
        self._frames = 0
        self._reset_ns = _START_NS
        self._ever_success = False
        self._complained: set[str] = set()
        self._make_topics(params)
        self._loop = SimLoop(
            self._world,
            Rates(
                params.clock_rate, self._world.control_rate, params.camera_rate, params.status_rate
            ),
            Events(
                self._on_clock, self._on_control, self._on_frames, self._on_status, self._on_failure
            ),
            lambda: self._live.values.real_time_factor,
            _START_NS,
        )
        self._loop.start()
        self.get_logger().info(f"task {params.task}: {self._world.instruction!r}")

    @property
    def state_name(self) -> str:
        """``active``; ``finalized`` once the simulator has failed, which ends the process."""
        return "finalized" if self._closed else "active"

    def halt(self) -> None:
        """Stop the simulator; may be called twice."""
        self._loop.stop()
        self._trace.end()

    def close(self) -> None:
        """``halt``, then destroy the node."""
        self.halt()
        self._pictures.close()
        self.destroy_node()

    def _make_topics(self, params: SimParameters) -> None:
        self._states = [
            (
                topic,
                self.create_publisher(JointState, topic.source.topic, qos.sensor(reliable=False)),
            )
            for topic in state_topics(self._profile)
        ]
        self._pictures = PictureNode(self, sends=True)
        self._cameras = {
            slot: self._pictures.node.create_publisher(
                Image, self._pictures.topic(str(camera.topic)), qos.sensor(reliable=False)
            )
            for slot, camera in self._profile.present_cameras.items()
        }
        for topic in command_topics(self._profile):
            if topic.target.type != "joint_state":
                raise ContractError(
                    f"{params.robot}: expected joint_state commands on {topic.target.topic}, "
                    f"got {topic.target.type}; use the profile aloha_sim"
                )
            self.create_subscription(
                JointState,
                topic.target.topic,
                lambda message, topic=topic: self._on_command(message, topic),
                qos.COMMAND,
            )
        human = self._profile.teleop is not None
        self._human = SimHuman(self, self._profile, self._world.plan) if human else None
        self._task_status = self.create_publisher(TaskStatus, names.TASK_STATUS, qos.TASK_STATUS)
        self._clock_topic = (
            self.create_publisher(Clock, "/clock", qos.CLOCK) if params.publish_clock else None
        )
        self.create_service(ResetTask, "reset_task", self._on_reset)
        self.create_subscription(String, names.INSTRUCTION, self._on_instruction, qos.INSTRUCTION)

    # --- from ROS -------------------------------------------------------------------------------

    def _on_command(self, message: JointState, topic: CommandTopic) -> None:
        sent = stamp_ns(message.header.stamp)
        with self._loop.lock:
            if 0 < sent < self._reset_ns:
                return  # on its way while the scene was set up anew: the arms stay at home
            wrong = take_command(message, topic.names, topic.columns, self._world.targets)
        if wrong and wrong not in self._complained:
            self._complained.add(wrong)
            self.get_logger().error(
                f"{topic.target.topic}: expected positions of {', '.join(topic.names)}, "
                f"got {wrong}; such commands are ignored"
            )

    def _on_reset(self, request: ResetTask.Request, response: ResetTask.Response) -> Any:
        task = request.task or self._world.task
        try:
            with self._loop.lock:
                self._trace.end()
                self._world.reset(task, request.instruction, int(request.seed))
                self._reset_ns = self._loop.now_ns
                self._frames = 0
                self._ever_success = False
                self._trace.begin(self._world.episode())
        except ContractError as error:
            response.accepted, response.message = False, " ".join(error.problems)
            return response
        response.accepted = True
        response.instruction = response.message = self._world.instruction
        self._on_status(self._loop.now_ns)
        return response

    def _on_instruction(self, message: String) -> None:
        """The sentence that the policy hears is also the one that is judged by."""
        if message.data.strip() == self._world.instruction:
            return
        try:
            with self._loop.lock:
                self._world.ask(message.data.strip())
                self._ever_success = False
        except ContractError as error:
            self.get_logger().warning(
                f"{' '.join(error.problems)}; the episode is judged by "
                f"{self._world.instruction!r} as before"
            )
            return
        self._on_status(self._loop.now_ns)

    # --- from the loop --------------------------------------------------------------------------

    def _on_clock(self, now_ns: int) -> None:
        if self._clock_topic is not None:
            self._clock_topic.publish(Clock(clock=to_time(now_ns)))

    def _on_control(self, now_ns: int) -> None:
        positions, velocities = self._world.measured()
        self._trace.add(now_ns / 1e9, self._world.state(), self._world.judge())
        stamp = to_time(now_ns)
        for topic, publisher in self._states:
            publisher.publish(joint_message(stamp, topic, positions, velocities))
        if self._human is not None:
            self._human.speak(now_ns, self._live.values.human)

    def _on_frames(self, now_ns: int, pictures: dict[str, np.ndarray]) -> None:
        stamp = to_time(now_ns)
        for slot, publisher in self._cameras.items():
            publisher.publish(image_message(stamp, f"{slot}_optical", pictures[slot]))
        if now_ns >= self._reset_ns:  # not a picture of the episode before
            self._frames += 1

    def _on_status(self, now_ns: int) -> None:
        with self._loop.lock:
            success = self._world.judge()
            self._ever_success = self._ever_success or success
            message = TaskStatus(
                task=self._world.task,
                instruction=self._world.instruction,
                seed=self._world.seed,
                success=success,
                ever_success=self._ever_success,
                elapsed=(now_ns - self._reset_ns) / 1e9,
                frames=self._frames,
            )
        message.header.stamp = to_time(now_ns)
        self._task_status.publish(message)

    def _on_failure(self, error: BaseException) -> None:
        self.get_logger().fatal(f"the simulator failed: {type(error).__name__}: {error}")
        self._closed = True


def main() -> int:
    """Run the node; the exit code."""
    from adamoe_ros.ros.runner import main as run

    return run("adamoe_ros.ros.sim.sim_node", "SimNode")


if __name__ == "__main__":
    sys.exit(main())
