# SPDX-License-Identifier: Apache-2.0
"""Parameters of control_node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adamoe_ros.contract.parameters import ManagedParameters, param
from adamoe_ros.control.settings import ControlSettings
from adamoe_ros.control.strategies import STRATEGIES


@dataclass(frozen=True)
class ControlParameters(ManagedParameters):
    """Parameters of control_node, declared here and nowhere else."""

    robot: str = param("", "Robot profile: the name of a shipped one or the path of a .yaml file.")
    rate: float = param(
        0.0, "Command rate; 0: the profile's command_rate.", unit="Hz", bounds=(0.0, 1000.0)
    )
    strategy: str = param(
        "async",
        "How chunks follow each other; the same in policy_node.",
        choices=tuple(STRATEGIES),
    )
    smoothing: float = param(
        0.0,
        "Window over which the rows of a chunk are smoothed, without delay (local quadratic fit; not "
        "the grippers): for policies whose rows are noisy. 0: rows are played as they come.",
        unit="s",
        bounds=(0.0, 1.0),
    )
    shadow: bool = param(
        False, "Publish commands below ~/shadow/ only: everything works and nothing moves."
    )
    max_speed_scale: float = param(
        1.0,
        "Share of the joints' velocity limits that may be used.",
        bounds=(0.02, 1.0),
        dynamic=True,
    )
    start_ramp: bool = param(
        False,
        "Move slowly to the first row where it is farther away than gate.max_start_distance, "
        "instead of refusing the chunk.",
        dynamic=True,
    )
    start_ramp_speed: float = param(
        0.2,
        "Share of the joints' velocity limits during that slow approach.",
        bounds=(0.02, 1.0),
        dynamic=True,
    )
    hold_output: bool = param(
        True, "Send the held command in every tick while holding; false: send nothing then."
    )
    estop_output: bool = param(
        False,
        "Send the held command in every tick after an emergency stop; false: send it once, then nothing.",
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
        "File (.npy) that gets the steady times of all ticks, s, when the node stops; empty: none.",
    )

    def settings(self) -> ControlSettings:
        """What the control core takes of them."""
        return ControlSettings(
            rate_hz=self.rate,
            strategy=self.strategy,
            smoothing_s=self.smoothing,
            hold_output=self.hold_output,
            estop_output=self.estop_output,
            **self.changeable(),
        )

    def changeable(self) -> dict[str, Any]:
        """The core's settings that may change while active, by name."""
        return {
            "max_speed_scale": self.max_speed_scale,
            "start_ramp": self.start_ramp,
            "start_ramp_speed": self.start_ramp_speed,
        }
