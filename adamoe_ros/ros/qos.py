# SPDX-License-Identifier: Apache-2.0
"""Quality of service of every topic, each decided once."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _make(depth: int, reliable: bool = True, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def sensor(reliable: bool, depth: int = 5) -> QoSProfile:
    """Subscription to a camera or joint states; best effort also hears reliable publishers."""
    return _make(depth, reliable=reliable)


# a chunk is worth something only while it is new: two cover one late delivery
CHUNK = _make(2)
# whoever joins late must know whether the arms may move, what the task is, and what the state is
MOTION = _make(1, latched=True)
INSTRUCTION = _make(1, latched=True)
CONTROL_STATUS = _make(1, latched=True)
POLICY_STATUS = _make(1, latched=True)
TASK_STATUS = _make(1, latched=True)
# reliable offers serve drivers that ask for either; the newest command replaces those not yet sent
COMMAND = _make(1)
EMERGENCY_STOP = _make(10)
DIAGNOSTICS = _make(10)
CLOCK = _make(1, reliable=False)
