# SPDX-License-Identifier: Apache-2.0
"""May the arms start from here? The pose at activation, and the first row of a motion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import Problems
from adamoe_ros.control.limits import JointLimits

Vector = NDArray[np.float64]

TOO_FAR = (
    "starts too far from the measured pose: {}; move the arms there, "
    "raise gate.max_start_distance, or set start_ramp"
)
OUTSIDE_SHARE = 0.05  # of the position range by which a start pose may be outside of it


def check_start_pose(
    joint_ids: tuple[str, ...],
    limits: JointLimits,
    pose: Vector,
    inside: Callable[[Vector], bool] | None,
) -> None:
    """Refuse to begin from a pose that the gate could not hold.

    Args:
        pose: (J,) measured, command units.
        inside: workspace check; None: no workspace.

    Raises:
        ContractError: every joint outside of its limits (or not finite); or the workspace.
    """
    problems = Problems()
    margin = OUTSIDE_SHARE * (limits.high - limits.low)
    fits = (pose >= limits.low - margin) & (pose <= limits.high + margin)
    for column in np.flatnonzero(~fits):
        problems.add(
            f"start pose: {joint_ids[column]}",
            f"{limits.low[column]:.4g} to {limits.high[column]:.4g}",
            f"{pose[column]:.4g}",
            "move the joint inside, or correct the limits in the profile",
        )
    if not problems.lines and inside is not None and not inside(pose):
        problems.add("start pose", "tools inside gate.workspace", "outside", "move the arms inside")
    problems.raise_if_any()


def far_joints(
    joint_ids: tuple[str, ...], limits: JointLimits, target: Vector, measured: Vector
) -> str:
    """Joints whose first target is too far from the measured pose, for people; empty: none."""
    distance = np.abs(target - measured)
    return ", ".join(
        f"{joint_ids[column]} by {distance[column]:.3g}"
        for column in np.flatnonzero(distance > limits.start)
    )
