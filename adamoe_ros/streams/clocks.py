# SPDX-License-Identifier: Apache-2.0
"""Do the clocks behind the stamps agree with this computer's? From stamps and arrivals alone.

arrival - stamp is the delay of a message and the difference of the two clocks together. A delay is
never negative and varies, a difference is constant over seconds: so the least of many bounds it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median_low

NOTABLE_AHEAD_S = 0.02  # a stamp from the future, and more than a clock daemon leaves
NOTABLE_BEHIND_S = 0.15  # longer than a camera with its encoder takes
WRONG_S = 0.5  # between streams of one robot: longer than anything takes to arrive
INTOLERABLE_S = 0.1  # ahead by more: rows of a chunk would be played at the wrong time
CLOCK_TOLERANCE_S = 2.0  # stamp to arrival; beyond it the stamp is of another clock
STANDING = 4  # messages in a row with the stamp of the one before: its clock stands
_DEVICE_UPTIME_S = 3e8  # ten years: a smaller stamp counts from a start, not from 1970
_ENOUGH = 10  # messages before anything is said
_RECENT = 64
_DO = "synchronise the two computers (chrony or ptp), or let the driver stamp on arrival"


class Delays:
    """arrival - stamp of the last messages of one stream, ns."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=_RECENT)

    def note(self, stamp_ns: int, arrival_ns: int) -> None:
        """One more message; an empty stamp (0) says nothing."""
        if stamp_ns:
            self._recent.append(arrival_ns - stamp_ns)

    def clear(self) -> None:
        """Forget them: a clock was set."""
        self._recent.clear()

    @property
    def count(self) -> int:
        """Messages that count."""
        return len(self._recent)

    @property
    def least_s(self) -> float:
        """s; NaN while there are too few messages for a judgement."""
        return min(self._recent) / 1e9 if len(self._recent) >= _ENOUGH else math.nan

    @property
    def median_s(self) -> float:
        """s; 0 without a message."""
        ordered = sorted(self._recent)
        return ordered[len(ordered) // 2] / 1e9 if ordered else 0.0


def is_ahead(delays: Delays, limit_s: float) -> bool:
    """Whether the other clock is ahead by more than this: not one stamp but half of them and more."""
    return delays.count >= _ENOUGH and delays.median_s < -limit_s


def clock_difference(delays: Delays, whose: str) -> str:
    """Whose clock differs, by how much, and what to do; empty: nothing to be seen.

    Args:
        whose: e.g. "the driver of /joint_states".
    """
    if is_ahead(delays, NOTABLE_AHEAD_S):
        return f"the clock of {whose} is {-delays.least_s:.2f} s ahead of this computer's; {_DO}"
    if delays.least_s > NOTABLE_BEHIND_S:
        late = f"at least {delays.least_s:.2f} s"
        return (
            f"the clock of {whose} is {late} behind this computer's, or all of it arrives {late} late;"
            f" {_DO}"
        )
    return ""


class ClockSpread:
    """Whether several streams are stamped by one clock: their delays, compared with each other's.

    Attributes:
        worst: name -> s, by which its messages took longer than those of the middle stream to arrive;
            the largest that was seen.
    """

    def __init__(self) -> None:
        self.worst: dict[str, float] = {}

    def compare(self, streams: Mapping[str, Delays]) -> None:
        """Look at the streams' last messages."""
        known = {
            name: delays.median_s for name, delays in streams.items() if delays.count >= _ENOUGH
        }
        usual = median_low(known.values()) if known else 0.0
        for name, delay_s in known.items():
            if abs(delay_s - usual) > abs(self.worst.get(name, 0.0)):
                self.worst[name] = delay_s - usual

    @property
    def wrong(self) -> bool:
        """Whether a difference is no delay any more."""
        return any(abs(off) > WRONG_S for off in self.worst.values())

    def lines(self) -> list[str]:
        """Every stream that is off by more than a camera takes, and what to do."""
        return [
            f"{name}: stamps are {abs(off):.2f} s {'behind' if off > 0 else 'ahead of'} those of the"
            f" other streams, or {'it arrives' if off > 0 else 'they arrive'} so much later; "
            "synchronise the clocks, or 'stamp: arrival' for it in the profile"
            for name, off in self.worst.items()
            if abs(off) > NOTABLE_BEHIND_S
        ]


def other_clock(stamp: int, arrival_ns: int) -> bool:
    """Whether a stamp is so far from its arrival that it must be of another clock; both ns."""
    return abs(arrival_ns - stamp) > CLOCK_TOLERANCE_S * 1e9


def clock_line(stamp: int, arrival_ns: int) -> str:
    """How far a stamp of another clock is off, and what to do; both ns."""
    off = (arrival_ns - stamp) / 1e9
    side = "behind" if off > 0 else "ahead of"
    if 0 <= stamp / 1e9 < _DEVICE_UPTIME_S < arrival_ns / 1e9:
        text = f"stamps count from the device's start: {stamp / 1e9:.1f} s, {off:.1f} s {side} "
    else:
        text = f"stamps are {abs(off):.1f} s {side} "
    return (
        f"{text}their arrival; synchronise the clocks, set use_sim_time for a simulator or bag, or "
        "'stamp: arrival' for this stream in the profile"
    )


def standing_line(stamp: int) -> str:
    """That a driver's stamp, ns, never changes, and what to do."""
    return (
        f"stamps stand still at {stamp / 1e9:.3f} s; correct the driver, or set 'stamp: arrival' "
        "for this stream in the profile"
    )
