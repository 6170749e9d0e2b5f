# SPDX-License-Identifier: Apache-2.0
"""What may move the arms: the pose at activation, a chunk as it comes, the first row of a motion.

Refusals are of whole chunks. Every number of a chunk has its bound here, and only here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.contract.errors import Problems
from adamoe_ros.control.limits import JointLimits

Vector = NDArray[np.float64]

TOO_FAR = (
    "starts too far from the measured pose: {}; move the arms there, "
    "raise gate.max_start_distance, or set start_ramp"
)
OUTSIDE_SHARE = 0.05  # of the position range by which a start pose may be outside of it
FUTURE_S = 0.5  # an observation from further ahead than this was stamped by another clock
LONGEST_AGE_S = 120.0  # ... or lies further back: even a large network on a CPU answers sooner
ROWS = (1, 1000)
ROW_SPACING_S = (0.001, 10.0)
CHUNK_IDS = (1, 2**63 - 1)  # logs and tables have signed numbers
LONGEST_INSTRUCTION = 4096  # characters
FAR_STATE = 10.0  # position ranges beyond a limit: no joint is there, whatever its driver says
_NAMED = 5  # joints in one line


class ChunkRefusedError(Exception):
    """The chunk is unfit; the text says why, for the log and ``control_status``."""


class ChunkCheck:
    """Checks chunks and brings their columns into the robot's order.

    Args:
        joint_ids: ``<arm>/<joint>``, the robot's order.
        limits: of the joints.
    """

    def __init__(self, joint_ids: tuple[str, ...], limits: JointLimits) -> None:
        self._joint_ids = joint_ids
        self._limits = limits
        self._order: dict[tuple[str, ...], list[int]] = {}

    def fit(self, chunk: ActionChunk, now_ns: int) -> ActionChunk:
        """The chunk with columns in the robot's order.

        Raises:
            ChunkRefusedError: names, shape, spacing, stamp, a value not finite or beyond a
                hard bound.
        """
        order = self._columns(chunk.joint_names)
        positions = np.asarray(chunk.positions, dtype=np.float64)
        if positions.ndim != 2 or positions.shape[1] != len(order):
            raise ChunkRefusedError(
                f"expected rows of {len(order)} positions, got shape {positions.shape}"
            )
        _bounded("rows", len(positions), ROWS)
        _bounded("dt", chunk.dt_s, ROW_SPACING_S, " s")
        _bounded("chunk_id", chunk.chunk_id, CHUNK_IDS)
        _bounded("committed_rows", chunk.committed_rows, (0, len(positions)))
        _bounded("characters of the instruction", len(chunk.instruction), (0, LONGEST_INSTRUCTION))
        self._check_stamp((chunk.stamp_ns - now_ns) / 1e9)
        positions = positions[:, order]
        finite = np.isfinite(positions)
        if not finite.all():
            raise ChunkRefusedError(f"not finite: {self._names(~finite)}")
        limits = self._limits
        beyond = (positions < limits.low - limits.hard) | (positions > limits.high + limits.hard)
        if beyond.any():
            raise ChunkRefusedError(f"beyond a hard bound: {self._names(beyond)}")
        return replace(chunk, joint_names=self._joint_ids, positions=positions)

    @staticmethod
    def _check_stamp(ahead_s: float) -> None:
        if ahead_s > FUTURE_S:
            text = f"stamp {ahead_s:.3f} s in the future: synchronise the clocks (chrony or ptp)"
            raise ChunkRefusedError(text)
        if ahead_s < -LONGEST_AGE_S:
            text = f"stamp {-ahead_s:.0f} s in the past: synchronise the clocks (chrony or ptp)"
            raise ChunkRefusedError(text)

    def _columns(self, names: tuple[str, ...]) -> list[int]:
        if names not in self._order:
            if sorted(names) != sorted(self._joint_ids):
                wrong = sorted(set(names) ^ set(self._joint_ids)) or sorted(set(names))
                raise ChunkRefusedError(f"joint names differ or repeat: {_listed(wrong)}")
            self._order = {names: [names.index(joint) for joint in self._joint_ids]}
        return self._order[names]

    def _names(self, wrong: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> str:
        columns = np.flatnonzero(wrong.any(axis=0))
        return _listed([self._joint_ids[column] for column in columns])


def _bounded(what: str, value: float, bounds: tuple[float, float], unit: str = "") -> None:
    """ChunkRefusedError for what is outside, or no number."""
    if not bounds[0] <= value <= bounds[1]:
        expected = f"{bounds[0]:g} to {bounds[1]:g}{unit}"
        raise ChunkRefusedError(f"{what}: expected {expected}, got {value:.6g}")


def _listed(names: Sequence[str]) -> str:
    """Some names for one line."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(name[:80] for name in names[:_NAMED]) + more


def impossible_joints(joint_ids: Sequence[str], limits: JointLimits, pose: Vector) -> str:
    """Joints whose measured pose (J,), command units, no arm can have; empty: none."""
    room = FAR_STATE * (limits.high - limits.low)
    possible = (pose >= limits.low - room) & (pose <= limits.high + room)  # false for NaN
    return _listed(
        [
            f"{joint_ids[column]} at {pose[column]:.4g}"
            for column in map(int, np.flatnonzero(~possible))
        ]
    )


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
    distance = target - measured
    return named_distances(joint_ids, distance, np.abs(distance) > limits.start)


def named_distances(joint_ids: Sequence[str], distance: Vector, chosen: NDArray[np.bool_]) -> str:
    """Some joints, (J,) bool, with how far they are off, (J,), for people."""
    return ", ".join(
        f"{joint_ids[column]} by {abs(distance[column]):.3g}"
        for column in map(int, np.flatnonzero(chosen))
    )
