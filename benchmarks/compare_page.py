# SPDX-License-Identifier: Apache-2.0
"""The page of the comparison of mixtures: table with intervals, curves, routing pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adamoe_ros.data import svg
from adamoe_ros.evaluation.report.rendering import environment, percent
from adamoe_ros.evaluation.report.usage_page import usage_part
from adamoe_ros.evaluation.usage.decision_record import load

_WIDE = svg.PlotArea(width=460, height=220)
_TEMPLATE = Path(__file__).with_name("compare_page.html")


def comparison_page(
    document: Mapping[str, Any],
    experts: Mapping[str, Mapping[str, Any] | None],
    routing: Mapping[str, Path],
) -> str:
    """One self-contained HTML file.

    Args:
        experts: arm -> ``usage`` figures of its first seed. routing: arm -> its routing record.
    """
    arms = document["arms"]
    template = environment().from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        title=f"Comparison of mixtures: {document['size']}",
        document=document,
        rows=[_row(arm) for arm in arms],
        success=_success(arms),
        curves=_curves(document["runs"], arms),
        names=[(tone % 8, arm["arm"]) for tone, arm in enumerate(arms)],
        routing=_routing(arms, experts, routing),
    )


def _row(arm: Mapping[str, Any]) -> list[str]:
    return [
        arm["arm"],
        f"{arm['parameters']:,}",
        f"{arm['active_parameters']:,}",
        str(len(arm["seeds"])),
        _spread(arm["held_out_mrad"], "{:.1f}"),
        _spread(arm.get("held_out_minus_dense"), "{:+.1f}"),
        _spread(arm["final_flow_loss"], "{:.4f}"),
        _spread(arm.get("success"), "{:.0%}"),
        _spread(arm.get("success_minus_dense"), "{:+.0%}"),
    ]


def _spread(value: Mapping[str, Any] | None, form: str) -> str:
    if value is None:
        return "–"
    mean = form.format(value["mean"])
    if value["interval_95"] is None:
        return mean
    low, high = (form.format(end) for end in value["interval_95"])
    return f"{mean} [{low}, {high}]"


def _success(arms: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for arm in arms:
        pooled = arm.get("pooled")
        if pooled:
            low, high = pooled["wilson_95"]
            note = f"{pooled['successes']}/{pooled['episodes']}"
            rows.append(svg.Share(arm["arm"], pooled["rate"], low, high, 0, note))
    return svg.shares(rows, name="success by arm") if rows else ""


def _curves(
    runs: Sequence[Mapping[str, Any]], arms: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    names = [arm["arm"] for arm in arms]
    charts: list[tuple[str, str]] = []
    for key, title in (
        ("flow", "Flow-matching loss"),
        ("objects", "Auxiliary positions"),
        ("balance", "Balance loss (even: k)"),
        ("top_expert_share", "Share of the most used expert"),
    ):
        series = []
        for tone, name in enumerate(names):
            curves = [run["curve"] for run in runs if run["arm"] == name and key in run["curve"][0]]
            if curves:
                length = min(map(len, curves))
                x = [point["step"] for point in curves[0][:length]]
                y = np.mean([[p[key] for p in curve[:length]] for curve in curves], 0)
                series.append(svg.Series(name, x, y, tone % 8, dashed=tone >= 8))
        if series:
            charts.append((title, svg.line_chart(series, name=title, frame=_WIDE)))
    return charts


def _routing(
    arms: Sequence[Mapping[str, Any]],
    experts: Mapping[str, Mapping[str, Any] | None],
    routing: Mapping[str, Path],
) -> list[tuple[str, str]]:
    parts: list[tuple[str, str]] = []
    for arm in arms:
        figures, path = experts.get(arm["arm"]), routing[arm["arm"]]
        if figures is not None and path.is_file():
            balance = percent(float(np.mean(figures["balance_by_layer"])))
            head = f"{arm['arm']}: {arm['text']}, entropy of use {balance}"
            parts.append((head, usage_part(figures, load(path).density)))
    return parts
