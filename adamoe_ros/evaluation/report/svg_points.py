# SPDX-License-Identifier: Apache-2.0
"""More inline SVG charts: shares with their intervals, and two-dimensional counts.

Every function returns one ``<svg>`` element as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from adamoe_ros.evaluation.report.svg import Frame, axes, element


@dataclass(frozen=True)
class Share:
    """A share in 0 ... 1 with its interval; ``tone`` picks the CSS colour ``--c<tone>``."""

    name: str
    value: float
    low: float
    high: float
    tone: int = 0
    note: str = ""


def shares(rows: Sequence[Share], *, name: str, width: int = 720, left: int = 190) -> str:
    """One line a share: its interval as a bar, its value as a point."""
    line, top = 24, 6
    frame = Frame(width, top + line * len(rows) + 26, left, 96, top, 26)
    ends = (0.0, 1.0)
    body = [_grid(frame)]
    for number, row in enumerate(rows):
        y = top + line * (number + 0.5)
        a, b, at = (float(value) for value in frame.x([row.low, row.high, row.value], *ends))
        body.append(
            f'<text class="tick end" x="{left - 10}" y="{y + 4:.1f}">{escape(row.name)}</text>'
            f'<rect class="fill t{row.tone}" x="{a:.1f}" y="{y - 4:.1f}" '
            f'width="{max(b - a, 1):.1f}" height="8" rx="4" style="fill-opacity:.28"/>'
            f'<circle class="fill t{row.tone}" cx="{at:.1f}" cy="{y:.1f}" r="5">'
            f"<title>{row.value:.1%}, 95 % interval {row.low:.1%} to {row.high:.1%}</title>"
            "</circle>"
            f'<text class="tick" x="{width - 88}" y="{y + 4:.1f}">{escape(row.note)}</text>'
        )
    return element(frame, "".join(body), name)


def _grid(frame: Frame) -> str:
    bottom = frame.height - frame.bottom
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = float(frame.x(value, 0.0, 1.0))
        parts.append(
            f'<path class="grid" d="M{at:.1f} {frame.top}V{bottom}"/>'
            f'<text class="tick mid" x="{at:.1f}" y="{bottom + 16}">{value:.0%}</text>'
        )
    return "".join(parts)


def density(
    counts: ArrayLike,
    *,
    name: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    frame: Frame | None = None,
) -> str:
    """A two-dimensional histogram; the darkest cell has the most (square root of the share);
    dashed: x = y, where it crosses the picture.

    Args:
        counts: (X, Y), from the lower left.
    """
    data = np.asarray(counts, float)
    frame = frame or Frame(width=300, height=260, left=40)
    peak = max(float(data.max()), 1e-9)
    xs = frame.x(np.linspace(*x_range, data.shape[0] + 1), *x_range)
    ys = frame.y(np.linspace(*y_range, data.shape[1] + 1), *y_range)
    body = [axes(frame, x_range, y_range)]
    for i, j in zip(*np.nonzero(data), strict=True):
        body.append(
            f'<rect class="cell" x="{xs[i]:.1f}" y="{ys[j + 1]:.1f}" '
            f'width="{xs[i + 1] - xs[i] + 0.3:.1f}" height="{ys[j] - ys[j + 1] + 0.3:.1f}" '
            f'style="fill-opacity:{0.08 + 0.92 * np.sqrt(data[i, j] / peak):.2f}"/>'
        )
    if max(x_range[0], y_range[0]) < min(x_range[1], y_range[1]):  # x = y crosses the picture
        low, high = max(x_range[0], y_range[0]), min(x_range[1], y_range[1])
        (x0, x1), (y0, y1) = frame.x([low, high], *x_range), frame.y([low, high], *y_range)
        body.append(f'<path class="line t1 dashed" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"/>')
    return element(frame, "".join(body), name)
