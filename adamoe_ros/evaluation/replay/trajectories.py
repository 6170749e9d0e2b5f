# SPDX-License-Identifier: Apache-2.0
"""What was predicted beside what was recorded, joint by joint over time, for a person to look at.

Chunks that do not overlap, from a bag's begin on, few enough for a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.data import svg

Vector = NDArray[np.float64]
_CHUNKS = 24  # of a bag
_POINTS = 18  # of a chunk; with the gaps they stay below what a chart draws without thinning
_RECORDED = 7  # tone
_FRAME = svg.PlotArea(width=400, height=130, left=42)


@dataclass
class ShownChunks:
    """Some chunks of one policy on one bag.

    Attributes:
        times: s since the first observation, of every shown row; NaN between two chunks.
        predicted, recorded: (J,) of every shown row, command units.
        full: there were more chunks than are shown.
    """

    times: list[float] = field(default_factory=list)
    predicted: list[Vector] = field(default_factory=list)
    recorded: list[Vector] = field(default_factory=list)
    full: bool = False
    _count: int = 0
    _end: float = -np.inf

    def add(self, seconds: float, dt_s: float, predicted: Vector, recorded: Vector) -> None:
        """Look at a chunk that begins at ``seconds``: (H, J) predicted, recorded (NaN: unknown)."""
        if seconds < self._end - 1e-6:
            return
        if self._count == _CHUNKS:
            self.full = True
            return
        self._count += 1
        rows = len(predicted)
        self._end = seconds + rows * dt_s
        places = np.unique(np.linspace(0, rows - 1, min(rows, _POINTS)).round().astype(int))
        self.times += [*(seconds + places * dt_s), np.nan]
        gap = np.full(predicted.shape[1], np.nan)
        self.predicted += [*predicted[places], gap]
        self.recorded += [*recorded[places], gap]


def trajectories(
    shown: Sequence[tuple[str, ShownChunks]], names: Sequence[str]
) -> dict[str, Any] | None:
    """A chart per joint for the page; ``shown``: (policy, its chunks). None: no chunk was compared."""
    if not any(chunks.times for _, chunks in shown):
        return None
    charts = []
    for joint, name in enumerate(names):
        first = shown[0][1]
        recorded = [row[joint] for row in first.recorded]
        lines = [svg.Series("recorded", first.times, recorded, _RECORDED)]
        for tone, (policy, chunks) in enumerate(shown):
            rows = [row[joint] for row in chunks.predicted]
            lines.append(svg.Series(policy, chunks.times, rows, tone))
        chart = svg.line_chart(lines, name=f"{name} over time", frame=_FRAME, least=0.02)
        charts.append((name, chart))
    last = np.nanmax([time for _, chunks in shown for time in chunks.times])
    return {
        "charts": charts,
        "legend": [(_RECORDED, "recorded"), *enumerate(policy for policy, _ in shown)],
        "some": f" The first {last:.0f} s." if any(chunks.full for _, chunks in shown) else "",
    }
