# SPDX-License-Identifier: Apache-2.0
"""``async``: infer while moving; the newest chunk takes over at its arrival, from its right row."""

from __future__ import annotations

from collections.abc import Sequence

from adamoe_ros.control.strategies.base import PolicySide, Strategy, Track, Weight, newest_only


class Async(Strategy):
    """Splice by observation time."""

    name = "async"
    policy_side = PolicySide(start="after_rows")

    def weights(self, tracks: Sequence[Track], time_ns: int) -> list[Weight]:
        """Only the newest."""
        return newest_only(tracks)
