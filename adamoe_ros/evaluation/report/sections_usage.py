# SPDX-License-Identifier: Apache-2.0
"""The report's part about what the experts are used for; input is ``usage.figures.usage``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from adamoe_ros.evaluation.report import svg
from adamoe_ros.evaluation.report.html import card, figure, legend, number, table
from adamoe_ros.evaluation.report.svg_points import density
from adamoe_ros.evaluation.usage.record import S_RANGE

_AREA = svg.Frame(width=340, height=120, left=34)
_LABELS = {"task": "task", "phase": "phase", "flow_step": "flow step"}


def usage_sections(figures: Mapping[str, Any], counts: ArrayLike) -> str:
    """Every picture of expert usage.

    Args:
        figures: of ``usage``.
        counts: (L, P, S) decisions by probability and weight.
    """
    parts = [
        _part(
            "Selection by layer",
            f"Share of the action tokens' choices over {figures['inferences']} inferences; even "
            f"use would be {1 / figures['experts']:.0%}.",
            _heat(figures["share_by_layer"], "layer"),
        ),
        _steps(figures),
        _grouped(figures, "share_by_phase", "Selection by task phase", _PHASES),
        _grouped(figures, "share_by_task", "Selection by task", ""),
        _weights(figures, np.asarray(counts)),
        _information(figures),
    ]
    return "".join(parts)


_PHASES = (
    "reach: no hand at its goal; contact: a hand there, or holding something that lies; "
    "carry: something in the air; done: the task's judgement."
)


def _part(title: str, text: str, content: str) -> str:
    note = f'<p class="soft small">{escape(text)}</p>' if text else ""
    return card(f"<h3>{escape(title)}</h3>{note}{content}")


def _columns(count: int) -> list[str]:
    return [f"expert {index}" for index in range(count)]


def _heat(values: Sequence[Sequence[float]], row: str) -> str:
    names = [f"{row} {index}" for index in range(len(values))]
    columns = _columns(len(values[0]))
    grid = svg.heatmap(values, rows=names, columns=columns, name="share of the choices")
    return f'<div style="max-width:{90 + 88 * len(columns)}px">{grid}</div>'


def _steps(figures: Mapping[str, Any]) -> str:
    steps = np.asarray(figures["share_by_step"])  # (S, L, E)
    if len(steps) < 2:
        return ""
    span = (0.0, float(len(steps)))
    charts = [
        figure(
            f"Layer {layer}",
            svg.stacked_shares(
                np.arange(len(steps)),
                steps[:, layer],
                name=f"experts of layer {layer} over the flow steps",
                frame=_AREA,
                x_range=span,
            ),
        )
        for layer in range(steps.shape[1])
    ]
    key = legend([(i % 8, text) for i, text in enumerate(_columns(steps.shape[2]))], kind="block")
    text = "From noise (step 0) to actions, left to right."
    return _part("Selection by flow step", text, f'{key}<div class="grid3">{"".join(charts)}</div>')


def _grouped(figures: Mapping[str, Any], key: str, title: str, text: str) -> str:
    groups: Mapping[str, Any] = figures[key]
    if len(groups) < 2:
        return ""
    by_layer = np.stack([np.asarray(values) for values in groups.values()], 1)  # (L, G, E)
    charts = [
        figure(
            f"Layer {layer}",
            svg.heatmap(
                by_layer[layer],
                rows=list(groups),
                columns=[f"{index}" for index in range(by_layer.shape[2])],
                name=f"{title}, layer {layer}",
            ),
        )
        for layer in range(len(by_layer))
    ]
    return _part(title, text, f'<div class="grid3">{"".join(charts)}</div>')


def _weights(figures: Mapping[str, Any], counts: np.ndarray) -> str:
    said = figures["weight_against_probability"]
    if not said or not counts.any():
        return ""
    charts = []
    for layer, (entry, cells) in enumerate(zip(said, counts, strict=True)):
        title = f"Layer {layer}: correlation {number(entry['correlation'], 2)}"
        shown, across, up = _cut(cells)
        picture = density(shown, name=title, x_range=across, y_range=up)
        charts.append(figure(title, picture))
    text = (
        "Across: the router's probability of a chosen expert. Up: the weight that it was given. In a "
        "coupled mixture every choice lies on the dashed line; away from it, an expert that is "
        "chosen with certainty need not dominate the output, and a narrow choice may weigh much."
    )
    return _part("Weight against probability", text, f'<div class="grid3">{"".join(charts)}</div>')


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


def _information(figures: Mapping[str, Any]) -> str:
    rows = []
    for label, layers in figures["information"].items():
        for layer, entry in enumerate(layers):
            rows.append(
                [
                    f"{_LABELS.get(label, label)}, layer {layer}",
                    f"{entry['raw']:.3f}",
                    f"{entry['chance']:.3f}",
                    f"<b>{entry['corrected']:.3f}</b>",
                    f"{entry['most']:.3f}",
                    f"{entry['p_value']:.3f}",
                ]
            )
    if not rows:
        return ""
    text = (
        "Mutual information between a label and the chosen expert, in bits. Chance: the same with "
        "labels exchanged (tasks among episodes, phases and flow steps within one), mean of many "
        "exchanges; corrected: less chance; p: how often chance found as much."
    )
    head = ["label", "counted", "chance", "corrected", "at most", "p"]
    return _part("What the choice of an expert depends on", text, table(head, rows))
