# SPDX-License-Identifier: Apache-2.0
"""The report's parts about motion: joints, chunk boundaries, holds, the safety gate."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from adamoe_ros.data.recording import Episode
from adamoe_ros.evaluation.report import svg
from adamoe_ros.evaluation.report.html import card, figure, legend, number, table
from adamoe_ros.evaluation.report.summary import CLIP_KINDS, clip_totals, seam_figures

_RUNNING = 2  # ControlStatus.RUNNING
_JOINT = svg.Frame(width=460, height=128)
_WIDE = svg.Frame(width=1040, height=150)


def hold_bands(episode: Episode) -> list[svg.Band]:
    """Spans after the first motion in which the control node was not following chunks."""
    bands: list[svg.Band] = []
    started = False
    previous = None
    for item in episode.control:
        started = started or item.mode == _RUNNING
        if started and previous is not None and previous.mode != _RUNNING:
            bands.append(svg.Band(previous.time, item.time, f"held: {previous.hold_cause}"))
        previous = item if started else None
    return bands


def joints(episode: Episode) -> str:
    """Commanded against measured, one small chart per joint."""
    names = episode.joint_names
    if not episode.commanded.time or not episode.measured.time:
        return card("<p>No joint commands were recorded.</p>")
    commanded = np.asarray(episode.commanded.values, float)
    measured = np.asarray(episode.measured.values, float)
    x_range = svg.limits(episode.commanded.time, episode.measured.time, pad=0.0)
    bands = hold_bands(episode)
    marks = [seam.time for seam in episode.seams]
    charts = []
    for column in _paired_columns(names):
        name = names[column]
        unit = "m" if name.endswith("gripper") else "rad"
        series = [
            svg.Series("measured", episode.measured.time, measured[:, column], 1),
            svg.Series("commanded", episode.commanded.time, commanded[:, column], 0),
        ]
        chart = svg.line_chart(
            series,
            name=f"{name}, commanded and measured",
            unit=unit,
            frame=_JOINT,
            bands=bands,
            marks=marks,
            x_range=x_range,
            least=0.01 if unit == "m" else 0.1,
        )
        charts.append(figure(name.replace("/", " · "), chart))
    key = legend([(0, "commanded"), (1, "measured")])
    text = "Thin lines are chunk boundaries; shaded spans are holds. Time in s."
    note = f'<p class="soft small">{text}</p>'
    return card(key + note + f'<div class="grid2">{"".join(charts)}</div>')


def _paired_columns(names: list[str]) -> list[int]:
    """Left and right joints side by side, where both arms have as many; else as they come."""
    left = [index for index, name in enumerate(names) if name.startswith("left/")]
    right = [index for index, name in enumerate(names) if name.startswith("right/")]
    if len(left) != len(right) or len(left) + len(right) != len(names):
        return list(range(len(names)))
    return [index for pair in zip(left, right, strict=True) for index in pair]


def boundaries(episode: Episode) -> str:
    """How smooth the joins between chunks were, and what was held."""
    figures = seam_figures(episode)
    ages = [item.command_age if item.command_age >= 0 else np.nan for item in episode.control]
    times = [item.time for item in episode.control]
    parts = []
    if times and np.isfinite(ages).any():
        chart = svg.line_chart(
            [svg.Series("age", times, ages, 0)],
            name="age of the observation behind each command",
            unit="s",
            frame=_WIDE,
            bands=hold_bands(episode),
            marks=[seam.time for seam in episode.seams],
        )
        parts.append(figure("Age of the observation behind each command", chart))
    parts.append(_seam_sizes(figures))
    parts.append(_seam_joints(episode.joint_names, figures))
    counts = episode.counters
    share = float(counts.get("hold_share", 0.0))
    parts.append(
        f'<p class="soft small">{figures["count"]} boundaries · '
        f"{int(counts.get('holds', 0))} holds ({share:.1%} of the time since the first chunk) · "
        f"{figures['repeated_rows']} rows repeated · {figures['skipped_rows']} rows skipped · "
        f"{int(counts.get('late_chunks', 0))} chunks too late</p>"
    )
    return card("".join(parts))


_SIZES = (
    ("position_jump", "Position jump", "rad or m"),
    ("velocity_jump", "Velocity jump", "rad/s or m/s"),
    ("jerk", "Jerk after the boundary, as commanded", "rad/s³ or m/s³"),
)


def _seam_sizes(figures: dict[str, Any]) -> str:
    rows = [
        [escape(text), *(number(figures[key][name]) for name in ("mean", "p95", "largest")), unit]
        for key, text, unit in _SIZES
    ]
    return table(["At chunk boundaries, worst joint", "mean", "95 %", "largest", "unit"], rows)


def _seam_joints(names: list[str], figures: dict[str, Any]) -> str:
    columns = [figures[key]["joints"] for key, _, _ in _SIZES]
    rows = [
        [escape(name), *(number(value) for value in values)]
        for name, *values in zip(names, *columns, strict=True)
    ]
    head = ["Mean at chunk boundaries", *(text for _, text, _ in _SIZES)]
    return f"<details><summary>By joint</summary>{table(head, rows)}</details>"


def gate(episode: Episode) -> str:
    """Interventions of the safety gate by joint and cause."""
    totals = clip_totals(episode)
    ticks = int(episode.counters.get("ticks", 0))
    if not any(totals.values()):
        return card(
            f"<p>No intervention in {ticks} control ticks: every command lay inside the position, "
            f"velocity, acceleration and step limits. "
            f"{int(episode.counters.get('rejected_chunks', 0))} chunks were refused.</p>"
        )
    rows = []
    for column, name in enumerate(episode.joint_names):
        counts = [_at(episode.counters.get(kind, []), column) for kind in CLIP_KINDS]
        if any(counts):
            rows.append([escape(name), *(str(count) for count in counts)])
    rows.append(["<b>all</b>", *(f"<b>{totals[kind]}</b>" for kind in CLIP_KINDS)])
    head = [
        "Ticks in which the gate clipped",
        *(kind.removesuffix("_clips") for kind in CLIP_KINDS),
    ]
    note = (
        f'<p class="soft small">Of {ticks} control ticks. Clipped commands stay inside the limits; '
        f"{int(episode.counters.get('rejected_chunks', 0))} chunks were refused whole.</p>"
    )
    return card(table(head, rows) + note)


def _at(values: list[int], index: int) -> int:
    return int(values[index]) if index < len(values) else 0
