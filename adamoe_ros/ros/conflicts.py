# SPDX-License-Identifier: Apache-2.0
"""Other nodes that have a hand in the same robot: who publishes where one node alone should.

Two sources. The graph says who has a publisher at all; a process that was killed stays in it for up to
20 s. Messages carry their publisher's identity (gid): two of them by turns are two living publishers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from adamoe_ros.contract.errors import problem
from adamoe_ros.ros.topic_reader import Takers

ALIVE_S = (
    2.0  # a publisher that was heard within this time is there; a status comes at 1 Hz or more
)
_NAMED_S = 2.0  # s after which a publisher's node would have its name
_DECIDED_S = 2.0  # s of listening after which another living node would have been heard
DECISION_S = 3.0  # s after which it is decided, where the process is not starved
_DISCOVERY_S = 1.5  # s after which a node knows those that were there before it
_LOOK_S = 0.25  # s between two looks that count: a starved process does not listen
_UNNAMED = "_NODE_NAME_UNKNOWN_"
_GID = 16  # bytes that all distributions have


def publisher_gid(info: Any) -> bytes:
    """Who published a message; empty where the middleware does not say."""
    gid = info.get("publisher_gid") if isinstance(info, dict) else None
    return bytes(gid["data"])[:_GID] if gid else b""


class PublisherGraph:
    """Names of the nodes that publish on a topic, from the graph.

    A node's name comes some moments after its publishers. Who has none for longer is no ROS node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._unnamed: dict[bytes, float] = {}  # gid -> s, since when

    def names(self, topic: str, gids: Collection[bytes] | None = None) -> list[str]:
        """Full names, sorted; a name twice where two nodes have it.

        Args:
            topic: resolved.
            gids: only these publishers.
        """
        found = []
        for info in self._node.get_publishers_info_by_topic(topic):
            gid = bytes(info.endpoint_gid)[:_GID]
            if gids is None or gid in gids:
                found.append(self._name(info, gid))
        return sorted(filter(None, found))

    def _name(self, info: Any, gid: bytes) -> str:
        if info.node_name != _UNNAMED:
            self._unnamed.pop(gid, None)
            return f"{info.node_namespace.rstrip('/')}/{info.node_name}"
        since = self._unnamed.setdefault(gid, time.monotonic())
        return "a publisher without a node" if time.monotonic() - since > _NAMED_S else ""

    def several(self, topic: str) -> bool:
        """Whether there is more than one publisher."""
        return self._node.count_publishers(topic) > 1

    def others(self, topics: Sequence[str], what: str) -> list[str]:
        """Lines about nodes of other names that have a publisher on topics of this node.

        Args:
            topics: resolved; this node publishes on each.
            what: that is published.
        """
        own = self._node.get_fully_qualified_name()
        lines = []
        for topic in filter(self.several, topics):
            others = sorted(set(self.names(topic)) - {own})
            if others:
                expected = f"{what} from {own} alone"
                lines.append(problem(topic, expected, f"also from {', '.join(others)}", "stop it"))
        return lines

    def rivals(self, topic: str, heard: HeardPublishers, what: str) -> list[str]:
        """Lines about publishers whose messages alternate on a topic that one alone should serve.

        Args:
            topic: resolved.
            heard: on it.
            what: that is published, e.g. "joint states of the same joints".
        """
        pairs = heard.rivals(time.monotonic())
        if not pairs:
            return []
        gids = {gid for pair in pairs for gid in pair}
        names = " and ".join(self.names(topic, gids)) or f"{len(gids)} publishers"
        return [problem(topic, f"{what} from one publisher", names, "stop all but one")]


@dataclass
class _Heard:
    parts: frozenset[str]
    first: float
    last: float


class HeardPublishers:
    """The living publishers of one topic, by their messages."""

    def __init__(self) -> None:
        self._heard: dict[bytes, _Heard] = {}

    def note(self, gid: bytes, now: float, parts: Iterable[str] = ("",)) -> None:
        """A message came.

        Args:
            gid: whose; empty: unknown, and not counted.
            now: s, steady clock.
            parts: what it is about, e.g. names of joints.
        """
        if not gid:
            return
        heard = self._heard.get(gid)
        if heard is None or now - heard.last > ALIVE_S:
            self._heard[gid] = _Heard(frozenset(parts), now, now)
            return
        heard.last = now
        if not heard.parts.issuperset(parts):
            heard.parts |= frozenset(parts)

    def _alive(self, now: float) -> list[tuple[bytes, _Heard]]:
        alive = [(gid, heard) for gid, heard in self._heard.items() if now - heard.last <= ALIVE_S]
        self._heard = dict(alive)
        return alive

    def count(self, now: float) -> int:
        """How many there are."""
        return len(self._alive(now))

    def rivals(self, now: float) -> list[tuple[bytes, bytes]]:
        """Pairs whose messages alternate about the same part.

        One that ended before the other began, as at a restart, is no rival.
        """
        alive = self._alive(now)
        return [
            (one, other)
            for place, (one, a) in enumerate(alive)
            for other, b in alive[place + 1 :]
            if a.last > b.first and b.last > a.first and a.parts & b.parts
        ]


class SoleNode:
    """Is this node the only one of its kind? By the status that each of them publishes.

    The topic is listened to only while the graph has more than one publisher of it. ``look`` is for one
    thread, the rest for any.

    Args:
        node: with a publisher on the topic.
        kind, topic, profile: of the status.
        what: of the nodes, e.g. "control_node".
        heard: takes each status with its publisher's gid, this node's own included, in any thread.
    """

    def __init__(
        self,
        node: Node,
        kind: Any,
        topic: str,
        profile: QoSProfile,
        what: str,
        heard: Callable[[Any, bytes], None] | None = None,
    ) -> None:
        self._node, self._kind, self._profile, self._what = node, kind, profile, what
        self._topic, self._heard = node.resolve_topic_name(topic), heard
        self._graph, self._heard_publishers = PublisherGraph(node), HeardPublishers()
        self._subscription: Subscription[Any] | None = None
        self._listened, self._made = 0.0, time.monotonic()
        self._looked = self._made
        self._lock = threading.Lock()
        self._group = MutuallyExclusiveCallbackGroup()  # a transition may hold the node's own

    def _note(self, message: Any, info: Any) -> None:
        with self._lock:
            self._heard_publishers.note(publisher_gid(info), time.monotonic())
        if self._heard is not None:
            self._heard(message, publisher_gid(info))

    def look(self) -> None:
        """Begin or end to listen; often, it is cheap."""
        several, now = self._graph.several(self._topic), time.monotonic()
        self._listened += min(now - self._looked, _LOOK_S)
        self._looked = now
        if several and self._subscription is None:
            with self._lock:
                self._heard_publishers, self._listened = HeardPublishers(), 0.0
            self._subscription = self._node.create_subscription(
                self._kind, self._topic, self._note, self._profile, callback_group=self._group
            )
        elif not several and self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def wait_for_discovery(self, ending: threading.Event) -> None:
        """Block until nodes that were there before are in the graph; before activation."""
        ending.wait(max(0.0, self._made + _DISCOVERY_S - time.monotonic()))

    @property
    def takers(self) -> Takers:
        """For a node that waits inside a callback."""
        return {} if self._subscription is None else {self._subscription: self._note}

    @property
    def undecided(self) -> bool:
        """Whether another publisher is in the graph and it is not known yet if it lives."""
        listening = self._subscription is not None
        return listening and self._listened < _DECIDED_S and not self.lines()

    def lines(self) -> list[str]:
        """Another living node of this kind, for people; empty: there is none."""
        with self._lock:
            count = self._heard_publishers.count(time.monotonic())
        if self._subscription is None or count < 2:
            return []
        names = self._graph.names(self._topic)
        got = f"{len(names)} ({', '.join(names)})"
        return [problem(self._topic, f"one {self._what} for this robot", got, _stop(self._what))]


def _stop(what: str) -> str:
    return f"stop every {what} but one, also on other computers with this ROS_DOMAIN_ID"
