# SPDX-License-Identifier: Apache-2.0
"""The policy's cameras and joint states: subscriptions that feed the aligner.

Callbacks run in a group of their own, so that pictures keep coming in while a service or a goal is
being handled; the lock keeps aligner and readers consistent between threads. Imports rclpy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, JointState

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.joint_map import JointMap
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.ros import qos
from adamoe_ros.streams.buffer import StreamHealth
from adamoe_ros.streams.inputs import ObservationInputs
from adamoe_ros.streams.messages import stamp_ns

_KINDS = {"image": Image, "compressed": CompressedImage, "joint_state": JointState}


class PolicyInputs:
    """Subscriptions of one configured policy.

    Args:
        node: they are made on it.
        profile: topics, types, encodings, tolerances.
        slots: the checkpoint's camera slots, in its order.
        joint_map: driver's state -> model's.
        arrived: called after each input that was kept, in the executor's thread.

    Raises:
        ContractError: a slot is unknown or an encoding cannot be read.
    """

    def __init__(
        self,
        node: Node,
        profile: RobotProfile,
        slots: Sequence[str],
        joint_map: JointMap,
        arrived: Callable[[], None],
    ) -> None:
        self._node = node
        self._arrived = arrived
        self._lock = threading.Lock()
        commands = profile.state_source == "last_command"
        to_model = joint_map.model_from_command if commands else joint_map.model_from_state
        self._inputs = ObservationInputs(profile, slots, to_model)
        self._aligner = self._inputs.aligner
        self._wrong: dict[str, str] = {}
        self._told: set[str] = set()
        group = MutuallyExclusiveCallbackGroup()
        self._subscriptions: list[Any] = [
            node.create_subscription(
                _KINDS[topic.kind],
                topic.topic,
                lambda message, name=topic.name: self._on_message(name, message),
                qos.sensor(topic.reliable, depth=50 if topic.kind == "joint_state" else 5),
                callback_group=group,
            )
            for topic in self._inputs.topics
        ]

    def destroy(self) -> None:
        """Take the subscriptions off the node."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def take_commanded(self, stamp: Any, commanded: Sequence[float]) -> None:
        """What control_node last sent, as the state where the profile says so.

        Args:
            stamp: of control_status.
            commanded: (J,) in ``joint_ids`` order; empty before the first command.
        """
        if not self._inputs.from_commands or not len(commanded):
            return
        values, arrival = np.asarray(commanded, np.float64), self._now()
        with self._lock:
            self._inputs.push_commanded(stamp_ns(stamp), values, arrival)
        self._note()

    @property
    def newest_ns(self) -> int | None:
        """Stamp that the next observation would have; None while a camera has not delivered."""
        with self._lock:
            return self._aligner.reference_ns

    @property
    def oldest_ns(self) -> int | None:
        """Newest stamp of the camera or state topic that is furthest behind; None until all came."""
        with self._lock:
            return self._aligner.oldest_ns

    def observation(self, instruction: str) -> Observation | None:
        """The newest consistent observation; None while there is none."""
        with self._lock:
            return self._aligner.observation(instruction)

    def missing(self) -> list[str]:
        """Inputs that are not live, with the reason where it is known; empty: all live."""
        now = self._now()
        with self._lock:
            lines = self._aligner.missing(now)
            wrong = dict(self._wrong)
        names = [line.split(" ", 1)[0] for line in lines]
        return [wrong.get(name, line) for name, line in zip(names, lines, strict=True)]

    def health(self) -> list[StreamHealth]:
        """Condition of every stream, cameras first."""
        now = self._now()
        with self._lock:
            return self._aligner.health(now)

    @property
    def unused_frames(self) -> int:
        """Camera frames that arrived but were never used because a newer one came."""
        with self._lock:
            return self._aligner.unused_frames

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _on_message(self, name: str, message: Any) -> None:
        arrival = self._now()
        try:
            sample = self._inputs.decode(name, message, arrival)
        except ContractError as error:
            self._complain(name, str(error))
            return
        with self._lock:
            self._wrong.pop(name, None)
            self._inputs.push(name, sample, arrival)
        self._note()

    def _note(self) -> None:
        with self._lock:
            events = self._aligner.take_events()
        for event in events:
            self._node.get_logger().warning(event)
        self._arrived()

    def _complain(self, name: str, line: str) -> None:
        """Remember why an input does not count, and say so once per reason."""
        with self._lock:
            self._wrong[name] = line
            new = line not in self._told
            self._told.add(line)
        if new:
            self._node.get_logger().error(line)
