# SPDX-License-Identifier: Apache-2.0
"""Parameters of loopback_node."""

from __future__ import annotations

from dataclasses import dataclass

from adamoe_ros.contract.parameters import ManagedParameters, param

FAULTS = (
    "none",
    "silent",
    "freeze",
    "missing_joint",
    "reverse_order",
    "nan",
    "offset",
    "clock_ahead",
    "clock_behind",
)
CAMERA_FAULTS = ("none", "silent", "truncated", "wrong_encoding")


@dataclass(frozen=True)
class LoopbackParameters(ManagedParameters):
    """Parameters of loopback_node, declared here and nowhere else."""

    state_rate: float = param(100.0, "Rate of the joint states.", unit="Hz", bounds=(1.0, 500.0))
    cameras: bool = param(False, "Publish test images on the camera topics of the profile.")
    fault: str = param(
        "none",
        "Play a broken driver: no states, the same state for ever, the last joint left out, names and "
        "values in reverse order, not a number, every joint 0.2 beside its command, or a clock that is 0.5 s "
        "ahead or behind.",
        choices=FAULTS,
        dynamic=True,
    )
    camera_fault: str = param(
        "none",
        "Play a broken first camera: no frames, frames that lost most of their bytes, or frames of "
        "another encoding.",
        choices=CAMERA_FAULTS,
        dynamic=True,
    )
