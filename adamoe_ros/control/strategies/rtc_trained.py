# SPDX-License-Identifier: Apache-2.0
"""``rtc_trained``: training-time real-time chunking (arXiv 2512.05964).

The rows that will be executed during inference are given to the policy as clean tokens; needs a
checkpoint trained for it (``rtc_max_delay`` > 0 in its manifest). The splice is that of ``async``.
"""

from __future__ import annotations

from adamoe_ros.control.strategies.async_ import Async
from adamoe_ros.control.strategies.base import PolicySide


class RtcTrained(Async):
    """Hard prefix."""

    name = "rtc_trained"
    policy_side = PolicySide(start="after_rows", trained_prefix=True)
