# SPDX-License-Identifier: Apache-2.0
"""What control_node listens to, converted and handed to the control core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import Deadman, RobotProfile
from adamoe_ros.control.admission import FUTURE_S
from adamoe_ros.msg import ActionChunk, MotionCommand, PolicyStatus
from adamoe_ros.ros import names, qos
from adamoe_ros.ros.control.command_outputs import message_class, message_type
from adamoe_ros.ros.control.control_conflicts import ControlConflicts
from adamoe_ros.ros.topic_reader import Takers
from adamoe_ros.streams.clocks import INTOLERABLE_S, Delays, clock_difference
from adamoe_ros.streams.joint_states import JointSample, JointStateReader
from adamoe_ros.streams.messages import stamp_ns
from adamoe_ros.streams.teleop import LeaderReader, deadman_held, deadman_type

# joint states that may wait: several publishers, each with a part of the joints, share a topic
_DEPTH = 20


class Listener(Protocol):
    """Who takes the inputs; called in the node's only thread."""

    def on_state(self, sample: JointSample) -> None:
        """A whole joint state."""

    def on_bad_state(self, error: ContractError) -> None:
        """A joint-state message that does not fit."""

    def on_chunk(self, message: ActionChunk, info: Any) -> None:
        """A chunk of the policy."""

    def on_motion(self, message: MotionCommand) -> None:
        """Whether chunks may move the arms."""

    def on_policy_status(self, message: PolicyStatus, info: Any) -> None:
        """The policy's heartbeat."""

    def on_emergency_stop(self, message: Bool) -> None:
        """True latches."""

    def on_leader(self, sample: JointSample, arrival_ns: int) -> None:
        """Where a human leads all led joints to, command units."""

    def on_deadman(self, held: bool, arrival_ns: int) -> None:
        """The dead-man switch spoke."""


class ControlInputs:
    """Subscriptions of control_node.

    Args:
        node: subscriptions are made on it; its clock gives arrival times.
        profile: the robot.
        listener: takes what arrives.
        conflicts: is told whose joint states they are.

    Attributes:
        leaders: of a human; None: the profile names none.
        delays: state topic -> stamps against arrivals.
        takers: of joint states, for a node that waits inside a callback.
    """

    def __init__(
        self, node: Node, profile: RobotProfile, listener: Listener, conflicts: ControlConflicts
    ) -> None:
        self._node = node
        self._listener = listener
        self._conflicts = conflicts
        # simulation time is everybody's, but /clock may come after the messages
        simulated = bool(node.get_parameter("use_sim_time").value)
        self._ahead_ns = round((FUTURE_S if simulated else INTOLERABLE_S) * 1e9)
        self.reader = JointStateReader(profile)
        self._by_arrival = {
            topic.source.topic for topic in self.reader.topics if topic.source.stamp == "arrival"
        }
        self.delays = {topic.source.topic: Delays() for topic in self.reader.topics}
        make = node.create_subscription
        self.takers: Takers = {}
        for topic in self.reader.topics:
            name, taker = topic.source.topic, self._state_callback(topic.source.topic)
            quality = qos.sensor(topic.source.reliable, depth=_DEPTH)
            self.takers[make(JointState, name, taker, quality)] = taker
        self._subscriptions: list[Subscription[Any]] = list(self.takers)
        others: list[tuple[Any, str, Callable[..., None], Any]] = [
            (Bool, names.EMERGENCY_STOP, listener.on_emergency_stop, qos.EMERGENCY_STOP),
            (MotionCommand, names.MOTION, listener.on_motion, qos.MOTION),
            (PolicyStatus, names.POLICY_STATUS, listener.on_policy_status, qos.POLICY_STATUS),
            # last: what arrives together is served in this order, and a chunk needs its RUN
            (ActionChunk, names.ACTION_CHUNK, listener.on_chunk, qos.CHUNK),
        ]
        self._subscriptions += [make(*arguments) for arguments in others]
        self.leaders = LeaderReader(profile) if profile.teleop else None
        if self.leaders is not None and profile.teleop is not None:
            self._hear_human(self.leaders, profile.teleop.deadman)

    def _hear_human(self, leaders: LeaderReader, deadman: Deadman) -> None:
        make = self._node.create_subscription
        for topic in leaders.topics:
            quality = qos.sensor(topic.source.reliable)
            taker = self._leader_callback(leaders, topic.target.topic)
            self._subscriptions.append(
                make(message_type(topic), topic.target.topic, taker, quality)
            )

        def switched(message: Any) -> None:
            now = self._node.get_clock().now().nanoseconds
            self._listener.on_deadman(deadman_held(deadman, message), now)

        quality = qos.sensor(deadman.reliable, depth=1)  # what it says now, not what it said
        kind = message_class(deadman_type(deadman))
        self._subscriptions.append(make(kind, deadman.topic, switched, quality))

    def _leader_callback(self, leaders: LeaderReader, topic: str) -> Callable[[Any], None]:
        def received(message: Any) -> None:
            arrival = self._node.get_clock().now().nanoseconds
            try:
                sample = leaders.push(topic, message, arrival)
            except ContractError as error:
                self._listener.on_bad_state(error)
                return
            if sample is not None:
                self._listener.on_leader(sample, arrival)

        return received

    def _state_callback(self, topic: str) -> Callable[[JointState, Any], None]:
        def received(message: JointState, info: Any) -> None:
            arrival = self._node.get_clock().now().nanoseconds
            self._conflicts.note_state(topic, message.name, info)
            try:
                if topic not in self._by_arrival:
                    self._check_stamp(topic, stamp_ns(message.header.stamp), arrival)
                sample = self.reader.push(topic, message, arrival)
            except ContractError as error:
                self._listener.on_bad_state(error)
                return
            if sample is not None:
                self._listener.on_state(sample)

        return received

    def _check_stamp(self, topic: str, stamp: int, arrival: int) -> None:
        """A stamp from the future would hide that its topic has stopped."""
        self.delays[topic].note(stamp, arrival)
        if stamp - arrival > self._ahead_ns:
            difference = clock_difference(self.delays[topic], f"the driver of {topic}")
            raise ContractError(
                problem(
                    f"joint states on {topic}",
                    "stamps of the past",
                    f"one {(stamp - arrival) / 1e9:.2f} s ahead",
                    difference or "synchronise the two computers (chrony or ptp)",
                )
            )

    def close(self) -> None:
        """Destroy the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions, self.takers = [], {}
