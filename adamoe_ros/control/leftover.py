# SPDX-License-Identifier: Apache-2.0
"""What the chunk before still asks for, ready for the policy: real-time chunking's memory.

Pure numpy. Chunks are kept as the model made them, normalised and unclipped. A chunk that the
scheduler dropped is never asked for: the plan names the observation of the one that is followed.
Used from one thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.control.rtc_math import leftover, reanchor
from adamoe_ros.control.scheduling import InferencePlan

Vector = NDArray[np.float64]
Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Anchoring:
    """How normalised actions relate to the state they were made in.

    Attributes:
        relative: (D,) True where the physical action is relative to the state at its chunk's start.
        scale: (D,) of the normalisation, value = (physical - offset) / scale; never 0.
    """

    relative: NDArray[np.bool_]
    scale: Vector


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
        anchoring: of checkpoints with chunk-relative actions; None: every action is absolute.
    """

    def __init__(self, anchoring: Anchoring | None = None) -> None:
        self._anchoring = anchoring
        self._chunks: dict[int, tuple[Rows, Vector]] = {}

    def clear(self) -> None:
        """A new goal: nothing of before counts."""
        self._chunks.clear()

    def remember(self, observation_ns: int, normalized: Rows, state: Vector) -> None:
        """Keep a chunk.

        Args:
            observation_ns: stamp of its observation.
            normalized: (H, A) as the model made it.
            state: (D,) physical state of that observation, in the columns and unit of the physical
                actions; the model's further columns are padding.
        """
        self._chunks[observation_ns] = (np.array(normalized, np.float64), np.array(state))

    def leftover(self, plan: InferencePlan, state: Vector) -> Leftover | None:
        """What the plan wants of the previous chunk; None: nothing. Other chunks are forgotten.

        Args:
            plan: of the inference that begins.
            state: (D,) of its observation, as in ``remember``.

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
        if self._anchoring is not None:
            relative, scale = self._anchoring.relative, self._anchoring.scale
            own = rows[:, : len(scale)]
            rows[:, : len(scale)] = reanchor(own, relative, old_state, state, scale)
        return Leftover(rows, plan.weights, plan.prefix_rows)
