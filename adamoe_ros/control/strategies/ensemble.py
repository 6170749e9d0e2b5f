# SPDX-License-Identifier: Apache-2.0
"""``ensemble``: weighted mean of all chunks that cover a time (ACT, arXiv 2304.13705).

A baseline that people know: it averages, so two valid ways past an obstacle become one through it.
Chunks fade in and out over one row, otherwise each arrival would be a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from adamoe_ros.control.strategies.base import PolicySide, Strategy, Track, Weight, smooth_step

DECAY = 0.01  # per chunk of age rank, as in ACT


class Ensemble(Strategy):
    """Temporal ensembling."""

    name = "ensemble"
    policy_side = PolicySide(start="at_once")
    tracks = 16

    def weights(self, tracks: Sequence[Track], time_ns: int) -> list[Weight]:
        """exp(-DECAY * rank), rank 0 the oldest, faded over one row at both ends."""
        return [
            _faded(track, math.exp(-DECAY * rank), time_ns) for rank, track in enumerate(tracks)
        ]


def _faded(track: Track, share: float, time_ns: int) -> Weight:
    row_s = track.curve.dt_s
    enter = smooth_step(time_ns, track.spliced_ns, row_s)
    leave = smooth_step(time_ns, track.curve.end_ns - round(row_s * 1e9), row_s)
    present = 1.0 - leave.value
    return Weight(
        share * enter.value * present,
        share * (enter.rate * present - enter.value * leave.rate),
    )
