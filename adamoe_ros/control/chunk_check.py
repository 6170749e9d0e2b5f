# SPDX-License-Identifier: Apache-2.0
"""Is a chunk fit to be followed at all? Refusals are of whole chunks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.control.limits import JointLimits

FUTURE_S = 0.5  # an observation from further ahead than this was stamped by another clock


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
        if positions.ndim != 2 or positions.shape[0] < 1 or positions.shape[1] != len(order):
            raise ChunkRefusedError(
                f"expected rows of {len(order)} positions, got shape {positions.shape}"
            )
        if not (math.isfinite(chunk.dt_s) and chunk.dt_s > 0):
            raise ChunkRefusedError(f"expected a row spacing above 0 s, got {chunk.dt_s}")
        if chunk.stamp_ns - now_ns > FUTURE_S * 1e9:
            ahead = (chunk.stamp_ns - now_ns) / 1e9
            raise ChunkRefusedError(f"stamp {ahead:.3f} s in the future: synchronise the clocks")
        positions = positions[:, order]
        finite = np.isfinite(positions)
        if not finite.all():
            raise ChunkRefusedError(f"not finite: {self._names(~finite)}")
        limits = self._limits
        beyond = (positions < limits.low - limits.hard) | (positions > limits.high + limits.hard)
        if beyond.any():
            raise ChunkRefusedError(f"beyond a hard bound: {self._names(beyond)}")
        return replace(chunk, joint_names=self._joint_ids, positions=positions)

    def _columns(self, names: tuple[str, ...]) -> list[int]:
        if names not in self._order:
            if sorted(names) != sorted(self._joint_ids):
                wrong = sorted(set(names) ^ set(self._joint_ids)) or sorted(set(names))
                raise ChunkRefusedError(f"joint names differ or repeat: {', '.join(wrong)}")
            self._order = {names: [names.index(joint) for joint in self._joint_ids]}
        return self._order[names]

    def _names(self, wrong: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> str:
        columns = np.flatnonzero(wrong.any(axis=0))
        return ", ".join(self._joint_ids[column] for column in columns)
