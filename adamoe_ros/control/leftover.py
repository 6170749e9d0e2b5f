# SPDX-License-Identifier: Apache-2.0
"""What the chunk before still asks for, ready for the policy: real-time chunking's memory.

Pure numpy. Chunks are kept as the model made them, normalised and unclipped. A chunk that the
scheduler dropped is never asked for: the plan names the observation of the one that is followed.
Used from one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.control.rtc_math import leftover
from adamoe_ros.control.scheduling import InferencePlan

Vector = NDArray[np.float64]
Rows = NDArray[np.float64]
Reanchor = Callable[[Rows, Vector, Vector], Rows]
"""(rows, old state, new state) -> the rows as actions of a chunk that starts in the new state."""


@dataclass(frozen=True)
class Leftover:
    """The previous chunk on the rows of the next one.

    Attributes:
        rows: (H, A) normalised; past the end of the previous chunk its last row is held.
        weights: (H,) guidance weight of each row; None: no guidance.
        prefix_rows: leading rows that are given as clean tokens; 0: none.
    """

    rows: Rows
    weights: Vector | None
    prefix_rows: int


class PreviousChunks:
    """Remembers chunks until the plan says which one is followed.

    Args:
        reanchor: for checkpoints with chunk-relative actions; None: every action is absolute.
    """

    def __init__(self, reanchor: Reanchor | None = None) -> None:
        self._reanchor = reanchor
        self._chunks: dict[int, tuple[Rows, Vector]] = {}

    def clear(self) -> None:
        """A new goal: nothing of before counts."""
        self._chunks.clear()

    def remember(self, observation_ns: int, normalized: NDArray[Any], state: Vector) -> None:
        """Keep a chunk.

        Args:
            observation_ns: stamp of its observation.
            normalized: (H, A) as the model made it.
            state: (D,) of that observation.
        """
        self._chunks[observation_ns] = (np.array(normalized, np.float64), np.array(state))

    def leftover(self, plan: InferencePlan, state: Vector) -> Leftover | None:
        """What the plan wants of the previous chunk; None: nothing. Other chunks are forgotten.

        Args:
            plan: of the inference that begins.
            state: (D,) of its observation.

        Raises:
            ValueError: the previous chunk was never remembered.
        """
        previous = plan.previous_ns
        self._chunks = {stamp: kept for stamp, kept in self._chunks.items() if stamp == previous}
        if not plan.needs_leftover:
            return None
        if previous not in self._chunks:
            raise ValueError(f"no chunk of the observation at {previous} ns")
        rows, old_state = self._chunks[previous]
        rows = leftover(rows, plan.shift_rows)
        if self._reanchor is not None:
            rows = self._reanchor(rows, old_state, state)
        return Leftover(rows, plan.weights, plan.prefix_rows)
