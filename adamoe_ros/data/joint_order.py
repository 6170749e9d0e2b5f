# SPDX-License-Identifier: Apache-2.0
"""Action columns that follow another joint than their own: an order that was mixed up.

Values are compared, not correlations: a scripted arm moves all of its joints in the same rhythm, and
then every joint is alike to every other one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
_LEAST_FRAMES = 20
_LATE_S = 0.4  # by which a joint may follow its command
_MOVES = 0.03  # rad, standard deviation of a column that says something
_MOVES_SHARE = 0.1  # of the joint's range, where that is less: grippers in m
_FITS, _UNLIKE = 0.5, 0.7  # distance to a joint, as a share of the column's own motion
_CLEARLY = 3.0  # times that another joint is nearer than the column's own


def followed_joints(
    state: Rows, action: Rows, fps: float, ranges: Rows | None = None
) -> Iterator[tuple[int, int]]:
    """(column, joint) for every action column that follows another joint.

    A column counts when it moves, is far from its own joint at every moment of delay, is near the
    other one, and that one does not follow its own column either (else only the first is held up: a
    gripper that has grasped something, while the other one closes on nothing).

    Args:
        state: (N, J) measured. action: (N, J) commanded, same units.
        fps: rows per second.
        ranges: (J,) width of the joints' ranges; None: not known.
    """
    if len(state) < _LEAST_FRAMES or state.shape != action.shape:
        return
    least = np.full(state.shape[1], _MOVES)
    if ranges is not None:
        least = np.minimum(least, _MOVES_SHARE * ranges)
    spread = action.std(axis=0)
    away = _distance(state, action, round(_LATE_S * fps))
    own = np.diag(away)
    lost = (own > _UNLIKE * spread) & (own > least)
    for column in np.flatnonzero(lost & (spread > least)):
        joint = int(away[column].argmin())
        near = away[column, joint]
        if (
            joint != column
            and near < _FITS * spread[column]
            and own[column] > _CLEARLY * near
            and lost[joint]
        ):
            yield int(column), joint


def _distance(state: Rows, action: Rows, late: int) -> Rows:
    """(J, J) root mean square of action column minus state column, at the delay that fits best."""
    late = min(late, len(state) // 2)
    best = np.full((action.shape[1], state.shape[1]), np.inf)
    for lag in range(late + 1):
        told, found = action[: len(action) - lag], state[lag:]
        squares = (told**2).sum(axis=0)[:, None] + (found**2).sum(axis=0) - 2.0 * (told.T @ found)
        best = np.minimum(best, np.maximum(squares, 0.0) / len(told))
    return np.asarray(np.sqrt(best))
