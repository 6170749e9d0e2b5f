# SPDX-License-Identifier: Apache-2.0
"""Parameters of control_node."""

from __future__ import annotations

from dataclasses import dataclass

from adamoe_ros.contract.parameters import ManagedParameters, param
from adamoe_ros.control.settings import ControlSettings


@dataclass(frozen=True)
class ControlParameters(ControlSettings, ManagedParameters):
    """``ControlSettings`` and what the node alone has."""

    shadow: bool = param(
        False, "Publish commands below ~/shadow/ only: everything works and nothing moves."
    )
    status_rate: float = param(
        20.0,
        "Rate of control_status, besides every change of mode.",
        unit="Hz",
        bounds=(1.0, 100.0),
    )
    trajectory_time: float = param(
        0.0,
        "time_from_start of JointTrajectory points; 0: two control periods.",
        unit="s",
        bounds=(0.0, 1.0),
    )
    realtime_priority: int = param(
        0, "SCHED_FIFO priority of the control process; 0: normal scheduling.", bounds=(0, 99)
    )
    lock_memory: bool = param(False, "Keep the process in memory (mlockall).")
    tick_log: str = param(
        "",
        "File (.npy) that gets steady time, s, and source of all ticks when the node stops; empty: none.",
    )
