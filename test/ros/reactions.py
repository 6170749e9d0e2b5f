# SPDX-License-Identifier: Apache-2.0
"""How long a reaction took, against the documented time.

A busy machine delays every process, so tests allow ``ADAMOE_TEST_SLACK`` seconds more (default 4). On a
quiet machine, set it to 0.2 and ``ADAMOE_REACTIONS=FILE`` to keep what was measured, a line per reaction.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from control_rig import Probe, Sample

SLACK = float(os.environ.get("ADAMOE_TEST_SLACK", "4"))  # s
_STILL = 5  # equal commands in a row: at rest


def first_status(probe: Probe, since: float, mode: int, cause: str = "") -> float:
    """s from ``since`` (steady) to the first control_status of a mode and cause; waits for it."""

    def found() -> list[float]:
        return [
            at - since
            for at, status in list(probe.statuses)
            if at >= since and status.mode == mode and cause in status.hold_cause
        ]

    probe.wait(found, f"mode {mode} {cause}")
    return found()[0]


def check_time(event: str, took: float, documented: float) -> None:
    """The reaction came within the documented time and the slack; it is kept where asked."""
    kept = os.environ.get("ADAMOE_REACTIONS")
    if kept:
        line = {"event": event, "took_s": round(took, 4), "documented_s": round(documented, 4)}
        with Path(kept).open("a") as stream:
            stream.write(json.dumps(line) + "\n")
    assert took <= documented + SLACK, f"{event}: {took:.3f} s, documented {documented:.3f} s"


def assert_comes_to_rest(probe: Probe, samples: Sequence[Sample], seconds: float = 0.3) -> None:
    """Commands are finite, come to rest, and then go on for some time without moving."""

    def resting() -> bool:
        last = [sample.values for sample in samples[-_STILL:]]
        return len(last) == _STILL and bool((np.ptp(last, axis=0) == 0.0).all())

    probe.wait(resting, "the arms to rest")
    begin, count = time.monotonic(), len(samples)
    probe.wait(
        lambda: len(samples) > count + _STILL and samples[-1].at > begin + seconds, "held commands"
    )
    assert np.isfinite([sample.values for sample in samples]).all()
    assert np.ptp([sample.values for sample in samples[count - 1 :]], axis=0).max() == 0.0
