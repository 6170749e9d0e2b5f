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
from adamoe_ros.ros.diagnostics import Diagnostic, Level

__all__ = ["Diagnostic", "Level"]
_LOG_EVERY = 5.0  # s between log lines about one part of the node


class DiagnosticsPublisher:
    """Publishes diagnostics.

    Args:
        node: publisher and timer are made on it.
        source: makes the current diagnostics; called once a second and by ``refresh``.
        hardware_id: e.g. the robot's name.
        period: s between regular messages.
        log: called with a diagnostic that has become worse than OK or says something new then, each
            part not more often than every 5 s; None: nothing is logged.
        callback_group: of the timer; None: the node's own.
    """

    def __init__(
        self,
        node: Node,
        source: Callable[[], Sequence[Diagnostic]],
        hardware_id: str = "",
        period: float = 1.0,
        log: Callable[[Diagnostic], None] | None = None,
        callback_group: CallbackGroup | None = None,
    ) -> None:
        self._node = node
        self._source = source
        self._log = log
        self._logged: dict[str, tuple[str, float]] = {}
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
        diagnostics = self._source()
        if self._digest(diagnostics) != self._last:
            self._send(diagnostics)

    def publish(self) -> None:
        """Publish now."""
        self._send(self._source())

    @staticmethod
    def _digest(diagnostics: Sequence[Diagnostic]) -> list[tuple[str, Level, str]]:
        return [
            (diagnostic.name, diagnostic.level, diagnostic.message) for diagnostic in diagnostics
        ]

    def _send(self, diagnostics: Sequence[Diagnostic]) -> None:
        self._last = self._digest(diagnostics)
        message = DiagnosticArray(status=[self._status(diagnostic) for diagnostic in diagnostics])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
        self._log_changes(diagnostics)

    def _log_changes(self, diagnostics: Sequence[Diagnostic]) -> None:
        now = time.monotonic()
        for diagnostic in diagnostics:
            if diagnostic.level not in (Level.WARN, Level.ERROR):
                self._logged.pop(diagnostic.name, None)
                continue
            logged, at = self._logged.get(diagnostic.name, ("", -_LOG_EVERY))
            if self._log is not None and diagnostic.message != logged and now - at >= _LOG_EVERY:
                self._logged[diagnostic.name] = (diagnostic.message, now)
                self._log(diagnostic)

    def _status(self, diagnostic: Diagnostic) -> DiagnosticStatus:
        prefix = self._node.get_fully_qualified_name().lstrip("/")
        return DiagnosticStatus(
            level=bytes([diagnostic.level]),
            name=f"{prefix}: {diagnostic.name}",
            message=diagnostic.message,
            hardware_id=self.hardware_id,
            values=[
                KeyValue(key=key, value=_text(value)) for key, value in diagnostic.values.items()
            ],
        )


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
