# SPDX-License-Identifier: Apache-2.0
"""``rtc``: real-time chunking (arXiv 2506.07339): the next chunk is inpainted around the old one.

What is special happens in the policy: its flow is guided to the leftover (``rtc_math``). On this
side the chunks agree where they meet, so the splice is that of ``async``.
"""

from __future__ import annotations

from adamoe_ros.control.strategies.async_ import Async
from adamoe_ros.control.strategies.base import PolicySide


class Rtc(Async):
    """Guided inpainting."""

    name = "rtc"
    policy_side = PolicySide(start="after_rows", guidance=True)
