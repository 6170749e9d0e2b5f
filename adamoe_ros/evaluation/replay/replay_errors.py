# SPDX-License-Identifier: Apache-2.0
"""Open-loop error: predicted rows against what was commanded (or reached) at their times.

Sums only, so that memory does not grow and bags can be joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.joint_map import gripper_command_ends
from adamoe_ros.contract.profile import RobotProfile

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Grippers:
    """Where grippers are in the joint vector, and their ends in command units."""

    columns: tuple[int, ...]
    closed: Vector
    opened: Vector

    def is_open(self, values: Vector) -> NDArray[np.bool_]:
        """(..., J) -> (..., G): nearer to open than to closed."""
        share = (values[..., list(self.columns)] - self.closed) / (self.opened - self.closed)
        return np.asarray(share > 0.5)


def grippers_of(profile: RobotProfile) -> Grippers:
    """The grippers of a robot."""
    columns, ends, width = [], [], 0
    for _, arm in profile.ordered_arms:
        width += len(arm.joints)
        if arm.gripper:
            columns.append(width)
            ends.append(gripper_command_ends(arm.gripper))
            width += 1
    pairs = np.array(ends).reshape(-1, 2)
    return Grippers(tuple(columns), pairs[:, 0], pairs[:, 1])


class OpenLoopErrors:
    """Errors by horizon step and joint.

    Args:
        rows: H. joints: J.
        grippers: of the robot.
    """

    def __init__(self, rows: int, joints: int, grippers: Grippers) -> None:
        self.grippers = grippers
        shape = (rows, joints)
        self.count = np.zeros(shape, np.int64)
        self._absolute, self._squared = np.zeros(shape), np.zeros(shape)
        self._normalized, self._normalized_squared = np.zeros(shape), np.zeros(shape)
        self.largest = np.zeros(joints)
        self._right = np.zeros((rows, len(grippers.columns)), np.int64)
        self._judged = np.zeros((rows, len(grippers.columns)), np.int64)
        self.chunks = 0

    def add(self, predicted: Vector, truth: Vector, normalized: Vector) -> None:
        """One chunk.

        Args:
            predicted, truth: (H, J) command units; truth is NaN where nobody knows it.
            normalized: (H, J) predicted minus true in the network's normalisation.
        """
        known = np.isfinite(truth)
        off = np.where(known, predicted - truth, 0.0)
        scaled = np.where(known, normalized, 0.0)
        self.count += known
        self._absolute += np.abs(off)
        self._squared += off**2
        self._normalized += np.abs(scaled)
        self._normalized_squared += scaled**2
        self.largest = np.maximum(self.largest, np.abs(off).max(axis=0))
        judged = known[:, list(self.grippers.columns)]
        same = self.grippers.is_open(predicted) == self.grippers.is_open(np.nan_to_num(truth))
        self._right += same & judged
        self._judged += judged
        self.chunks += 1

    def merge(self, other: OpenLoopErrors) -> None:
        """Take over another bag's."""
        for name in (
            "count",
            "_absolute",
            "_squared",
            "_normalized",
            "_normalized_squared",
            "_right",
            "_judged",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.largest = np.maximum(self.largest, other.largest)
        self.chunks += other.chunks

    def as_dict(self, names: tuple[str, ...]) -> dict[str, Any]:
        """For results.json: by joint, by horizon step, overall; grippers apart from joints."""
        grip = list(self.grippers.columns)
        arm = [column for column in range(len(names)) if column not in grip]
        by_joint = {
            name: {
                "mean_abs": _plain(_mean(self._absolute[:, j], self.count[:, j])),
                "rms": _plain(np.sqrt(_mean(self._squared[:, j], self.count[:, j]))),
                "max_abs": _plain(self.largest[j]),
                "normalized_mean_abs": _plain(_mean(self._normalized[:, j], self.count[:, j])),
            }
            for j, name in enumerate(names)
        }
        by_step = [
            {
                "row": row,
                "joints_mean_abs": _plain(_mean(self._absolute[row, arm], self.count[row, arm])),
                "grippers_mean_abs": _plain(
                    _mean(self._absolute[row, grip], self.count[row, grip])
                ),
                "normalized_mean_abs": _plain(_mean(self._normalized[row], self.count[row])),
                "compared": int(self.count[row].sum()),
            }
            for row in range(len(self.count))
        ]
        return {
            "chunks": self.chunks,
            "compared_values": int(self.count.sum()),
            "joints_mean_abs": _plain(_mean(self._absolute[:, arm], self.count[:, arm])),
            "joints_rms": _plain(np.sqrt(_mean(self._squared[:, arm], self.count[:, arm]))),
            "grippers_mean_abs": _plain(_mean(self._absolute[:, grip], self.count[:, grip])),
            "normalized_mean_abs": _plain(_mean(self._normalized, self.count)),
            "normalized_mse": _plain(_mean(self._normalized_squared, self.count)),
            "gripper_accuracy": _plain(_mean(self._right, self._judged)),
            "gripper_accuracy_by_step": [
                _plain(_mean(right, judged))
                for right, judged in zip(self._right, self._judged, strict=True)
            ],
            "by_joint": by_joint,
            "by_step": by_step,
        }


def _mean(sums: NDArray[Any], counts: NDArray[Any]) -> float:
    total = float(np.sum(counts))
    return float(np.sum(sums)) / total if total else float("nan")


def _plain(value: float) -> float | None:
    """JSON knows no NaN."""
    return round(float(value), 9) if np.isfinite(value) else None
