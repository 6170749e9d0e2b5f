# SPDX-License-Identifier: Apache-2.0
"""What can be said of one input over a whole bag: rates, gaps, delays, stamps."""

from __future__ import annotations

import numpy as np

from adamoe_ros.data.running_statistics import ColumnHistogram
from adamoe_ros.streams.buffer import Verdict

_BATCH = 512  # messages that are counted together: one by one is slow
_GAP = 2.5  # median spacings without a message


class StreamAccount:
    """Counts of one stream; memory does not grow with it.

    Args:
        name: camera slot or joint state topic.

    Attributes:
        broken: messages whose content did not fit.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.broken = 0
        self._verdicts = dict.fromkeys(Verdict, 0)
        self._spacing, self._delay = ColumnHistogram(), ColumnHistogram()
        self._new_delays: list[float] = []
        self._new_spacings: list[float] = []
        self._longest = 0.0
        self._skew = 0.0
        self._last: dict[tuple[int, ...], int] = {}  # by joints, where they come in parts

    def take(
        self, stamp_ns: int, arrival_ns: int, verdict: Verdict, joints: tuple[int, ...] = ()
    ) -> None:
        """Note a message.

        Args:
            joints: columns of those that it has; rates and gaps are of messages with the same ones.
        """
        self._verdicts[verdict] += 1
        if verdict is not Verdict.KEPT:
            if verdict is Verdict.JUMPED_BACK:
                self._last = {joints: stamp_ns}
            return
        self._new_delays.append((arrival_ns - stamp_ns) / 1e9)
        if joints in self._last:
            spacing = (stamp_ns - self._last[joints]) / 1e9
            self._new_spacings.append(spacing)
            self._longest = max(self._longest, spacing)
        self._last[joints] = stamp_ns
        if len(self._new_delays) >= _BATCH:
            self._count_new()

    def _count_new(self) -> None:
        self._delay.add(np.array(self._new_delays))
        self._spacing.add(np.array(self._new_spacings))
        self._new_delays, self._new_spacings = [], []

    @property
    def other_clock(self) -> int:
        """Messages whose stamps are far from their arrival."""
        return self._verdicts[Verdict.OTHER_CLOCK]

    def skew(self, off_ns: int) -> None:
        """Distance of a used message from the observation's stamp."""
        self._skew = max(self._skew, abs(off_ns) / 1e9)

    def summary(self) -> dict[str, float | int | str]:
        """Numbers for results.json; s and Hz."""
        self._count_new()
        spacing = self._spacing.quantile(0.5)
        kept = self._verdicts[Verdict.KEPT] + self._verdicts[Verdict.JUMPED_BACK]
        known = np.isfinite(spacing)
        return {
            "name": self.name,
            "messages": sum(self._verdicts.values()) + self.broken,
            "kept": kept,
            "rate_hz": round(1.0 / spacing, 3) if known and spacing > 0 else 0.0,
            "longest_gap_s": round(self._longest, 6),
            "gaps": self._spacing.above(_GAP * spacing) if known else 0,
            "delay_s": _rounded(self._delay.quantile(0.5)),
            "delay_p99_s": _rounded(self._delay.quantile(0.99)),
            "skew_s": round(self._skew, 6),
            "duplicates": self._verdicts[Verdict.DUPLICATE],
            "out_of_order": self._verdicts[Verdict.OUT_OF_ORDER],
            "other_clock": self._verdicts[Verdict.OTHER_CLOCK],
            "clock_jumps": self._verdicts[Verdict.JUMPED_BACK],
            "broken": self.broken,
        }


def _rounded(value: float) -> float:
    return round(value, 6) if np.isfinite(value) else 0.0
