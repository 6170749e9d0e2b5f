# SPDX-License-Identifier: Apache-2.0
"""Figures of one live topic, judged: rate, gaps, stamps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from adamoe_ros.ros.doctor.report import Check, Outcome
from adamoe_ros.streams.clocks import (
    INTOLERABLE_S,
    STANDING,
    Delays,
    clock_difference,
    clock_line,
    is_ahead,
    standing_line,
)

_AREA = "robot"
_RATE_SHARE = 0.8  # of the expected rate
_SKEW = 0.5  # s between stamp and receipt: beyond it clocks or stamps are wrong


@dataclass
class Arrivals:
    """When messages of one topic were stamped and received, ns of the node's clock."""

    stamps_ns: list[int] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)

    def note(self, stamp_ns: int, received_ns: int) -> None:
        """One more message."""
        self.stamps_ns.append(stamp_ns)
        self.received_ns.append(received_ns)

    @property
    def rate(self) -> float:
        """Hz by receipt; 0 with fewer than two messages."""
        span = (self.received_ns[-1] - self.received_ns[0]) / 1e9 if self.received_ns else 0.0
        return (len(self.received_ns) - 1) / span if span > 0 else 0.0

    @property
    def longest_gap(self) -> float:
        """s between two messages; 0 with fewer than two."""
        gaps = np.diff(np.array(self.received_ns, dtype=np.int64))
        return float(gaps.max()) / 1e9 if len(gaps) else 0.0

    @property
    def delays(self) -> np.ndarray:
        """s from stamp to receipt, per message."""
        received = np.array(self.received_ns, dtype=np.int64)
        return (received - np.array(self.stamps_ns, dtype=np.int64)) / 1e9


def check_arrivals(
    topic: str, arrivals: Arrivals, rate: float, timeout: float, seconds: float
) -> Iterator[Check]:
    """Judge rate, gaps and stamps of a topic.

    Args:
        topic: its resolved name.
        arrivals: what came in ``seconds``.
        rate: Hz that is expected.
        timeout: s of the profile after which the stream counts as stale.
        seconds: how long was listened.
    """
    if not arrivals.received_ns:
        text = f"no message in {seconds:g} s; start the driver, or correct the topic in the profile"
        yield Check(_AREA, topic, "fail", text)
        return
    yield _rate(topic, arrivals, rate)
    yield _gap(topic, arrivals, timeout)
    yield _stamps(topic, arrivals)


def _rate(topic: str, arrivals: Arrivals, rate: float) -> Check:
    measured = arrivals.rate
    enough = measured >= _RATE_SHARE * rate
    text = f"{measured:.1f} Hz, expected {rate:g} Hz"
    if not enough:
        text += "; raise the driver's rate, or look for frames dropped on the way (machine: DDS)"
    return Check(_AREA, f"{topic} rate", "ok" if enough else "warn", text, {"rate (Hz)": measured})


def _gap(topic: str, arrivals: Arrivals, timeout: float) -> Check:
    gap = arrivals.longest_gap
    text = f"longest gap {gap * 1e3:.0f} ms, stale after {timeout * 1e3:.0f} ms"
    if gap >= timeout:
        text += "; the arms would have held: find the gap, or raise 'timeout' in the profile"
    outcome: Outcome = "fail" if gap >= timeout else "ok"
    return Check(_AREA, f"{topic} gaps", outcome, text, {"longest gap (s)": gap})


def _stamps(topic: str, arrivals: Arrivals) -> Check:
    name, delays = f"{topic} stamps", arrivals.delays
    median = float(np.median(delays))
    values = {"stamp to receipt (s)": median}
    if not any(arrivals.stamps_ns):
        do = "the driver must stamp its messages; alignment of cameras and joints needs it"
        return Check(_AREA, name, "fail", f"all zero; {do}", values)
    if abs(median) > _SKEW:
        stamp = arrivals.stamps_ns[-1]
        line = clock_line(stamp, stamp + round(median * 1e9))
        return Check(_AREA, name, "fail", line, values)
    if len(arrivals.stamps_ns) > STANDING and len(set(arrivals.stamps_ns)) == 1:
        return Check(_AREA, name, "fail", standing_line(arrivals.stamps_ns[0]), values)
    judged = Delays()
    for stamp_ns, received_ns in zip(arrivals.stamps_ns, arrivals.received_ns, strict=True):
        judged.note(stamp_ns, received_ns)
    difference = clock_difference(judged, f"the driver of {topic}")
    if difference:
        outcome: Outcome = "fail" if is_ahead(judged, INTOLERABLE_S) else "warn"
        return Check(_AREA, name, outcome, difference, values)
    if np.any(np.diff(np.array(arrivals.stamps_ns, dtype=np.int64)) < 0):
        do = "two publishers on one topic, or a bag that loops"
        return Check(_AREA, name, "warn", f"they go backwards; {do}", values)
    return Check(_AREA, name, "ok", f"{median * 1e3:.1f} ms before receipt", values)
