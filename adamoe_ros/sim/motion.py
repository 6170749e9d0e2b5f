# SPDX-License-Identifier: Apache-2.0
"""Joint trajectories through way points, smooth at each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def through(points: Sequence[tuple[int, Vector]]) -> Vector:
    """Rows from the first tick to before the last one, at rest at every way point.

    Args:
        points: (tick, (J,) joints), ticks ascending.

    Returns:
        (last tick - first tick, J).
    """
    parts = []
    for (start, before), (end, after) in pairwise(points):
        share = (np.arange(end - start) / max(1, end - start))[:, None]
        smooth = share * share * (3 - 2 * share)
        parts.append(before + (after - before) * smooth)
    return np.concatenate(parts)
