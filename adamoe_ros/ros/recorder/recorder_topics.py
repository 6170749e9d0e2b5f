# SPDX-License-Identifier: Apache-2.0
"""Raw subscriptions to everything an episode needs, made as publishers appear.

Quality of service follows the publishers, so that everything is heard; the last message of latched
topics is kept and goes into every episode's bag at its begin.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_msgs.msg import String

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import command_topics, leader_topics, state_topics
from adamoe_ros.msg import PolicyStatus, TaskStatus
from adamoe_ros.ros import names
from adamoe_ros.ros.transports import PICTURES, PictureNode

OURS = (
    names.INSTRUCTION,
    names.ACTION_CHUNK,
    names.MOTION,
    names.POLICY_STATUS,
    names.CONTROL_STATUS,
    names.TASK_STATUS,
    names.EMERGENCY_STOP,
)
GLOBAL = ("/diagnostics", "/clock", "/tf", "/tf_static")
_DEPTH = 100

OnMessage = Callable[[str, str, bytes], None]


def wanted_topics(node: Node, profile: RobotProfile, extra: tuple[str, ...]) -> dict[str, bool]:
    """Full name -> whether its silence is reported (the profile's own topics)."""
    own = [str(camera.topic) for camera in profile.present_cameras.values()]
    own += [topic.source.topic for topic in state_topics(profile)]
    own += [topic.target.topic for topic in command_topics(profile)]
    wanted = {node.resolve_topic_name(topic): True for topic in (*own, *extra)}
    human = [topic.target.topic for topic in leader_topics(profile)]
    human += [profile.teleop.deadman.topic] if profile.teleop else []
    for topic in (*OURS, *GLOBAL, *human):
        wanted.setdefault(node.resolve_topic_name(topic), False)
    return wanted


class InstructionTopics:
    """The instruction in messages: its own topic first, then the policy's status, then the task's.

    Args:
        resolve: relative name -> full name.

    Attributes:
        ranks: full name -> rank; a lower one is the better source.
    """

    def __init__(self, resolve: Callable[[str], str]) -> None:
        self._types: dict[str, Any] = {
            resolve(names.INSTRUCTION): String,
            resolve(names.POLICY_STATUS): PolicyStatus,
            resolve(names.TASK_STATUS): TaskStatus,
        }
        self.ranks = {topic: rank for rank, topic in enumerate(self._types)}

    def first(self, latched: Mapping[str, bytes]) -> tuple[int, str]:
        """Rank and sentence of the best source that has one; (number of sources, empty): none."""
        for topic, rank in self.ranks.items():
            sentence = self.decode(topic, latched[topic]) if topic in latched else ""
            if sentence:
                return rank, sentence
        return len(self.ranks), ""

    def decode(self, topic: str, data: bytes) -> str:
        """Sentence in a serialised message; empty: none, or the policy's from the goal before."""
        message: Any = deserialize_message(data, self._types[topic])
        if getattr(message, "phase", "executing") not in ("executing", "taken_over"):
            return ""
        return str(getattr(message, "instruction", getattr(message, "data", ""))).strip()


class RawTopics:
    """The subscriptions.

    Args:
        node: they are made on it, those of pictures on ``pictures``.
        wanted: full names.
        on_message: called with topic, type and bytes of each message, in the executor's threads.

    Attributes:
        types: topic -> ``package/msg/Name`` of everything that is listened to.
        latched: topic -> last message of latched topics.
        problems: topic -> why it cannot be recorded.
        pictures: its node has to be spun as well.
    """

    def __init__(self, node: Node, wanted: dict[str, bool], on_message: OnMessage) -> None:
        self._node, self._on_raw = node, on_message
        self.pictures = PictureNode(node, sends=False)
        self.wanted = wanted
        self.types: dict[str, str] = {}
        self.latched: dict[str, bytes] = {}
        self.problems: dict[str, str] = {}
        self._subscriptions: list[Any] = []

    def subscribe_new(self) -> list[str]:
        """Subscribe to topics that have appeared since the last call; lines about those that cannot be."""
        known = {
            name: kinds
            for name, kinds in self._node.get_topic_names_and_types()
            if name in self.wanted
        }
        lines = []
        for topic, kinds in known.items():
            if topic in self.types or topic in self.problems:
                continue
            publishers = self._node.get_publishers_info_by_topic(topic)
            if not publishers:
                continue
            if len(kinds) != 1:
                self.problems[topic] = f"{topic}: expected one type, got {', '.join(kinds)}"
            else:
                self._subscribe(topic, kinds[0], publishers)
            if topic in self.problems:
                lines.append(self.problems[topic])
        return lines

    def destroy(self) -> None:
        """Take the subscriptions off the node."""
        for node, subscription in self._subscriptions:
            node.destroy_subscription(subscription)
        self._subscriptions = []
        self.pictures.close()

    def silent(self) -> list[str]:
        """Topics of the robot that nobody publishes."""
        return [topic for topic, own in self.wanted.items() if own and topic not in self.types]

    def _subscribe(self, topic: str, kind: str, publishers: list[Any]) -> None:
        package, folder, name = kind.split("/")
        try:
            message = getattr(importlib.import_module(f"{package}.{folder}"), name)
        except (ImportError, AttributeError):
            self.problems[topic] = (
                f"{topic}: expected the package {package} for {kind}, got none; source its overlay"
            )
            return
        latched = all(
            item.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for item in publishers
        )
        self.types[topic] = kind
        node = self.pictures.node if kind in PICTURES else self._node
        subscription = node.create_subscription(
            message,
            topic,
            lambda data: self._on_message(topic, kind, latched, data),
            _quality(publishers, latched),
            raw=True,
        )
        self._subscriptions.append((node, subscription))

    def _on_message(self, topic: str, kind: str, latched: bool, data: bytes) -> None:
        if latched:
            self.latched[topic] = data
        self._on_raw(topic, kind, data)


def _quality(publishers: list[Any], latched: bool) -> QoSProfile:
    """What every present publisher offers."""
    reliable = all(
        item.qos_profile.reliability == ReliabilityPolicy.RELIABLE for item in publishers
    )
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
