# SPDX-License-Identifier: Apache-2.0
"""``report.html`` of ``adamoe evaluate``: success, controls, failures, experts, settings.

Films lie beside the page; everything else is in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from numpy.typing import ArrayLike

from adamoe_ros.evaluation.report.html import (
    badge,
    card,
    definitions,
    page,
    percent,
    section,
    table,
    tile,
)
from adamoe_ros.evaluation.report.sections_usage import usage_sections
from adamoe_ros.evaluation.report.svg_points import Share, shares

_MEANING = {
    "plain": "The policy hears what the scene asks for.",
    "wrong-sentence": "The policy alone hears another wish than the scene was set up for.",
    "changed": "The policy hears another wish first, and the scene's own while its arms move.",
    "blind": "The policy's pictures are black.",
}


def evaluation_page(
    document: Mapping[str, Any], films: Sequence[tuple[str, str]], density: ArrayLike | None
) -> str:
    """The whole page.

    Args:
        document: what ``results.json`` holds.
        films: (file name beside the page, caption).
        density: (L, P, S) of the routing record; None: no routing was recorded.
    """
    usage = document.get("experts")
    body = [
        _header(document),
        _tiles(document),
        *(_control(name, group) for name, group in document["summary"].items()),
        _films(films),
        section(
            "Experts",
            "",
            card("<p>No routed experts were seen: there is no routing to show.</p>")
            if usage is None or density is None
            else usage_sections(usage, density),
        ),
        _episodes(document["episodes"]),
        _settings(document["settings"]),
        f"<footer>Made by adamoe_ros {escape(str(document['version']))}. The figures are in "
        "results.json, every episode in episodes.jsonl.</footer>",
    ]
    return page(f"{document['checkpoint']}: evaluation", body)


def _header(document: Mapping[str, Any]) -> str:
    settings = document["settings"]
    line = " · ".join(str(settings[key]) for key in ("robot", "strategy", "path"))
    return (
        '<header><div class="over">Success in the simulator</div>'
        f"<h1>{escape(document['checkpoint'])}</h1>"
        f'<p class="soft">{escape(line)} · {escape(document["trained"])}</p></header>'
    )


def _tiles(document: Mapping[str, Any]) -> str:
    summary = document["summary"]
    tiles = []
    plain = summary.get("plain")
    if plain is not None:
        tiles.append(tile(percent(plain["mean_of_tasks"]), "success, mean of the tasks"))
    if plain is not None and len(plain["tasks"]) > 1:
        low = min(plain["tasks"].items(), key=lambda item: item[1]["rate"])
        tiles.append(tile(percent(low[1]["rate"]), f"least of the tasks ({low[0]})"))
    wrong = summary.get("wrong-sentence")
    if wrong is not None:
        followed = wrong["all"]["followed"]
        if followed["episodes"]:
            tiles.append(tile(percent(followed["rate"]), "does what another sentence says"))
        tiles.append(tile(percent(wrong["all"]["rate"]), "does the scene's task in spite of it"))
    if "changed" in summary:
        changed = percent(summary["changed"]["mean_of_tasks"])
        tiles.append(tile(changed, "success after a change of the sentence"))
    if "blind" in summary:
        tiles.append(tile(percent(summary["blind"]["mean_of_tasks"]), "success with black images"))
    tiles.append(tile(str(len(document["episodes"])), "episodes"))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _control(name: str, group: Mapping[str, Any]) -> str:
    rows = []
    for task, figures in group["tasks"].items():
        rows.append(_share(task, figures, 0))
        followed = figures.get("followed")
        if followed and followed["episodes"]:
            rows.append(_share("did what it was told", followed, 1))
    if len(group["tasks"]) > 1:
        rows.append(_share("all", group["all"], 2))
    text = escape(_MEANING.get(name, ""))
    chart = shares(rows, name=f"success, {name}")
    note = (
        '<p class="soft small">Success of the scene\'s own task; bars: Wilson 95 % intervals.</p>'
    )
    return (
        f'<section><h2>{escape(name)}</h2><p class="soft">{text}</p>{card(note + chart)}</section>'
    )


def _share(name: str, figures: Mapping[str, Any], tone: int) -> Share:
    low, high = figures["wilson_95"]
    note = f"{figures['successes']}/{figures['episodes']}"
    return Share(name, figures["rate"], low, high, tone, note)


def _films(films: Sequence[tuple[str, str]]) -> str:
    if not films:
        return ""
    shown = "".join(
        f'<div><video controls muted loop playsinline preload="metadata" src="{escape(name)}">'
        f'</video><p class="soft small">{escape(caption)}</p></div>'
        for name, caption in films
    )
    return (
        '<section><h2>Failures</h2><p class="soft">Left: the scene. Right: what the cameras saw.</p>'
        f'<div class="grid2">{shown}</div></section>'
    )


def _episodes(episodes: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            escape(e["control"]),
            escape(e["task"]),
            str(e["seed"]),
            escape(e["told"]),
            badge(e["success"], "success" if e["success"] else "failed"),
            "–"
            if e["followed"] is None
            else badge(e["followed"], "yes" if e["followed"] else "no"),
            f"{e['seconds']:.1f} s",
            str(e["inferences"]),
        ]
        for e in episodes
    ]
    head = [
        "Control", "Task", "Seed", "Told", "Scene's task", "As told", "Time", "Inferences",
    ]  # fmt: skip
    return (
        f"<details><summary>Every episode ({len(episodes)})</summary>"
        f"{card(table(head, rows))}</details>"
    )


def _settings(settings: Mapping[str, Any]) -> str:
    entries = {str(key): _plain(value) for key, value in settings.items()}
    return section("Settings", "", definitions(entries))


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
