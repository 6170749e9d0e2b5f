# SPDX-License-Identifier: Apache-2.0
"""Chunks for a ``ClosedLoop`` from a motion that is known beforehand, without a policy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.observation import Observation
from adamoe_ros.control.scheduling import InferencePlan

Vector = NDArray[np.float64]


class ScriptedSource:
    """Chunks cut from a motion that is known beforehand, each from where the last one is left.

    Args:
        motion: (T, J) command units, rows ``dt_s`` apart.
        horizon: rows of a chunk; beyond the motion's end its last row repeats.
        dt_s: s between rows.
        spread: standard deviation of a constant offset of each chunk, per joint (J,) or one for
            all: a policy that does not quite agree with itself.
        seed: of the offsets.
    """

    max_prefix_rows = 0

    def __init__(
        self,
        motion: Vector,
        horizon: int = 50,
        dt_s: float = 0.02,
        spread: Vector | float = 0.0,
        seed: int = 0,
    ) -> None:
        self.horizon, self.dt_s = horizon, dt_s
        self._motion, self._spread = motion, spread
        self._rng = np.random.default_rng(seed)
        self._row = 0.0

    def restart(self) -> None:
        """The motion goes on from where it is."""

    def infer(self, observation: Observation, plan: InferencePlan) -> Inference:
        """One chunk."""
        # rows that were played since the last observation: what was not sent was not played
        self._row += min(plan.shift_rows, plan.publish_rows)
        first = round(self._row)
        wanted = np.minimum(np.arange(first, first + self.horizon), len(self._motion) - 1)
        offset = self._rng.normal(size=self._motion.shape[1]) * self._spread
        rows = self._motion[wanted] + offset
        return Inference(rows, rows)
