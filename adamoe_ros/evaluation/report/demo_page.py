# SPDX-License-Identifier: Apache-2.0
"""``report.html`` of ``adamoe demo``: a recording's figures and charts, for ``templates/demo.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adamoe_ros.data import svg
from adamoe_ros.data.recording import Episode, Recording
from adamoe_ros.evaluation.report.rendering import milliseconds, number, render, shown
from adamoe_ros.evaluation.report.summary import (
    CLIP_KINDS,
    clip_totals,
    episode_results,
    results,
    spread,
    stage_latencies,
)

_RUNNING = 2  # ControlStatus.RUNNING
_JOINT = svg.PlotArea(width=460, height=128)
_WIDE = svg.PlotArea(width=1040, height=150)
_SMALL = svg.PlotArea(width=340, height=140, left=34)
_AREA = svg.PlotArea(width=460, height=120, left=34)
_SEAM_SIZES = (
    ("position_jump", "Position jump", "rad or m"),
    ("velocity_jump", "Velocity jump", "rad/s or m/s"),
    ("jerk", "Jerk after the boundary, as commanded", "rad/s³ or m/s³"),
)
Charts = Sequence[tuple[str, str]]  # title, SVG


def demo_page(recording: Recording, video: bytes | None) -> str:
    """The whole page.

    Args:
        video: an MP4 (H.264), embedded; None: the page says that none was made.
    """
    episodes, settings, figures = recording.episodes, recording.settings, results(recording)
    rates = [entry["command_rate"] for entry in figures["episodes"] if entry["command_rate"]]
    stages = {
        name.replace("_", " "): values
        for name, values in stage_latencies(episodes).items()
        if spread(values)
    }
    heading = _heading(episodes)
    return render(
        "demo.html",
        title=f"AdaMoE demo: {heading}",
        heading=heading,
        subtitle=" · ".join(
            f"{name} {shown(settings[name])}"
            for name in ("robot", "checkpoint", "strategy")
            if settings.get(name)
        ),
        results=figures,
        total={"p50": None, "p99": None} | figures["latency"].get("total", {}),
        command_rate=sum(rates) / len(rates) if rates else None,
        clips=sum(sum(entry["clips"].values()) for entry in figures["episodes"]),
        video=video,
        inferences=max(map(len, stages.values()), default=0),
        stages=[_stage_row(name, spread(values)) for name, values in stages.items()],
        stage_charts=_stage_charts(stages),
        episodes=[_episode(episode) for episode in episodes],
        settings=settings,
    )


def _heading(episodes: Sequence[Episode]) -> str:
    """The instruction where there is one; else how many there are."""
    given = dict.fromkeys(episode.instruction for episode in episodes)
    if not given:
        return "no episode"
    return f"“{next(iter(given))}”" if len(given) == 1 else f"{len(given)} instructions, two arms"


def _stage_row(name: str, figures: Mapping[str, float]) -> list[str]:
    return [name, *(milliseconds(figures[key]) for key in ("p50", "p95", "p99", "max"))]


def _stage_charts(stages: Mapping[str, Sequence[float]]) -> Charts:
    return [
        (
            f"{name}, ms",
            svg.histogram(
                np.asarray(values, float) * 1e3, name=f"{name}, ms", tone=tone % 8, frame=_SMALL
            ),
        )
        for tone, (name, values) in enumerate(stages.items())
    ]


def _episode(episode: Episode) -> dict[str, Any]:
    """What the template shows of one episode."""
    figures = episode_results(episode)
    seams = figures["seams"]
    columns = [seams[key]["joints"] for key, _, _ in _SEAM_SIZES]
    return {
        "results": figures,
        "ticks": int(episode.counters.get("ticks", 0)),
        "joints": _joint_charts(episode),
        "experts": _experts(episode),
        "ages": _age_chart(episode),
        "seam_sizes": [
            [text, *(number(seams[key][name]) for name in ("mean", "p95", "largest")), unit]
            for key, text, unit in _SEAM_SIZES
        ],
        "seam_joints": [
            [name, *map(number, values)]
            for name, *values in zip(episode.joint_names, *columns, strict=True)
        ],
        "clipped": _clipped(episode),
    }


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


def _joint_charts(episode: Episode) -> Charts:
    """Commanded against measured, one small chart per joint."""
    if not episode.commanded.time or not episode.measured.time:
        return []
    commanded = np.asarray(episode.commanded.values, float)
    measured = np.asarray(episode.measured.values, float)
    x_range = svg.limits(episode.commanded.time, episode.measured.time, pad=0.0)
    charts = []
    for column in _paired_columns(episode.joint_names):
        name = episode.joint_names[column]
        unit = "m" if name.endswith("gripper") else "rad"
        chart = svg.line_chart(
            [
                svg.Series("measured", episode.measured.time, measured[:, column], 1),
                svg.Series("commanded", episode.commanded.time, commanded[:, column], 0),
            ],
            name=f"{name}, commanded and measured",
            unit=unit,
            frame=_JOINT,
            bands=hold_bands(episode),
            marks=[seam.time for seam in episode.seams],
            x_range=x_range,
            least=0.01 if unit == "m" else 0.1,
        )
        charts.append((name.replace("/", " · "), chart))
    return charts


def _paired_columns(names: list[str]) -> list[int]:
    """Left and right joints side by side, where both arms have as many; else as they come."""
    left = [index for index, name in enumerate(names) if name.startswith("left/")]
    right = [index for index, name in enumerate(names) if name.startswith("right/")]
    if len(left) != len(right) or len(left) + len(right) != len(names):
        return list(range(len(names)))
    return [index for pair in zip(left, right, strict=True) for index in pair]


def _age_chart(episode: Episode) -> str:
    """Age of the observation behind each command; empty for none."""
    ages = [item.command_age if item.command_age >= 0 else np.nan for item in episode.control]
    if not np.isfinite(ages).any():
        return ""
    return svg.line_chart(
        [svg.Series("age", [item.time for item in episode.control], ages, 0)],
        name="age of the observation behind each command",
        unit="s",
        frame=_WIDE,
        bands=hold_bands(episode),
        marks=[seam.time for seam in episode.seams],
    )


def _experts(episode: Episode) -> dict[str, Any] | None:
    """Which routed experts were selected, per layer and over time; None for a dense policy."""
    used = [inference for inference in episode.inferences if inference.experts]
    if not used:
        return None
    layers = [entry["layer"] for entry in used[0].experts]
    selected, scale = (
        np.array([[entry[key] for entry in inference.experts] for inference in used])
        for key in ("selected", "scale")
    )  # (N, L, E)
    times = np.array([inference.time for inference in used])
    count = selected.shape[2]
    shares = selected / np.maximum(selected.sum(axis=2, keepdims=True), 1e-12)
    span = (float(times[0]), max(float(times[-1]), float(episode.elapsed), float(times[0]) + 1e-3))
    charts = [
        (
            f"Layer {layer}",
            svg.stacked_shares(
                times, selected[:, row], name=f"experts of layer {layer}", frame=_AREA, x_range=span
            ),
        )
        for row, layer in enumerate(layers)
    ]
    return {
        "inferences": len(used),
        "count": count,
        "weight": float((scale * selected).sum() / max(selected.sum(), 1e-12)),
        "grid": svg.heatmap(
            shares.mean(axis=0),
            rows=[f"layer {layer}" for layer in layers],
            columns=[f"expert {index}" for index in range(count)],
            name="share of tokens by layer and expert",
        ),
        "charts": charts,
    }


def _clipped(episode: Episode) -> list[list[str]]:
    """Rows of joints whose commands the gate has clipped, by cause, and their sum; empty for none."""
    totals = clip_totals(episode)
    if not any(totals.values()):
        return []
    counts = [episode.counters.get(kind) or [0] * len(episode.joint_names) for kind in CLIP_KINDS]
    rows = [
        [name, *map(str, values)]
        for name, *values in zip(episode.joint_names, *counts, strict=True)
        if any(values)
    ]
    return [*rows, ["all joints", *(str(totals[kind]) for kind in CLIP_KINDS)]]
