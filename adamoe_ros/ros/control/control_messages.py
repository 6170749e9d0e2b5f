# SPDX-License-Identifier: Apache-2.0
"""Messages of control_node to and from the plain data of ``control/``."""

from __future__ import annotations

import array
import dataclasses
from typing import Any

import numpy as np

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.control.status import ControlSnapshot
from adamoe_ros.msg import ActionChunk as ChunkMessage
from adamoe_ros.msg import ControlStatus
from adamoe_ros.ros.control.ticks import TickMonitor
from adamoe_ros.streams.messages import stamp_ns


def chunk_from_message(message: ChunkMessage) -> ActionChunk:
    """The chunk as sent; whether it is fit to be followed is the control core's to say.

    Positions that do not fill rows and columns stay one row too short or long, which it refuses.
    """
    rows, columns = int(message.rows), len(message.joint_names)
    positions = np.array(message.positions, dtype=np.float64)
    if rows * columns == positions.size:
        positions = positions.reshape(rows, columns)
    return ActionChunk(
        stamp_ns=stamp_ns(message.header.stamp),
        chunk_id=int(message.chunk_id),
        generation=int(message.generation),
        joint_names=tuple(message.joint_names),
        dt_s=float(message.dt),
        positions=positions,
        committed_rows=int(message.committed_rows),
        instruction=str(message.instruction),
    )


def status_message(
    snapshot: ControlSnapshot, monitor: TickMonitor, stamp: Any, shadow: bool
) -> ControlStatus:
    """``control_status`` from the core's snapshot and the node's own timing."""
    message = ControlStatus(
        shadow=shadow,
        missed_ticks=monitor.missed,
        rate=monitor.rate,
        jitter_p99=monitor.jitter(0.99),
    )
    message.header.stamp = stamp
    for field in dataclasses.fields(snapshot):
        value = getattr(snapshot, field.name)
        setattr(message, field.name, _for_message(value))
    return message


def _for_message(value: Any) -> Any:
    """Vectors as ``array``: rclpy checks those by type and not element by element."""
    if isinstance(value, np.ndarray):
        kind = "d" if value.dtype.kind == "f" else "Q"
        return array.array(kind, value.tolist())
    return list(value) if isinstance(value, tuple) else value
