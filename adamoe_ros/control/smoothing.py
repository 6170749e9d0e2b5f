# SPDX-License-Identifier: Apache-2.0
"""Smooths the rows of a chunk without delaying them: a local quadratic fit. Pure numpy.

Small policies, and few flow steps, leave noise from row to row: a few mrad at 50 Hz are accelerations
beyond any arm's limit. The whole chunk is known, so the filter needs no past and makes no lag; a
motion that is quadratic in time passes unchanged, at both ends of the chunk as well.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
_DEGREE = 2


@lru_cache(maxsize=16)
def smoothing_matrix(rows: int, window: int) -> Rows:
    """What the smoothed rows are of the given ones (Cleveland 1979).

    Each row becomes the value, in its place, of the quadratic fitted to the ``window`` rows around
    it, near the ends to the first or last ``window`` rows. Rows count the less the farther they are:
    equal weights would make a small step of each row that enters or leaves the window.

    Args:
        rows: H, at least 1.
        window: odd, rows of a fit; at most H of them are used.

    Returns:
        (H, H), rows that sum to 1.
    """
    window = min(window, rows)
    degree = min(_DEGREE, window - 1)
    matrix = np.zeros((rows, rows))
    places = np.arange(window, dtype=np.float64)
    fit = np.vander(places, degree + 1)
    for row in range(rows):
        first = min(max(row - window // 2, 0), rows - window)
        share = np.sqrt(tricube(places - (row - first)))
        solution = np.linalg.pinv(share[:, None] * fit) * share
        matrix[row, first : first + window] = np.vander([row - first], degree + 1) @ solution
    return matrix


def tricube(distance: Rows) -> Rows:
    """(1 - u^3)^3, u the distance as a share of one more than the largest."""
    u = np.abs(distance) / (np.abs(distance).max() + 1.0)
    weights: Rows = (1.0 - u**3) ** 3
    return weights


def smoothed(rows: Rows, dt_s: float, window_s: float, keep: NDArray[np.bool_]) -> Rows:
    """The rows of a chunk, smoothed.

    Args:
        rows: (H, J).
        dt_s: s between them.
        window_s: s of a fit; less than three rows: nothing is changed.
        keep: (J,) True where a joint's rows stay as they are (grippers: an edge is meant).
    """
    window = 2 * int(window_s / dt_s / 2.0 + 1e-6) + 1
    if window < _DEGREE + 2 or len(rows) < _DEGREE + 2:
        return rows
    return np.where(keep, rows, smoothing_matrix(len(rows), window) @ rows)
