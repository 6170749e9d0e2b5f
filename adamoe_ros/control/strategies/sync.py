# SPDX-License-Identifier: Apache-2.0
"""``sync``: execute, stand still, infer, execute. The baseline.

The arms rest from the observation until the chunk arrives, so none of its rows has been consumed
and ``timeline`` plays it from row 0 at arrival.
"""

from __future__ import annotations

from collections.abc import Sequence

from adamoe_ros.control.strategies.base import PolicySide, Strategy, Track, Weight, newest_only


class Sync(Strategy):
    """Execute the chunk, then infer."""

    name = "sync"
    policy_side = PolicySide(start="at_end", publish="executed")

    def weights(self, tracks: Sequence[Track], time_ns: int) -> list[Weight]:
        """Only the newest."""
        return newest_only(tracks)
