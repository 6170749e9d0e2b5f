# SPDX-License-Identifier: Apache-2.0
"""The report's parts about the policy: time of its stages, use of its experts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from adamoe_ros.data.recording import Episode
from adamoe_ros.evaluation.report import svg
from adamoe_ros.evaluation.report.html import card, figure, legend, milliseconds, table
from adamoe_ros.evaluation.report.summary import spread, stage_latencies

_SMALL = svg.Frame(width=340, height=140, left=34)
_AREA = svg.Frame(width=460, height=120, left=34)


def latency(episodes: Sequence[Episode]) -> str:
    """A table of percentiles and one histogram per stage."""
    stages = stage_latencies(episodes)
    if not stages:
        return card("<p>No inference was recorded.</p>")
    rows = []
    charts = []
    for tone, (name, values) in enumerate(stages.items()):
        figures = spread(values)
        if not figures:
            continue
        cells = [milliseconds(figures[key]) for key in ("p50", "p95", "p99", "max")]
        rows.append([escape(name), *cells])
        in_ms = np.asarray(values, float) * 1e3
        chart = svg.histogram(in_ms, name=f"{name}, ms", tone=tone % 8, frame=_SMALL)
        charts.append(figure(f"{name}, ms", chart))
    count = max(len(values) for values in stages.values())
    note = f'<p class="soft small">{count} inferences, wall clock, on the machine named below.</p>'
    return card(
        note
        + table(["Stage", "p50", "p95", "p99", "max"], rows)
        + f'<div class="grid3" style="margin-top:16px">{"".join(charts)}</div>'
    )


def experts(episode: Episode) -> str:
    """Which routed experts were selected, per layer and over time."""
    used = [inference for inference in episode.inferences if inference.experts]
    if not used:
        return card("<p>A dense action expert: there is no routing to show.</p>")
    layers = [entry["layer"] for entry in used[0].experts]
    selected = np.array([[entry["selected"] for entry in inference.experts] for inference in used])
    scale = np.array([[entry["scale"] for entry in inference.experts] for inference in used])
    times = np.array([inference.time for inference in used])
    count = selected.shape[2]
    columns = [f"expert {index}" for index in range(count)]
    rows = [f"layer {layer}" for layer in layers]
    shares = selected / np.maximum(selected.sum(axis=2, keepdims=True), 1e-12)
    mean = shares.mean(axis=0)
    grid = svg.heatmap(mean, rows=rows, columns=columns, name="share of tokens by layer and expert")
    span = (float(times[0]), max(float(times[-1]), float(episode.elapsed), float(times[0]) + 1e-3))
    charts = [
        figure(
            f"Layer {layer}",
            svg.stacked_shares(
                times, selected[:, row], name=f"experts of layer {layer}", frame=_AREA, x_range=span
            ),
        )
        for row, layer in enumerate(layers)
    ]
    key = legend([(index % 8, text) for index, text in enumerate(columns)], kind="block")
    weighed = _selected_mean(scale, selected)
    text = (
        "Share of the action tokens that the router sent to each expert, mean over "
        f"{len(used)} inferences (even use would be {1 / count:.0%}). Where an expert was "
        f"selected, its scale adapter weighed it with {weighed:.2f} on average."
    )
    return card(
        f'<p class="soft small">{text}</p>'
        f'<div style="max-width:{90 + 88 * count}px">{grid}</div>'
        '<h3 style="margin-top:22px">Over the episode</h3>'
        f'{key}<div class="grid2">{"".join(charts)}</div>'
    )


def _selected_mean(scale: np.ndarray, selected: np.ndarray) -> float:
    weight = selected.sum()
    return float((scale * selected).sum() / weight) if weight > 0 else float("nan")
