# SPDX-License-Identifier: Apache-2.0
"""``report.html`` of ``adamoe evaluate``: success, controls, failures, experts, settings.

Videos lie beside the page; everything else is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from adamoe_ros.data import svg
from adamoe_ros.evaluation.report.rendering import percent, render
from adamoe_ros.evaluation.report.usage_page import usage_part


def evaluation_page(
    document: Mapping[str, Any], videos: Sequence[tuple[str, str]], density: ArrayLike | None
) -> str:
    """The whole page.

    Args:
        document: what ``results.json`` holds.
        videos: (file name beside the page, caption).
        density: (L, P, S) of the routing record; None: no routing was recorded.
    """
    usage, settings = document.get("experts"), document["settings"]
    parts = [*(settings[key] for key in ("robot", "strategy", "path")), document["trained"]]
    return render(
        "evaluation.html",
        title=f"{document['checkpoint']}: evaluation",
        subtitle=" · ".join(map(str, parts)),
        document=document,
        tiles=list(_tiles(document)),
        controls=[
            (name, svg.shares(_shares(group), name=f"success, {name}"))
            for name, group in document["summary"].items()
        ],
        videos=videos,
        usage=None if usage is None or density is None else usage_part(usage, density),
    )


def _tiles(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    summary = document["summary"]
    plain = summary.get("plain")
    if plain is not None:
        yield percent(plain["mean_of_tasks"]), "success, mean of the tasks"
    if plain is not None and len(plain["tasks"]) > 1:
        task, figures = min(plain["tasks"].items(), key=lambda item: item[1]["rate"])
        yield percent(figures["rate"]), f"least of the tasks ({task})"
    wrong = summary.get("wrong-sentence")
    if wrong is not None:
        followed = wrong["all"]["followed"]
        if followed["episodes"]:
            yield percent(followed["rate"]), "follows another instruction"
        yield percent(wrong["all"]["rate"]), "does the scene's task in spite of it"
    if "changed" in summary:
        yield percent(summary["changed"]["mean_of_tasks"]), "success after a changed instruction"
    if "blind" in summary:
        yield percent(summary["blind"]["mean_of_tasks"]), "success with black images"
    yield str(len(document["episodes"])), "episodes"


def _shares(group: Mapping[str, Any]) -> list[svg.Share]:
    rows = []
    for task, figures in group["tasks"].items():
        rows.append(_share(task, figures, 0))
        followed = figures.get("followed")
        if followed and followed["episodes"]:
            rows.append(_share("did as instructed", followed, 1))
    if len(group["tasks"]) > 1:
        rows.append(_share("all", group["all"], 2))
    return rows


def _share(name: str, figures: Mapping[str, Any], tone: int) -> svg.Share:
    low, high = figures["wilson_95"]
    note = f"{figures['successes']}/{figures['episodes']}"
    return svg.Share(name, figures["rate"], low, high, tone, note)
