# SPDX-License-Identifier: Apache-2.0
"""What the condition of cameras and joint states means for a person: one diagnostic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adamoe_ros.ros.diagnostics import Diagnostic, Level
from adamoe_ros.ros.policy.hearing import advice
from adamoe_ros.streams.buffer import StreamHealth

_SLOW = 0.7  # of the declared rate: below it pictures are lost or a camera has changed its mode


def inputs_diagnostic(
    missing: Sequence[str], health: Sequence[StreamHealth], declared: Mapping[str, float]
) -> Diagnostic:
    """Level, words and figures.

    Args:
        missing: inputs that are not live, with the reason.
        health: of every stream.
        declared: stream -> Hz that the profile promises; streams without a promise are left out.
    """
    values: dict[str, object] = {}
    for stream in health:
        values |= _figures(stream)
    if missing:
        do = "; ".join(sorted(set(map(advice, missing))))
        text = f"missing: {', '.join(missing)}; {do}; check network and clock"
        return Diagnostic("inputs", Level.ERROR, text, values)
    slow = [
        f"{stream.name} {stream.rate_hz:.0f} Hz of {declared[stream.name]:g}"
        for stream in health
        if 0 < stream.rate_hz < _SLOW * declared.get(stream.name, 0.0)
    ]
    if slow:
        text = f"slow: {', '.join(slow)}; look at the driver's rate, exposure, USB and network"
        return Diagnostic("inputs", Level.WARN, text, values)
    clocks = [stream.clock_difference for stream in health if stream.clock_difference]
    if clocks:
        return Diagnostic("inputs", Level.WARN, "; ".join(clocks), values)
    hidden = [stream.name for stream in health if stream.stamps_at_receipt]
    if hidden:
        text = f"all live; stamps look set on receipt, so delays are hidden: {', '.join(hidden)}"
        return Diagnostic("inputs", Level.OK, text, values)
    return Diagnostic("inputs", Level.OK, "all live", values)


def _figures(stream: StreamHealth) -> dict[str, object]:
    name = stream.name
    return {
        f"{name} rate (Hz)": stream.rate_hz,
        f"{name} age (s)": stream.age_s,
        f"{name} delay (s)": stream.delay_s,
        f"{name} longest gap (s)": stream.longest_gap_s,
        f"{name} skew (s)": stream.skew_s,
        f"{name} received": stream.received,
        f"{name} refused for their stamp": stream.other_clock
        + stream.out_of_order
        + stream.duplicates,
        f"{name} clock jumps": stream.jumps,
        f"{name} unused": stream.unused,
    }
