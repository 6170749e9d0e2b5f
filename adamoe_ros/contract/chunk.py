# SPDX-License-Identifier: Apache-2.0
"""Action chunks: what the policy makes of an observation, and what it sends to control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ActionChunk:
    """H rows of joint targets anchored at an observation.

    Attributes:
        stamp_ns: acquisition of the observation; row r is to be commanded at stamp_ns + r * dt.
        chunk_id: counts up from 1 within one generation.
        generation: policy activation or goal that made it.
        joint_names: columns, ``<arm>/<joint>``.
        dt_s: s between rows, > 0.
        positions: (H, J) float64; rad, grippers in the driver's unit.
        committed_rows: leading rows fixed to the previous chunk (real-time chunking).
        instruction: sentence it was made for.
    """

    stamp_ns: int
    chunk_id: int
    generation: int
    joint_names: tuple[str, ...]
    dt_s: float
    positions: NDArray[np.float64]
    committed_rows: int = 0
    instruction: str = ""

    @property
    def rows(self) -> int:
        """Number of rows H."""
        return int(self.positions.shape[0])

    @property
    def end_ns(self) -> int:
        """Time of the last row, ns."""
        return self.stamp_ns + round((self.rows - 1) * self.dt_s * 1e9)

    def row_at(self, time_ns: int) -> float:
        """Fractional row index at a time; below 0 before the chunk, above rows - 1 after it."""
        return (time_ns - self.stamp_ns) / (self.dt_s * 1e9)


@dataclass(frozen=True)
class Inference:
    """What the policy made of one observation.

    Attributes:
        positions: (H, J) float64, command units; all rows, sent or not.
        normalized: (H, J) float64, as the network gave them.
        committed_rows: leading rows fixed to the previous chunk.
        stages: stage -> s, wall clock.
        experts: per mixture layer: layer, selected, probability, scale.
    """

    positions: NDArray[np.float64]
    normalized: NDArray[np.float64]
    committed_rows: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)
    experts: Sequence[Mapping[str, Any]] = ()
