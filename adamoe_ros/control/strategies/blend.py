# SPDX-License-Identifier: Apache-2.0
"""``blend``: as ``async``, with a cross-fade in joint space from the old chunk to the new one."""

from __future__ import annotations

from collections.abc import Sequence

from adamoe_ros.control.strategies.base import PolicySide, Strategy, Track, Weight, smooth_step

ROWS = 5  # of cross-fade, at most what the old chunk still has


class Blend(Strategy):
    """Cross-fade over a few rows."""

    name = "blend"
    policy_side = PolicySide(start="after_rows")
    tracks = 2

    def weights(self, tracks: Sequence[Track], time_ns: int) -> list[Weight]:
        """The newest fades in while the one before still has rows."""
        if len(tracks) < 2:
            return [Weight(1.0)]
        old, new = tracks[-2:]
        left_s = (old.curve.end_ns - new.spliced_ns) / 1e9
        window_s = min(ROWS * new.curve.dt_s, left_s)
        if window_s <= 0.0:
            return [Weight(0.0), Weight(1.0)]
        rising = smooth_step(time_ns, new.spliced_ns, window_s)
        return [Weight(1.0 - rising.value, -rising.rate), rising]
