# SPDX-License-Identifier: Apache-2.0
"""What the experts are used for, as a part of a page; input is ``usage.figures.usage``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from adamoe_ros.data import svg
from adamoe_ros.evaluation.report.rendering import number, render
from adamoe_ros.evaluation.usage.decision_record import S_RANGE

_AREA = svg.PlotArea(width=340, height=120, left=34)
Charts = Sequence[tuple[str, str]]  # title, SVG


def usage_part(figures: Mapping[str, Any], counts: ArrayLike) -> Markup:
    """Every picture of expert usage.

    Args:
        figures: of ``usage``.
        counts: (L, P, S) decisions by probability and weight.
    """
    shares = figures["share_by_layer"]
    by_layer = svg.heatmap(
        shares,
        rows=[f"layer {index}" for index in range(len(shares))],
        columns=[f"expert {index}" for index in range(len(shares[0]))],
        name="share of the choices",
    )
    part = render(
        "usage.html",
        inferences=figures["inferences"],
        experts=figures["experts"],
        by_layer=by_layer,
        steps=_steps(figures),
        phases=_grouped(figures["share_by_phase"], "Selection by task phase"),
        tasks=_grouped(figures["share_by_task"], "Selection by task"),
        weights=_weights(figures, np.asarray(counts)),
        information=_information(figures),
    )
    return Markup(part)


def _steps(figures: Mapping[str, Any]) -> Charts:
    steps = np.asarray(figures["share_by_step"])  # (S, L, E)
    if len(steps) < 2:
        return []
    return [
        (
            f"Layer {layer}",
            svg.stacked_shares(
                np.arange(len(steps)),
                steps[:, layer],
                name=f"experts of layer {layer} over the flow steps",
                frame=_AREA,
                x_range=(0.0, float(len(steps))),
            ),
        )
        for layer in range(steps.shape[1])
    ]


def _grouped(groups: Mapping[str, Any], title: str) -> Charts:
    if len(groups) < 2:
        return []
    by_layer = np.stack([np.asarray(values) for values in groups.values()], 1)  # (L, G, E)
    columns = [f"{index}" for index in range(by_layer.shape[2])]
    return [
        (
            f"Layer {layer}",
            svg.heatmap(shares, rows=list(groups), columns=columns, name=f"{title}, layer {layer}"),
        )
        for layer, shares in enumerate(by_layer)
    ]


def _weights(figures: Mapping[str, Any], counts: np.ndarray) -> Charts:
    entries = figures["weight_against_probability"]
    if not entries or not counts.any():
        return []
    charts = []
    for layer, (entry, cells) in enumerate(zip(entries, counts, strict=True)):
        title = f"Layer {layer}: correlation {number(entry['correlation'], 2)}"
        drawn, across, up = _cut(cells)
        charts.append((title, svg.density(drawn, name=title, x_range=across, y_range=up)))
    return charts


def _cut(cells: np.ndarray) -> tuple[np.ndarray, tuple[float, float], tuple[float, float]]:
    """The part with counts, and its ranges of probability and weight.

    Cells that hold less than a ten-thousandth are left out: a page of dust is heavy.
    """
    kept = np.where(cells < cells.sum() * 1e-4, 0, cells)
    (a, b), (c, d) = (_ends(kept.sum(axis) > 0) for axis in (1, 0))
    low, high = S_RANGE
    p_step, s_step = 1.0 / cells.shape[0], (high - low) / cells.shape[1]
    across, up = (a * p_step, b * p_step), (low + c * s_step, low + d * s_step)
    return kept[a:b, c:d], across, up


def _ends(used: np.ndarray) -> tuple[int, int]:
    """First and last used bin, with one of margin at both ends."""
    places = np.flatnonzero(used)
    return max(0, int(places[0]) - 1), min(len(used), int(places[-1]) + 2)


def _information(figures: Mapping[str, Any]) -> list[list[str]]:
    keys = ("raw", "chance", "corrected", "most", "p_value")
    return [
        [f"{label.replace('_', ' ')}, layer {layer}", *(f"{entry[key]:.3f}" for key in keys)]
        for label, layers in figures["information"].items()
        for layer, entry in enumerate(layers)
    ]
