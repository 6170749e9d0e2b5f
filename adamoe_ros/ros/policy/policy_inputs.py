# SPDX-License-Identifier: Apache-2.0
"""The policy's cameras and joint states, from their topics into the aligner.

A ``TopicReader`` takes them in its thread, joint states first, so that a picture finds the joint state
of its moment; pictures are decoded by whoever wants an observation. The lock keeps the aligner
consistent between threads. Pictures come through a participant of their own (``PictureNode``); when a
publisher is there and not heard, all subscriptions are made anew (``Hearing``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, JointState

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.joint_map import JointMap
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.ros import qos
from adamoe_ros.ros.policy.hearing import PATIENCE, RENEWALS, Hearing, Step, with_senders
from adamoe_ros.ros.topic_reader import PAST_EXECUTORS, TopicReader
from adamoe_ros.ros.transports import PictureNode
from adamoe_ros.streams.buffer import SILENT, StreamHealth
from adamoe_ros.streams.inputs import FrameError, InputTopic, ObservationInputs, decoded
from adamoe_ros.streams.memory import keep_freed_pictures
from adamoe_ros.streams.messages import stamp_ns

_KINDS = {"image": Image, "compressed": CompressedImage, "joint_state": JointState}
# messages that may wait while this process is busy: half a second of joint states at 200 Hz
_DEPTHS = {"image": 5, "compressed": 5, "joint_state": 100}
_SAY_EVERY = 2.0  # s between log lines about one stream


class PolicyInputs:
    """Inputs of one configured policy, taken from when this is made until ``close``.

    Args:
        node: they are made on it.
        profile: topics, types, encodings, tolerances.
        slots: the checkpoint's camera slots, in its order.
        joint_map: driver's state -> model's.
        arrived: called after inputs were taken, in the reader's thread.
        failed: called with an exception that is no ``ContractError``; nothing is taken any more.

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
        failed: Callable[[Exception], None],
    ) -> None:
        self._node = node
        self._arrived = arrived
        self._joints = len(profile.joint_ids)
        self._lock = threading.Lock()
        commands = profile.state_source == "last_command"
        to_model = joint_map.model_from_command if commands else joint_map.model_from_state
        self._inputs = ObservationInputs(profile, slots, to_model)
        self._aligner = self._inputs.aligner
        # stream -> Hz, where the profile says so
        self.declared_rates = {slot: profile.cameras[slot].rate for slot in self._aligner.slots}
        # stream -> why its last message does not count; why a picture that looked whole was none
        self._wrong: dict[str, str] = {}
        self._damaged: dict[str, str] = {}
        self._said: dict[str, float] = {}
        keep_freed_pictures()
        self._failed = failed
        self._topics = sorted(self._inputs.topics, key=lambda topic: topic.kind != "joint_state")
        self._hearing = Hearing((topic.name for topic in self._topics), time.monotonic())
        self._life = threading.Lock()  # subscriptions are made and closed by several threads
        self._closed = False
        self._pictures = PictureNode(node, sends=False)
        self._readers: list[TopicReader] = []
        self._subscriptions: list[tuple[Node, Subscription[Any]]] = []
        self._listen()

    def _listen(self) -> None:
        for topic in self._topics:
            node, _ = self._nodes(topic)
            self._subscribe(node, topic, partial(self._on_message, topic.name))
        self._read([subscription for _, subscription in self._subscriptions])

    def _read(self, subscriptions: Sequence[Subscription[Any]]) -> None:
        self._readers.append(TopicReader(self._node, subscriptions, self._note, self._failed))

    def _subscribe(
        self, node: Node, topic: InputTopic, callback: Callable[[Any], None]
    ) -> Subscription[Any]:
        made = node.create_subscription(
            _KINDS[topic.kind],
            self._node.resolve_topic_name(topic.topic),
            callback,
            qos.sensor(topic.reliable, depth=_DEPTHS[topic.kind]),
            callback_group=PAST_EXECUTORS,
        )
        self._subscriptions.append((node, made))
        return made

    def _stop_listening(self) -> None:
        for reader in self._readers:
            reader.close()
        for node, subscription in self._subscriptions:
            node.destroy_subscription(subscription)
        self._readers, self._subscriptions = [], []

    def close(self) -> None:
        """End the reader's thread, take the subscriptions down. May be called twice."""
        with self._life:
            if not self._closed:
                self._closed = True
                self._stop_listening()
                self._pictures.close()

    def check_hearing(self) -> str:
        """Look whether what is published is heard, and listen anew where it is not; call it regularly.

        Returns:
            Why the process should end: messages get through to it, but not to these subscriptions.
            Empty: go on.
        """
        published = {
            topic.name: ", ".join(info.node_name for info in found)
            for topic in self._topics
            if (found := self._publishers(topic))
        }
        step, deaf = self._hearing.look(published, time.monotonic())
        if step is Step.NOTHING:
            return ""
        senders = "; ".join(f"{name} by {published[name]}" for name in deaf)
        line = f"inputs: expected what is published ({senders}), got nothing for {PATIENCE:g} s"
        if step is Step.END:
            return f"{line}, though it reaches this process; start the node again"
        with self._life:
            if self._closed:
                return ""
            if step is Step.RENEW:
                line += f"; listening anew ({self._hearing.renewals} of {RENEWALS})"
                self._stop_listening()
                if any(t.name in deaf and t.kind != "joint_state" for t in self._topics):
                    self._pictures.renew()
                self._listen()
            else:
                line += "; new subscriptions did not help: see whether the publishers send at all"
                self._cross_check(deaf)
        self._node.get_logger().warning(line)
        return ""

    def _cross_check(self, streams: Sequence[str]) -> None:
        """Take topics through the other participant as well, only to know whether anything comes."""
        if not self._pictures.apart:
            return
        self._read(
            [
                self._subscribe(self._nodes(topic)[1], topic, partial(self._elsewhere, topic.name))
                for topic in self._topics
                if topic.name in streams
            ]
        )

    def _nodes(self, topic: InputTopic) -> tuple[Node, Node]:
        """The node that takes the topic, and the one that does not; one where the user chose transports."""
        main, pictures = self._node, self._pictures.node
        return (main, pictures) if topic.kind == "joint_state" else (pictures, main)

    def _elsewhere(self, name: str, message: Any) -> None:
        self._hearing.note_elsewhere(name)

    def _publishers(self, topic: InputTopic) -> list[Any]:
        """As either participant knows them: one of them may have missed an announcement."""
        name = self._node.resolve_topic_name(topic.topic)
        found = self._node.get_publishers_info_by_topic(name)
        with self._life:  # another thread may be making the other participant anew
            if found or self._closed:
                return found
            return self._pictures.node.get_publishers_info_by_topic(name)

    def take_commanded(self, stamp: Any, commanded: Sequence[float]) -> None:
        """What control_node last sent, as the state where the profile says so.

        Args:
            stamp: of control_status.
            commanded: (J,) in ``joint_ids`` order; empty before the first command.
        """
        if not self._inputs.from_commands or not len(commanded):
            return
        values, arrival = np.asarray(commanded, np.float64), self._now()
        if len(values) != self._joints or not np.isfinite(values).all():
            expected = f"{self._joints} finite positions"
            line = problem("control_status: commanded", expected, "others", "use one robot profile")
            self._complain("control_status", line)
            return
        with self._lock:
            self._inputs.push_commanded(stamp_ns(stamp), values, arrival)
        self._note()

    @property
    def newest_ns(self) -> int | None:
        """Stamp that the next observation would have; None: none can be had."""
        with self._lock:
            return self._aligner.ready_ns

    @property
    def oldest_ns(self) -> int | None:
        """Newest stamp of the camera or state topic that is furthest behind; None until all came."""
        with self._lock:
            return self._aligner.oldest_ns

    def observation(self, instruction: str) -> Observation | None:
        """The newest complete observation; None while there is none. Decodes pictures."""
        while True:
            with self._lock:
                ready = self._aligner.ready_ns
                found = None if ready is None else self._aligner.observation(instruction, ready)
            if found is None:
                return None
            try:
                whole = decoded(found)
                self._damaged.clear()
                return whole
            except FrameError as broken:
                with self._lock:
                    self._aligner.drop_image(broken.slot, broken.stamp_ns)
                    self._damaged[broken.slot] = str(broken)
                self._complain(broken.slot, str(broken))

    def missing(self) -> list[str]:
        """Inputs that are not live, with the reason where it is known; empty: all live."""
        now = self._now()
        with self._lock:
            lines = self._inputs.missing(now)
            wrong = self._damaged | self._wrong
        names = [line.split(" ", 1)[0] for line in lines]
        return [
            wrong.get(name) or self._lost(name, line)
            for name, line in zip(names, lines, strict=True)
        ]

    def _lost(self, name: str, line: str) -> str:
        """A stream from which nothing comes, with its publishers where they are known."""
        topic = next((topic for topic in self._topics if topic.name == name), None)
        silent = line == name or f"{name} ({SILENT}" in line
        senders = self._publishers(topic) if topic is not None and silent else []
        return with_senders(line, {info.node_name for info in senders})

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
        self._hearing.note(name)
        try:
            sample = self._inputs.accept(name, message, arrival)
        except ContractError as error:
            with self._lock:
                self._wrong[name] = str(error)
            self._complain(name, str(error))
            return
        with self._lock:
            self._wrong.pop(name, None)
            self._inputs.push(name, sample, arrival)

    def _note(self) -> None:
        with self._lock:
            events = self._aligner.take_events()
        for event in events:
            self._node.get_logger().warning(event)
        self._arrived()

    def _complain(self, name: str, line: str) -> None:
        """Say why a message does not count, not more often than a person reads."""
        now = time.monotonic()
        if now - self._said.get(name, -_SAY_EVERY) >= _SAY_EVERY:
            self._said[name] = now
            self._node.get_logger().error(line)
