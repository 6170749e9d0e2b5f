# SPDX-License-Identifier: Apache-2.0
"""Is there one of each: control_node, policy_node, publisher of chunks and of every joint?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from rclpy.node import Node

from adamoe_ros.msg import ControlStatus, PolicyStatus
from adamoe_ros.ros import names, qos
from adamoe_ros.ros.conflicts import HeardPublishers, PublisherGraph, publisher_gid
from adamoe_ros.ros.doctor.report import Check
from adamoe_ros.streams.clocks import Delays, clock_difference
from adamoe_ros.streams.messages import stamp_ns

_AREA = "robot"
_NODES = {
    names.CONTROL_NODE: (ControlStatus, names.CONTROL_STATUS, qos.CONTROL_STATUS),
    "policy_node": (PolicyStatus, names.POLICY_STATUS, qos.POLICY_STATUS),
}


class NodeStatuses:
    """Listens to the status of both nodes from when it is made.

    Args:
        node: of the doctor.
        sim_time: stamps are of the simulator's clock, which is everybody's.
    """

    def __init__(self, node: Node, sim_time: bool) -> None:
        self._node, self._graph, self._sim_time = node, PublisherGraph(node), sim_time
        self._heard = {name: HeardPublishers() for name in _NODES}
        self._delays = {name: Delays() for name in _NODES}
        for name, (kind, topic, profile) in _NODES.items():
            node.create_subscription(kind, topic, partial(self._note, name), profile)

    def _note(self, name: str, message: Any, info: Any) -> None:
        self._heard[name].note(publisher_gid(info), time.monotonic())
        arrival = self._node.get_clock().now().nanoseconds
        self._delays[name].note(stamp_ns(message.header.stamp), arrival)

    def checks(self) -> Iterator[Check]:
        """One per node that is there or has a fault, and one of the publishers of chunks."""
        for name, (_, topic, _) in _NODES.items():
            resolved = self._node.resolve_topic_name(topic)
            if self._node.count_publishers(resolved):
                lines = self._graph.rivals(resolved, self._heard[name], f"the status of one {name}")
                yield from _check(name, lines, "there is one")
                clock = clock_difference(self._delays[name], f"{name}'s computer")
                if clock and not self._sim_time:
                    yield Check(_AREA, f"{name} clock", "warn", clock)
        topic = self._node.resolve_topic_name(names.ACTION_CHUNK)
        planners = sorted(set(self._graph.names(topic)))
        if len(planners) > 1:
            text = f"{' and '.join(planners)} publish here; the arms hold: stop one"
            yield Check(_AREA, topic, "fail", text)

    def joints(self, topic: str, heard: HeardPublishers) -> Iterator[Check]:
        """Whether a joint comes from two publishers."""
        lines = self._graph.rivals(topic, heard, "joint states of the same joints")
        if lines:
            yield Check(_AREA, f"{topic} drivers", "fail", lines[0])


def _check(name: str, lines: list[str], good: str) -> Iterator[Check]:
    yield Check(_AREA, name, "fail" if lines else "ok", "; ".join(lines) or good)
