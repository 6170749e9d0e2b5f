# SPDX-License-Identifier: Apache-2.0
"""``/diagnostics`` of a node: once a second, and at once when a level or message changes.

Written without ``diagnostic_updater``, which the package index does not carry. Runs on the steady
clock, so a stopped ``/clock`` is reported instead of silencing the report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.node import Node

from adamoe_ros.ros import qos
from adamoe_ros.ros.finding import Finding, Level

__all__ = ["Diagnostics", "Finding", "Level"]
_SAY_EVERY = 5.0  # s between log lines about one part of the node


class Diagnostics:
    """Publishes findings.

    Args:
        node: publisher and timer are made on it.
        source: makes the current findings; called once a second and by ``refresh``.
        hardware_id: e.g. the robot's name.
        period: s between regular messages.
        say: told a finding that has become worse than OK or says something new then, each part
            not more often than every 5 s; None: nobody is told.
        callback_group: of the timer; None: the node's own.
    """

    def __init__(
        self,
        node: Node,
        source: Callable[[], Sequence[Finding]],
        hardware_id: str = "",
        period: float = 1.0,
        say: Callable[[Finding], None] | None = None,
        callback_group: CallbackGroup | None = None,
    ) -> None:
        self._node = node
        self._source = source
        self._say = say
        self._said: dict[str, tuple[str, float]] = {}
        self.hardware_id = hardware_id
        self._last: list[tuple[str, Level, str]] = []
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._timer = node.create_timer(
            period,
            self.publish,
            callback_group=callback_group,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def refresh(self) -> None:
        """Publish now if a level or a message differs from the last time."""
        findings = self._source()
        if self._digest(findings) != self._last:
            self._send(findings)

    def publish(self) -> None:
        """Publish now."""
        self._send(self._source())

    @staticmethod
    def _digest(findings: Sequence[Finding]) -> list[tuple[str, Level, str]]:
        return [(finding.name, finding.level, finding.message) for finding in findings]

    def _send(self, findings: Sequence[Finding]) -> None:
        self._last = self._digest(findings)
        message = DiagnosticArray(status=[self._status(finding) for finding in findings])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
        self._tell(findings)

    def _tell(self, findings: Sequence[Finding]) -> None:
        now = time.monotonic()
        for finding in findings:
            if finding.level not in (Level.WARN, Level.ERROR):
                self._said.pop(finding.name, None)
                continue
            said, at = self._said.get(finding.name, ("", -_SAY_EVERY))
            if self._say is not None and finding.message != said and now - at >= _SAY_EVERY:
                self._said[finding.name] = (finding.message, now)
                self._say(finding)

    def _status(self, finding: Finding) -> DiagnosticStatus:
        prefix = self._node.get_fully_qualified_name().lstrip("/")
        return DiagnosticStatus(
            level=bytes([finding.level]),
            name=f"{prefix}: {finding.name}",
            message=finding.message,
            hardware_id=self.hardware_id,
            values=[KeyValue(key=key, value=_text(value)) for key, value in finding.values.items()],
        )


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
