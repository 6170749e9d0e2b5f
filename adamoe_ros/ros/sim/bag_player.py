# SPDX-License-Identifier: Apache-2.0
"""Publishes a bag on its topics with /clock, where there is no ``ros2 bag play``.

Commands and everything that this package's nodes publish themselves stay out: a replay must not
move a robot, nor answer for the nodes that are being tried.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import command_topics
from adamoe_ros.data.bag.bag_entry import RawMessage
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.ros import names, qos
from adamoe_ros.ros.policy.policy_messages import to_time
from adamoe_ros.ros.transports import PICTURES, PictureNode

_LATCHED = (names.INSTRUCTION, names.TASK_STATUS, "tf_static", "robot_description")
_OWN = (names.ACTION_CHUNK, names.MOTION, names.POLICY_STATUS, names.CONTROL_STATUS)
_CLOCK_NS = 10_000_000  # between clock messages, ns of the bag's time
_WAIT = 10.0  # s for somebody to listen
_BREAK_NS = 2_000_000_000  # between messages: a pause of the recording, or a jump of its clock
_SETTLE = 1.0  # s from the first listener to the first message: the others are found meanwhile


class BagPlayer:
    """One bag on one node.

    Args:
        node: publishers are made on it.
        bag: open.
        profile: of the robot, to know its commands.
        namespace: of the robot's topics in the bag.

    Attributes:
        published: topic -> messages.
        left_out: topics that are not published, and why.
    """

    def __init__(self, node: Node, bag: Bag, profile: RobotProfile, namespace: str = "") -> None:
        self._node, self._bag = node, bag
        before = f"/{namespace.strip('/')}/" if namespace.strip("/") else "/"
        commands = [topic.target.topic for topic in command_topics(profile)]
        kept_out = {name if name.startswith("/") else before + name for name in (*commands, *_OWN)}
        self.left_out = {
            topic: "a command, or a node's own" for topic in bag.topics if topic in kept_out
        }
        self.published: dict[str, int] = {}
        self._pictures = PictureNode(node, sends=True)
        self._publishers: dict[str, Any] = {}
        for topic, entry in bag.topics.items():
            if topic in self.left_out or topic == "/clock" or not entry.count:
                continue
            kind = _message_class(entry.type)
            if kind is None:
                self.left_out[topic] = f"no package for {entry.type}"
                continue
            latched = topic.rsplit("/", 1)[-1] in _LATCHED
            quality = qos.INSTRUCTION if latched else qos.sensor(reliable=True, depth=100)
            maker = self._pictures.node if entry.type in PICTURES else node
            self._publishers[topic] = maker.create_publisher(kind, topic, quality)
            self.published[topic] = 0
        self._clock = node.create_publisher(Clock, "/clock", qos.CLOCK)
        self._clock_ns = 0
        self._has_clock = "/clock" in bag.topics and bag.topics["/clock"].count > 0

    def close(self) -> None:
        """Take the pictures' node down; the main node is its maker's."""
        self._pictures.close()

    def wait_for_listeners(self) -> bool:
        """Until somebody listens to one of the topics; False: nobody came in time."""
        deadline = time.monotonic() + _WAIT
        while time.monotonic() < deadline:
            if any(item.get_subscription_count() for item in self._publishers.values()):
                time.sleep(_SETTLE)
                return True
            time.sleep(0.05)
        return False

    def play(
        self,
        rate: float,
        stopped: Callable[[], bool] = lambda: False,
        before: Callable[[RawMessage], None] = lambda message: None,
    ) -> float:
        """Publish everything once.

        Args:
            rate: bag seconds per second, at most.
            stopped: looked at before each message.
            before: called before each message, e.g. to keep step with somebody.

        Returns:
            s that the end came later than it should have.
        """
        begun, first, newest, late = time.monotonic(), None, 0, 0.0
        for message in self._messages():
            if stopped():
                break
            if first is None or not -_BREAK_NS < message.time_ns - newest < _BREAK_NS:
                begun, first = time.monotonic(), message.time_ns  # a pause is not waited for
            newest = message.time_ns
            due = begun + (message.time_ns - first) / 1e9 / rate
            late = time.monotonic() - due
            while late < 0 and not stopped():
                if not self._has_clock:
                    self._tick(message.time_ns + round(late * rate * 1e9))
                time.sleep(min(-late, 0.005))
                late = time.monotonic() - due
            before(message)
            self._publish(message)
        return max(late, 0.0)

    def _messages(self) -> Iterator[RawMessage]:
        topics = set(self._publishers) | ({"/clock"} if self._has_clock else set())
        return self._bag.raw(topics)

    def _publish(self, message: RawMessage) -> None:
        if message.topic == "/clock":
            self._clock.publish(message.data)
            return
        if not self._has_clock:
            self._tick(message.time_ns)
        self._publishers[message.topic].publish(message.data)
        self.published[message.topic] += 1

    def _tick(self, time_ns: int) -> None:
        if time_ns - self._clock_ns >= _CLOCK_NS or time_ns < self._clock_ns:
            self._clock.publish(Clock(clock=to_time(time_ns)))
            self._clock_ns = time_ns


def _message_class(kind: str) -> Any | None:
    try:
        package, folder, name = kind.split("/")
        return getattr(importlib.import_module(f"{package}.{folder}"), name)
    except (ImportError, AttributeError, ValueError):
        return None


def play(path: Path, profile: RobotProfile, rate: float, loop: bool, namespace: str) -> int:
    """Play a bag in this process; Ctrl-C ends it.

    Raises:
        ContractError: nothing of the bag can be published.
    """
    import rclpy

    from adamoe_ros.ros.runner import Stop, starting_ros

    stop = Stop()
    with starting_ros():
        rclpy.init(args=[], signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
        node = rclpy.create_node("adamoe_bag_player")
    try:
        with Bag(path) as bag, closing(BagPlayer(node, bag, profile, namespace)) as player:
            for topic, why in player.left_out.items():
                print(f"not published: {topic} ({why})", flush=True)
            if not player.published:
                raise ContractError(
                    problem(path.name, "topics to publish", "none", "check the bag and --robot")
                )
            if not player.wait_for_listeners():
                print("nobody listens yet; playing anyway", flush=True)
            late = player.play(rate, lambda: bool(stop))
            while loop and not stop:
                late = player.play(rate, lambda: bool(stop))
            total = sum(player.published.values())
            print(
                f"{total} messages on {len(player.published)} topics, {late:.3f} s late at the end"
            )
            return 3 if bag.state == "partial" else 0
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
