# SPDX-License-Identifier: Apache-2.0
"""How far chunks as predicted go beyond a robot's limits, before anything smooths them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.limits import joint_limits

Vector = NDArray[np.float64]
KINDS = ("position", "velocity", "acceleration", "distance_to_measured")
_ROUNDING = 1e-9


class ChunkLimits:
    """Counts rows beyond each limit, per joint.

    Args:
        profile: of the robot.
    """

    def __init__(self, profile: RobotProfile) -> None:
        self._limits = joint_limits(profile)
        self._counts = {kind: np.zeros(self._limits.joints, np.int64) for kind in KINDS}
        self.rows = 0
        self.chunks = 0
        self.refused = 0

    def add(self, positions: Vector, measured: Vector, dt_s: float) -> None:
        """One chunk.

        Args:
            positions: (H, J) command units.
            measured: (J,) pose at the observation, command units.
        """
        limits, counts = self._limits, self._counts
        beyond = np.maximum(limits.low - positions, positions - limits.high)
        counts["position"] += (beyond > _ROUNDING).sum(axis=0)
        velocity = np.diff(positions, axis=0) / dt_s
        counts["velocity"] += (np.abs(velocity) > limits.velocity + _ROUNDING).sum(axis=0)
        change = np.diff(velocity, axis=0) / dt_s
        counts["acceleration"] += (np.abs(change) > limits.acceleration + _ROUNDING).sum(axis=0)
        far = np.abs(positions[0] - measured) > limits.tracking
        counts["distance_to_measured"] += far
        self.refused += bool((beyond > limits.hard).any())
        self.rows += len(positions)
        self.chunks += 1

    def as_dict(self, names: tuple[str, ...]) -> dict[str, Any]:
        """For results.json; no names: totals only. ``distance_to_measured`` counts first rows, the others all rows."""
        return {
            "chunks": self.chunks,
            "rows": self.rows,
            "chunks_beyond_hard_bound": self.refused,
            "totals": {kind: int(counts.sum()) for kind, counts in self._counts.items()},
            "by_joint": {
                kind: {name: int(n) for name, n in zip(names, counts, strict=False) if n}
                for kind, counts in self._counts.items()
            },
        }
