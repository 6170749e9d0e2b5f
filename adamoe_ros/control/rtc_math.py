# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of real-time chunking: masks, leftover. Pure numpy.

Source: arXiv 2506.07339, Algorithm 1. Symbols: H horizon, d rows consumed during inference (delay),
s rows between the observations of two inferences, tau flow time with 0 = noise and 1 = data.
Leftovers are normalised actions as the model made them, never clipped by the safety gate: guidance
would learn the gate's clipping.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Rows = NDArray[np.float64]


def soft_mask(horizon: int, delay_rows: int, executed_rows: int) -> Vector:
    """Weight W of each row of the leftover.

    1 for rows that will surely be executed (i < d); c (e^c - 1) / (e - 1) with
    c = (H - s - i) / (H - s - d + 1) for d <= i < H - s; 0 where no old action exists.

    Args:
        horizon: H, rows of a chunk.
        delay_rows: d, 0 <= d <= H.
        executed_rows: s, 0 <= s <= H.

    Returns:
        (H,) float64 in 0..1, not rising.

    Raises:
        ValueError: d or s outside of 0..H.
    """
    if not (0 <= delay_rows <= horizon and 0 <= executed_rows <= horizon):
        raise ValueError(f"expected 0 <= d, s <= {horizon}, got {delay_rows}, {executed_rows}")
    rows = np.arange(horizon, dtype=np.float64)
    existing = horizon - executed_rows
    mask = np.zeros(horizon)
    soft = (rows >= delay_rows) & (rows < existing)
    c = (existing - rows[soft]) / (existing - delay_rows + 1)
    mask[soft] = c * np.expm1(c) / np.expm1(1.0)
    mask[:delay_rows] = 1.0
    return mask


def hard_mask(horizon: int, delay_rows: int) -> Vector:
    """Weight 1 for the rows that will surely be executed, 0 for the others: (H,) float64."""
    return (np.arange(horizon) < delay_rows).astype(np.float64)


def leftover(previous: Rows, shift_rows: float) -> Rows:
    """What the previous chunk still asks for, on the rows of the next one (Y of the paper).

    Args:
        previous: (H, A) normalised actions of the previous chunk, unclipped.
        shift_rows: rows from the beginning of the previous chunk to that of the next one; need not
            be whole: rows between are interpolated linearly, because chunks are spliced by time.
            Negative where the previous one began after the next one's observation.

    Returns:
        (H, A) float64; past the end of the previous chunk its last row is held, before its
        beginning its first one.
    """
    last = len(previous) - 1
    place = np.clip(np.arange(len(previous)) + shift_rows, 0, last)
    lower = np.floor(place).astype(np.intp)
    upper = np.minimum(lower + 1, last)
    share = (place - lower)[:, None]
    rows: Rows = previous[lower] + share * (previous[upper].astype(np.float64) - previous[lower])
    return rows


def reanchor(
    rows: Rows,
    relative: NDArray[np.bool_],
    old_state: Vector,
    new_state: Vector,
    scale: Vector,
) -> Rows:
    """Chunk-relative actions, expressed relative to a newer state; others stay.

    Args:
        rows: (H, A) normalised, value = (physical - offset) / scale.
        relative: (A,) True where the physical action is relative to the state at its chunk's start.
        old_state, new_state: (A,) physical states of the two observations, unit of the actions.
        scale: (A,) of the normalisation, not 0.

    Returns:
        (H, A) float64.
    """
    shift = np.where(relative, (old_state - new_state) / scale, 0.0)
    moved: Rows = rows + shift
    return moved
