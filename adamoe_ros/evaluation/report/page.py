# SPDX-License-Identifier: Apache-2.0
"""``report.html``: one file that needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

from adamoe_ros.data.recording import Episode, Recording
from adamoe_ros.evaluation.report import sections_motion, sections_policy
from adamoe_ros.evaluation.report.html import (
    badge,
    card,
    definitions,
    milliseconds,
    page,
    percent,
    section,
    table,
    tile,
)
from adamoe_ros.evaluation.report.summary import episode_results, results


def report_page(recording: Recording, video: bytes | None) -> str:
    """The whole page.

    Args:
        video: an MP4 (H.264), embedded; None: the page says that none was made.
    """
    episodes = recording.episodes
    figures = results(recording)
    title = " · ".join(dict.fromkeys(e.instruction for e in episodes)) or "no episode"
    body = [
        _header(recording, title),
        _tiles(recording, figures),
        _video(video),
        section(
            "Episodes",
            "Success is the simulator's judgement, never the policy's.",
            _table(episodes),
        ),
        section(
            "Inference",
            "From the newest consistent set of images and joint states to a published chunk.",
            sections_policy.latency(episodes),
        ),
        *(_episode(episode, open_=index == 0) for index, episode in enumerate(episodes)),
        section("Settings", "What was run, and on what.", _settings(recording.settings)),
        f"<footer>Made by adamoe_ros {escape(str(recording.settings.get('version', '')))}, "
        f"{escape(str(recording.settings.get('date', '')))}. "
        "The figures are in results.json, everything that was drawn in recording.json.</footer>",
    ]
    return page(f"AdaMoE demo: {title}", body)


def _header(recording: Recording, title: str) -> str:
    settings = recording.settings
    parts = [str(settings.get(key, "")) for key in ("robot", "checkpoint", "strategy")]
    line = " · ".join(part for part in parts if part)
    return (
        '<header><div class="over">AdaMoE on two arms</div>'
        f'<h1>“{escape(title)}”</h1><p class="soft">{escape(line)}</p></header>'
    )


def _tiles(recording: Recording, figures: Mapping[str, Any]) -> str:
    entries = figures["episodes"]
    total = figures["latency"].get("total", {})
    rates = [entry["command_rate"] for entry in entries if entry["command_rate"]]
    chunks = sum(entry["chunks"] for entry in entries)
    holds = sum(entry["holds"] for entry in entries)
    clips = sum(sum(entry["clips"].values()) for entry in entries)
    done = f"{figures['successes']} of {figures['episodes_run']}"
    tone = "good" if figures["successes"] == figures["episodes_run"] else "bad"
    tiles = [
        tile(
            f'<span class="{tone}" style="font-size:inherit">{done}</span>', "episodes successful"
        ),
        tile(
            milliseconds(total.get("p50")),
            f"inference, median (p99 {milliseconds(total.get('p99'))})",
        ),
        tile(f"{sum(rates) / len(rates):.1f} Hz" if rates else "–", "joint commands, both arms"),
        tile(str(chunks), "action chunks"),
        tile(str(holds), "holds while running"),
        tile(str(clips), "safety gate interventions"),
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _video(video: bytes | None) -> str:
    if video is None:
        return card('<p class="soft">No video: the run was started with --no-video.</p>')
    data = base64.b64encode(video).decode("ascii")
    return (
        '<video controls muted loop playsinline preload="metadata" '
        f'src="data:video/mp4;base64,{data}"></video>'
        '<p class="soft small">Left: the scene. Right: the three pictures that the policy sees. '
        "Rendered from the states that the simulator recorded during the run.</p>"
    )


def _table(episodes: list[Episode]) -> str:
    rows = []
    for episode in episodes:
        entry = episode_results(episode)
        total = entry["latency"].get("total", {})
        rows.append(
            [
                str(episode.index + 1),
                escape(episode.said()),
                str(episode.seed),
                badge(episode.success, "success" if episode.success else "failed"),
                f"{episode.elapsed:.1f} s",
                str(entry["chunks"]),
                milliseconds(total.get("p50")),
                milliseconds(total.get("p99")),
                str(entry["holds"]),
                percent(entry["hold_share"]),
            ]
        )
    head = [
        "#",
        "Instruction",
        "Seed",
        "Judged",
        "Time",
        "Chunks",
        "Inference p50",
        "p99",
        "Holds",
        "held",
    ]
    return card(table(head, rows))


def _episode(episode: Episode, open_: bool) -> str:
    parts = [
        section(
            "Joints", "What was commanded and where the arms were.", sections_motion.joints(episode)
        ),
        section(
            "Experts",
            "The action expert is a mixture: a router selects, a scale adapter weighs.",
            sections_policy.experts(episode),
        ),
        section(
            "Chunk boundaries and holds",
            "How one chunk became the next, and when the arms waited.",
            sections_motion.boundaries(episode),
        ),
        section(
            "Safety gate",
            "Independent of the model, the last word on every command.",
            sections_motion.gate(episode),
        ),
    ]
    word = "success" if episode.success else "failed"
    summary = f"Episode {episode.index + 1}, seed {episode.seed} {badge(episode.success, word)}"
    opened = " open" if open_ else ""
    return f"<details{opened}><summary>{summary}</summary>{''.join(parts)}</details>"


def _settings(settings: Mapping[str, Any]) -> str:
    return definitions({str(key): _plain(value) for key, value in settings.items()})


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
