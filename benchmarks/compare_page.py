# SPDX-License-Identifier: Apache-2.0
"""The page of the comparison of mixtures: table with intervals, curves, routing pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from adamoe_ros.evaluation.report import svg
from adamoe_ros.evaluation.report.html import card, figure, legend, page, percent, section, table
from adamoe_ros.evaluation.report.sections_usage import usage_sections
from adamoe_ros.evaluation.report.svg_points import Share, shares
from adamoe_ros.evaluation.usage.record import load

_WIDE = svg.Frame(width=460, height=220)


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
    settings = document["settings"]
    runs = len(document["runs"])
    done = "" if document["complete"] else " Not all runs are done yet."
    intro = (
        f"{runs} runs of {settings['arm_steps']} steps, batch {settings['batch_size']}, from one "
        f"dense checkpoint of {settings['origin_steps']} steps; tasks: "
        f"{', '.join(settings['tasks'])}; seeds {', '.join(map(str, settings['seeds']))}.{done}"
    )
    body = [
        '<header><div class="over">What the mixture is worth</div>'
        f"<h1>{escape(document['size'])}</h1>"
        f'<p class="soft">{escape(intro)} {escape(str(document["machine"]["cpu"]))}, commit '
        f"{escape(str(document['machine']['commit']))}</p></header>",
        section("Arms", "", card(_table(arms)) + _success(arms)),
        section("Learning curves", "", _curves(document["runs"], arms)),
        section("Routing", "", _routing(arms, experts, routing)),
    ]
    return page(f"Comparison of mixtures: {document['size']}", body)


def _table(arms: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            escape(arm["arm"]),
            f"{arm['parameters']:,}",
            f"{arm['active_parameters']:,}",
            str(len(arm["seeds"])),
            _spread(arm["held_out_mrad"], "{:.1f}"),
            _spread(arm.get("held_out_minus_dense"), "{:+.1f}"),
            _spread(arm["final_flow_loss"], "{:.4f}"),
            _spread(arm.get("success"), "{:.0%}"),
            _spread(arm.get("success_minus_dense"), "{:+.0%}"),
        ]
        for arm in arms
    ]
    head = [
        "Arm", "Parameters", "Active", "Seeds", "Held-out error, mrad", "less dense",
        "Flow loss at the end", "Success", "less dense",
    ]  # fmt: skip
    note = (
        '<p class="soft small">Means over seeds with 95 % intervals (Student\'s t over seeds; '
        "differences are paired by seed). Held-out error: sampled chunks against the expert's, first "
        "half of each chunk, arm joints.</p>"
    )
    return note + table(head, rows)


def _spread(value: Mapping[str, Any] | None, form: str) -> str:
    if value is None:
        return "–"
    mean = form.format(value["mean"])
    if value["interval_95"] is None:
        return mean
    low, high = (form.format(end) for end in value["interval_95"])
    return f'{mean} <span class="soft small">[{low}, {high}]</span>'


def _success(arms: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for arm in arms:
        pooled = arm.get("pooled")
        if pooled:
            low, high = pooled["wilson_95"]
            note = f"{pooled['successes']}/{pooled['episodes']}"
            rows.append(Share(arm["arm"], pooled["rate"], low, high, 0, note))
    if not rows:
        return card("<p>No episodes were evaluated: the measure is the held-out error.</p>")
    text = '<p class="soft small">All seeds\' episodes as one count, Wilson 95 % intervals.</p>'
    return card(text + shares(rows, name="success by arm"))


def _curves(runs: Sequence[Mapping[str, Any]], arms: Sequence[Mapping[str, Any]]) -> str:
    names = [arm["arm"] for arm in arms]
    charts = []
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
            charts.append(figure(title, svg.line_chart(series, name=title, frame=_WIDE)))
    key_line = legend([(tone % 8, name) for tone, name in enumerate(names)])
    return card(f'{key_line}<div class="grid2">{"".join(charts)}</div>')


def _routing(
    arms: Sequence[Mapping[str, Any]],
    experts: Mapping[str, Mapping[str, Any] | None],
    routing: Mapping[str, Path],
) -> str:
    parts = []
    for arm in arms:
        figures, path = experts.get(arm["arm"]), routing[arm["arm"]]
        if figures is None or not path.is_file():
            continue
        balance = percent(float(np.mean(figures["balance_by_layer"])))
        head = f"{escape(arm['arm'])}: {escape(arm['text'])}, entropy of use {balance}"
        content = usage_sections(figures, load(path).density)
        opened = "" if parts else " open"
        parts.append(f"<details{opened}><summary>{head}</summary>{content}</details>")
    return "".join(parts) or card("<p>No mixture was evaluated yet.</p>")
