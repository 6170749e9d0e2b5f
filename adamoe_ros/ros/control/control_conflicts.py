# SPDX-License-Identifier: Apache-2.0
"""Which other nodes have a hand in the arms that control_node commands.

A second control_node or policy_node, another publisher of commands or chunks, a joint that two drivers
measure. Any of them makes the arms hold: nobody knows then whose word moves them next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node

from adamoe_ros.contract.errors import problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import command_topics, state_topics
from adamoe_ros.control.settings import Cause
from adamoe_ros.msg import ControlStatus
from adamoe_ros.ros import names, qos
from adamoe_ros.ros.conflicts import (
    HeardPublishers,
    PublisherGraph,
    SoleNode,
    publisher_gid,
)
from adamoe_ros.ros.topic_reader import Takers

_ECHOES = 256  # statuses of this node that may come back to it


class ControlConflicts:
    """Collects them.

    Args:
        node: control_node.
    """

    def __init__(self, node: Node) -> None:
        self._node, self._graph = node, PublisherGraph(node)
        self._sole = SoleNode(
            node,
            ControlStatus,
            names.CONTROL_STATUS,
            qos.CONTROL_STATUS,
            names.CONTROL_NODE,
            self._note_status,
        )
        self._stopped: set[bytes] = set()  # gids of control nodes whose emergency stop is latched
        self._newly_stopped = threading.Event()
        self._own: tuple[Any, ...] = ()  # of statuses of this node; replaced, as threads read it
        self._policy, self._chunks = HeardPublishers(), HeardPublishers()
        self._chunk_gid = b""
        self._commands: list[str] = []
        self._joints: dict[str, frozenset[str]] = {}
        self._drivers: dict[str, HeardPublishers] = {}

    def note_own_status(self, status: ControlStatus) -> None:
        """It is about to be published: its echo must not undo a reset."""
        self._own = (*self._own[1 - _ECHOES :], _identity(status))

    def _note_status(self, status: ControlStatus, gid: bytes) -> None:
        if _identity(status) in self._own:
            return
        if status.hold_cause != Cause.EMERGENCY_STOP:
            self._stopped.discard(gid)
        elif gid not in self._stopped:
            self._stopped.add(gid)
            self._newly_stopped.set()

    def take_stop(self) -> bool:
        """Whether another control_node has latched an emergency stop since the last call.

        A service call may reach one of two: its caller leaves with the first answer.
        """
        newly = self._newly_stopped.is_set()
        self._newly_stopped.clear()
        return newly

    def watch_robot(self, profile: RobotProfile, shadow: bool) -> None:
        """Look at the topics of a robot as well; with ``shadow`` its commands are not ours."""
        resolve = self._node.resolve_topic_name
        commands = [] if shadow else [topic.target.topic for topic in command_topics(profile)]
        self._commands = [resolve(topic) for topic in commands]
        self._joints = {
            topic.source.topic: frozenset(topic.names) for topic in state_topics(profile)
        }
        self._drivers = {topic: HeardPublishers() for topic in self._joints}

    def forget_robot(self) -> None:
        """The node is not configured any more."""
        self._commands, self._joints, self._drivers = [], {}, {}

    def note_state(self, topic: str, joints: Sequence[str], info: Any) -> None:
        """A joint state came on a topic of the profile; without names it is about all its joints."""
        ours = self._joints[topic].intersection(joints) if joints else self._joints[topic]
        self._drivers[topic].note(publisher_gid(info), time.monotonic(), ours)

    def note_policy(self, info: Any) -> None:
        """A policy_status came."""
        self._policy.note(publisher_gid(info), time.monotonic())

    def note_chunk(self, info: Any) -> bool:
        """A chunk came; True: from another publisher than the one before."""
        gid = publisher_gid(info)
        self._chunks.note(gid, time.monotonic())
        before, self._chunk_gid = self._chunk_gid, gid
        return gid != before

    def lines(self) -> list[str]:
        """Every one of them, for people; empty: this node alone moves the arms, for one policy."""
        self._sole.look()
        graph, resolve = self._graph, self._node.resolve_topic_name
        found = self._sole.lines()
        found += graph.others(self._commands, "commands")
        found += self._planners()
        found += graph.rivals(resolve(names.POLICY_STATUS), self._policy, "the heartbeat")
        for topic, heard in self._drivers.items():
            found += graph.rivals(resolve(topic), heard, "joint states of the same joints")
        return found

    def _planners(self) -> list[str]:
        """Publishers of chunks: nodes of different names, or living ones of the same."""
        topic = self._node.resolve_topic_name(names.ACTION_CHUNK)
        if self._graph.several(topic):
            nodes = sorted(set(self._graph.names(topic)))
            if len(nodes) > 1:
                return [problem(topic, "chunks from one node", " and ".join(nodes), "stop one")]
        return self._graph.rivals(topic, self._chunks, "chunks")

    def wait_for_discovery(self, ending: threading.Event) -> None:
        """Block until nodes that were there before this one are known."""
        self._sole.wait_for_discovery(ending)

    @property
    def takers(self) -> Takers:
        """For a node that waits inside a callback."""
        return self._sole.takers

    def undecided(self) -> list[str]:
        """Why it cannot be said yet that there is no other control_node; empty: it can."""
        if not self._sole.undecided:
            return []
        do = "wait a second; activation is tried again with autostart"
        return [problem(names.CONTROL_STATUS, "one publisher", "another one, silent so far", do)]


def _identity(status: ControlStatus) -> tuple[int, int, int, str]:
    """What tells a node's statuses from another's: no middleware names the publisher to both sides."""
    stamp = status.header.stamp
    return stamp.sec, stamp.nanosec, status.mode, status.hold_cause
