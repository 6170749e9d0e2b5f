# SPDX-License-Identifier: Apache-2.0
"""SVG charts whose colours are CSS variables (light and dark alike), for pages and files of their own.

Every chart is one ``<svg>`` element.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

MAX_POINTS = 500  # of a polyline: more is invisible at this width and makes the page heavy


@dataclass(frozen=True)
class Series:
    """One line: (N,) times, (N,) values; ``tone`` picks the CSS colour ``--c<tone>``."""

    name: str
    x: ArrayLike
    y: ArrayLike
    tone: int
    dashed: bool = False


@dataclass(frozen=True)
class Band:
    """A shaded span of the x axis."""

    start: float
    end: float
    title: str


@dataclass(frozen=True)
class PlotArea:
    """Outer size and the plot area's margins, px."""

    width: int = 460
    height: int = 150
    left: int = 46
    right: int = 10
    top: int = 10
    bottom: int = 24

    def x(self, values: ArrayLike, low: float, high: float) -> NDArray[np.float64]:
        """Data to px, left to right."""
        share = (np.asarray(values, float) - low) / (high - low)
        return self.left + share * (self.width - self.left - self.right)

    def y(self, values: ArrayLike, low: float, high: float) -> NDArray[np.float64]:
        """Data to px, bottom to top."""
        share = (np.asarray(values, float) - low) / (high - low)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values inside [low, high], about ``count`` of them."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / max(count, 1)
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def label(value: float) -> str:
    """A short number for an axis."""
    return "0" if abs(value) < 1e-12 else f"{value:.4g}"


def limits(*arrays: ArrayLike, pad: float = 0.06, least: float = 1e-6) -> tuple[float, float]:
    """Common finite range of several arrays, with a margin; never empty."""
    flat = [np.ravel(np.asarray(array, float)) for array in arrays]
    values = np.concatenate(flat) if flat else np.zeros(1)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    middle, half = (low + high) / 2, max((high - low) / 2, least / 2)
    return middle - half * (1 + 2 * pad), middle + half * (1 + 2 * pad)


def element(frame: PlotArea, body: str, name: str) -> Markup:
    """The ``<svg>`` of a chart; ``name`` is what a screen reader says."""
    return Markup(
        f'<svg class="chart" viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{escape(name, quote=True)}">{body}</svg>'
    )


def style_sheet() -> str:
    """CSS of the charts, for the page around them."""
    return Path(__file__).with_suffix(".css").read_text(encoding="utf-8")


def document(charts: Sequence[tuple[str, Sequence[Series], Markup]], frame: PlotArea) -> str:
    """Charts side by side as an SVG file.

    Args:
        charts: title, what its lines are, chart of this frame.
    """
    top, gap = 40, 16
    width, height = len(charts) * (frame.width + gap) + gap, frame.height + top
    body = []
    for number, (title, series, chart) in enumerate(charts):
        left = gap + number * (frame.width + gap)
        keys = "".join(
            f'<tspan dx="12" style="fill:var(--c{item.tone})">■ {escape(item.name)}</tspan>'
            for item in series
        )
        body.append(
            f'<text x="{left}" y="24" style="font-size:13px;fill:var(--ink)">{escape(title)}{keys}</text>'
            f'<svg x="{left}" y="{top}" width="{frame.width}" height="{frame.height}">{chart}</svg>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif"><style>{style_sheet()}</style>'
        f'<rect width="100%" height="100%" style="fill:var(--card)"/>{"".join(body)}</svg>\n'
    )


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def axes(
    frame: PlotArea, x_range: tuple[float, float], y_range: tuple[float, float], unit: str = ""
) -> str:
    """Grid lines, tick labels and the y unit."""
    parts = []
    right, bottom = frame.width - frame.right, frame.height - frame.bottom
    rows = max(2, (frame.height - frame.top - frame.bottom) // 34)
    for value in ticks(*y_range, count=rows):
        at = float(frame.y(value, *y_range))
        parts.append(f'<path class="grid" d="M{frame.left} {at:.1f}H{right}"/>')
        parts.append(
            f'<text class="tick end" x="{frame.left - 5}" y="{at + 3.5:.1f}">{label(value)}</text>'
        )
    columns = max(3, (right - frame.left) // 70)
    for value in ticks(*x_range, count=columns):
        at = float(frame.x(value, *x_range))
        parts.append(f'<text class="tick mid" x="{at:.1f}" y="{bottom + 15}">{label(value)}</text>')
    parts.append(f'<path class="axis" d="M{frame.left} {bottom}H{right}"/>')
    if unit:
        parts.append(
            f'<text class="unit" x="{frame.left}" y="{frame.top - 2}">{escape(unit)}</text>'
        )
    return "".join(parts)


def thin(x: ArrayLike, y: ArrayLike, most: int = MAX_POINTS) -> tuple[NDArray, NDArray]:
    """Fewer points with the extremes of every bucket kept, so that no spike disappears."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    if xs.size <= most:
        return xs, ys
    keep = {0, xs.size - 1}
    for bucket in np.array_split(np.arange(xs.size), most // 2):
        keep.update((int(bucket[np.argmin(ys[bucket])]), int(bucket[np.argmax(ys[bucket])])))
    index = np.array(sorted(keep))
    return xs[index], ys[index]


def polyline(
    frame: PlotArea, series: Series, x_range: tuple[float, float], y_range: tuple[float, float]
) -> str:
    """One series as a path; gaps where a value is not finite."""
    xs, ys = thin(series.x, series.y)
    px, py = frame.x(xs, *x_range), frame.y(ys, *y_range)
    path, pen = [], "M"
    for a, b in zip(px, py, strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            pen = "M"
            continue
        path.append(f"{pen}{a:.1f} {b:.1f}")
        pen = "L"
    dash = " dashed" if series.dashed else ""
    return f'<path class="line t{series.tone}{dash}" d="{"".join(path)}"/>'


def line_chart(
    series: Sequence[Series],
    *,
    name: str,
    unit: str = "",
    frame: PlotArea | None = None,
    bands: Sequence[Band] = (),
    marks: Sequence[float] = (),
    y_range: tuple[float, float] | None = None,
    x_range: tuple[float, float] | None = None,
    least: float = 1e-6,
) -> Markup:
    """Lines over a common x axis.

    Args:
        bands: shaded spans behind the lines.
        marks: x positions of thin vertical lines.
        least: smallest span of the y axis when ``y_range`` is not given.
    """
    frame = frame or PlotArea()
    across = x_range or limits(*(item.x for item in series), pad=0.0)
    up = y_range or limits(*(item.y for item in series), least=least)
    bottom = frame.height - frame.bottom
    body = []
    for band in bands:
        a, b = (float(value) for value in frame.x([band.start, band.end], *across))
        body.append(
            f'<rect class="band" x="{a:.1f}" y="{frame.top}" width="{max(b - a, 1):.1f}" '
            f'height="{bottom - frame.top}"><title>{escape(band.title)}</title></rect>'
        )
    for mark in marks:
        at = float(frame.x(mark, *across))
        body.append(f'<path class="mark" d="M{at:.1f} {frame.top}V{bottom}"/>')
    body.append(axes(frame, across, up, unit))
    body += [polyline(frame, item, across, up) for item in series]
    return element(frame, "".join(body), name)


def histogram(
    values: ArrayLike,
    *,
    name: str,
    tone: int,
    frame: PlotArea,
    bins: int = 24,
    x_range: tuple[float, float] | None = None,
    unit: str = "",
) -> Markup:
    """Counts of values; the axis starts at 0 unless a range is given."""
    data = np.asarray(values, float)
    across = x_range or (0.0, max(float(data.max()) * 1.05, 1e-9) if data.size else 1.0)
    counts, edges = np.histogram(data, bins=bins, range=across)
    up = (0.0, max(float(counts.max()) * 1.1, 1.0))
    bottom = frame.height - frame.bottom
    body = [axes(frame, across, up, unit)]
    for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            a, b = (float(value) for value in frame.x([start, end], *across))
            top = float(frame.y(count, *up))
            body.append(
                f'<rect class="fill t{tone}" x="{a + 0.5:.1f}" y="{top:.1f}" '
                f'width="{max(b - a - 1, 1):.1f}" height="{bottom - top:.1f}">'
                f"<title>{count} from {label(start)} to {label(end)}</title></rect>"
            )
    return element(frame, "".join(body), name)


def stacked_shares(
    x: ArrayLike, shares: ArrayLike, *, name: str, frame: PlotArea, x_range: tuple[float, float]
) -> Markup:
    """Shares that sum to a constant, as filled steps over time.

    Args:
        x: (N,) times, ascending; a value holds until the next time.
        shares: (N, E) shares, each row's sum > 0; drawn relative to the row's sum.
    """
    xs, rows = np.asarray(x, float), np.asarray(shares, float)
    rows = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-12)
    tops = np.cumsum(rows, axis=1)
    floors = tops - rows
    stops = np.append(xs[1:], x_range[1])
    corners = np.column_stack([xs, stops]).ravel()
    px = frame.x(np.clip(corners, *x_range), *x_range)
    body = []
    for expert in range(rows.shape[1]):
        upper = frame.y(np.repeat(tops[:, expert], 2), 0.0, 1.0)
        lower = frame.y(np.repeat(floors[:, expert], 2), 0.0, 1.0)
        points = [f"{a:.1f} {b:.1f}" for a, b in zip(px, upper, strict=True)]
        points += [f"{a:.1f} {b:.1f}" for a, b in zip(px[::-1], lower[::-1], strict=True)]
        body.append(
            f'<path class="area t{expert % 8}" d="M{"L".join(points)}Z">'
            f"<title>expert {expert}: {rows[:, expert].mean():.0%} on average</title></path>"
        )
    return element(frame, "".join(body) + axes(frame, x_range, (0.0, 1.0)), name)


def heatmap(values: ArrayLike, *, rows: Sequence[str], columns: Sequence[str], name: str) -> Markup:
    """A grid of shares with the number in each cell.

    Args:
        values: (R, C), each 0 or more; the largest gets the full colour.
    """
    data = np.asarray(values, float)
    cell_w, cell_h, left, top = 84, 34, 84, 26
    frame = PlotArea(
        width=left + cell_w * data.shape[1] + 4, height=top + cell_h * data.shape[0] + 4
    )
    peak = max(float(np.nanmax(data)), 1e-9) if data.size else 1.0
    body = []
    for c, text in enumerate(columns):
        body.append(_text("tick mid", left + (c + 0.5) * cell_w, top - 9, text))
    for r, text in enumerate(rows):
        y = top + r * cell_h
        body.append(_text("tick end", left - 8, y + cell_h / 2 + 4, text))
        for c in range(data.shape[1]):
            share = float(data[r, c]) / peak
            x = left + c * cell_w
            body.append(
                f'<rect class="cell" x="{x + 1}" y="{y + 1}" width="{cell_w - 2}" '
                f'height="{cell_h - 2}" rx="4" style="fill-opacity:{0.06 + 0.9 * share:.3f}"/>'
            )
            tone = "on" if share > 0.55 else "off"
            at = (x + cell_w / 2, y + cell_h / 2 + 4)
            body.append(_text(f"cellval {tone}", *at, f"{data[r, c]:.0%}"))
    return element(frame, "".join(body), name)


@dataclass(frozen=True)
class Share:
    """A share in 0 ... 1 with its interval; ``tone`` picks the CSS colour ``--c<tone>``."""

    name: str
    value: float
    low: float
    high: float
    tone: int = 0
    note: str = ""


def shares(rows: Sequence[Share], *, name: str, width: int = 720, left: int = 190) -> Markup:
    """One line a share: its interval as a bar, its value as a point."""
    line, top = 24, 6
    frame = PlotArea(width, top + line * len(rows) + 26, left, 96, top, 26)
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


def _grid(frame: PlotArea) -> str:
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
    frame: PlotArea | None = None,
) -> Markup:
    """A two-dimensional histogram; the darkest cell has the most (square root of the share);
    dashed: x = y, where it crosses the picture.

    Args:
        counts: (X, Y), from the lower left.
    """
    data = np.asarray(counts, float)
    frame = frame or PlotArea(width=300, height=260, left=40)
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
