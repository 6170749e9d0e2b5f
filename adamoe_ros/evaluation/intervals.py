# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals for success counts."""

from __future__ import annotations

import math


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a success probability (default 95 %).

    Returns:
        (low, high) in [0, 1]; (0, 1) for no trials.

    Raises:
        ValueError: successes outside 0 ... trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if trials == 0:
        return 0.0, 1.0
    share, z2 = successes / trials, z * z
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    half = z * spread / (1 + z2 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)
