# SPDX-License-Identifier: Apache-2.0
"""Leader arms and dead-man switch of a profile, live: heard, in time, near the arms' ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rclpy.node import Node

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.limits import joint_limits
from adamoe_ros.ros import qos
from adamoe_ros.ros.control.command_outputs import message_class, message_type
from adamoe_ros.ros.doctor.report import Check
from adamoe_ros.ros.doctor.stream_checks import Arrivals
from adamoe_ros.streams.joint_states import listed
from adamoe_ros.streams.teleop import LeaderReader, deadman_held, deadman_type

_AREA = "robot"


class TeleopListener:
    """Listens to what a human takes over with; a profile without ``teleop`` has nothing to hear.

    Args:
        node: subscriptions are made on it.

    Raises:
        ContractError: a message package of a leader is not installed.
    """

    def __init__(self, node: Node, profile: RobotProfile) -> None:
        self._node, self._profile = node, profile
        self._arrivals: dict[str, Arrivals] = {}
        self._wrong: dict[str, str] = {}
        self._led: Any = None
        self._held: bool | None = None
        self._leaders = LeaderReader(profile) if profile.teleop else None
        if self._leaders is None or profile.teleop is None:
            return
        for topic in self._leaders.topics:
            name, quality = topic.target.topic, qos.sensor(topic.source.reliable)
            self._listen(message_type(topic), name, quality, self._leader(self._leaders, name))
        deadman = profile.teleop.deadman

        def switched(message: Any, now: int) -> None:
            self._held = deadman_held(deadman, message)

        kind = message_class(deadman_type(deadman))
        self._listen(kind, deadman.topic, qos.sensor(deadman.reliable), switched)

    def _listen(
        self, kind: Any, topic: str, quality: Any, take: Callable[[Any, int], None]
    ) -> None:
        arrivals = self._arrivals[topic] = Arrivals()

        def note(message: Any) -> None:
            now = self._node.get_clock().now().nanoseconds
            arrivals.note(now, now)
            take(message, now)

        self._node.create_subscription(kind, topic, note, quality)

    def _leader(self, leaders: LeaderReader, topic: str) -> Callable[[Any, int], None]:
        def led(message: Any, now: int) -> None:
            try:
                self._led = leaders.push(topic, message, now) or self._led
            except ContractError as error:
                self._wrong[topic] = str(error)

        return led

    def restart(self) -> None:
        """Gaps count from here on."""
        for arrivals in self._arrivals.values():
            arrivals.stamps_ns.clear()
            arrivals.received_ns.clear()

    def checks(self) -> Iterator[Check]:
        """One a topic, one of the leaders' positions, one of the switch."""
        if self._leaders is None or self._profile.teleop is None:
            return
        timeouts = {topic.target.topic: topic.source.timeout for topic in self._leaders.topics}
        deadman = self._profile.teleop.deadman
        for topic, arrivals in self._arrivals.items():
            yield self._topic(topic, arrivals, timeouts.get(topic, deadman.timeout))
        if self._led is not None:
            yield self._positions()
        if self._held:
            do = "let it go, or it is stuck: a press counts only after a release"
            yield Check(_AREA, deadman.topic, "warn", f"held now; {do}")

    def _topic(self, topic: str, arrivals: Arrivals, timeout: float) -> Check:
        if topic in self._wrong:
            return Check(_AREA, topic, "fail", self._wrong[topic])
        publishers, teleop = self._node.count_publishers(topic), self._profile.teleop
        assert teleop is not None
        sharing = [leader for leader in teleop.arms.values() if leader.topic == topic]
        if not arrivals.received_ns and teleop.console and publishers:
            return Check(_AREA, topic, "ok", "silent: the page sends while a person leads from it")
        if not arrivals.received_ns:  # a robot may well run without anybody at the leader
            do = "nobody can take over; start it, or correct teleop in the profile"
            return Check(_AREA, topic, "warn", f"no message ({publishers} publishers): {do}")
        gap = arrivals.longest_gap
        if publishers > max(1, len(sharing)) + teleop.console:  # the page gives way to others
            return Check(
                _AREA, topic, "fail", f"{publishers} publishers; one must lead: stop others"
            )
        if gap >= timeout:
            text = f"longest gap {gap * 1e3:.0f} ms, lost after {timeout * 1e3:.0f} ms: send faster"
            return Check(_AREA, topic, "fail", text)
        return Check(_AREA, topic, "ok", f"{arrivals.rate:.0f} Hz, longest gap {gap * 1e3:.0f} ms")

    def _positions(self) -> Check:
        limits, ids = joint_limits(self._profile), self._profile.joint_ids
        led = [c for topic in self._leaders.topics for c in topic.columns] if self._leaders else []
        margin = 0.05 * (limits.high - limits.low)
        values = self._led.positions
        fits = (values >= limits.low - margin) & (values <= limits.high + margin)
        wrong = [f"{ids[c]} {values[c]:.3f}" for c in sorted(led) if not fits[c]]
        name = "leader positions"
        if wrong:
            do = "correct unit, order or gripper ends in teleop of the profile"
            return Check(_AREA, name, "fail", f"{listed(wrong)} outside of the arms' limits; {do}")
        return Check(_AREA, name, "ok", f"{len(np.unique(led))} joints inside of the arms' limits")
