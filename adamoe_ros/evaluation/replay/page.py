# SPDX-License-Identifier: Apache-2.0
"""report.html of a replay: one file, policies side by side. Drawing by ``evaluation.report``."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from adamoe_ros.evaluation.replay.chunk_limits import KINDS
from adamoe_ros.evaluation.replay.results import joined_errors, latency
from adamoe_ros.evaluation.replay.run import BagRecord, PolicyRecord
from adamoe_ros.evaluation.replay.trajectories import trajectories
from adamoe_ros.evaluation.report import svg
from adamoe_ros.evaluation.report.html import (
    badge,
    card,
    definitions,
    figure,
    legend,
    milliseconds,
    number,
    page,
    percent,
    section,
    table,
    tile,
)

_WIDE = svg.Frame(width=560, height=190)
_AREA = svg.Frame(width=720, height=120, left=40)
_SHOWN_LAYERS = 6
_DRAWN_BAGS = 8  # whose joints are drawn one by one: more makes the page heavy

# moves a line over the expert charts while the film plays; a film's second is one inference
_SCRIPT = """
document.querySelectorAll('video[data-times]').forEach(v=>{
 const t=JSON.parse(v.dataset.times),lines=[];
 document.querySelectorAll(`[data-film="${v.id}"] svg`).forEach(s=>{
  const l=document.createElementNS('http://www.w3.org/2000/svg','path');
  l.setAttribute('class','mark');l.setAttribute('stroke-width','2');s.appendChild(l);lines.push(l);});
 const move=()=>{const i=Math.min(t.length-1,Math.floor(v.currentTime)),
  x=LEFT+(t[i]-t[0])/Math.max(SPAN(v),1e-9)*(WIDTH-LEFT-RIGHT);
  lines.forEach(l=>l.setAttribute('d',`M${x} 8V${HEIGHT-24}`));};
 v.addEventListener('timeupdate',move);v.addEventListener('seeked',move);move();});
"""


def report_page(
    records: Sequence[BagRecord],
    names: tuple[str, ...],
    document: Mapping[str, Any],
    films: Mapping[str, tuple[bytes, list[float]]],
) -> str:
    """The whole page.

    Args:
        names: of the joints.
        document: content of results.json.
        films: bag name -> MP4 and the s of each of its seconds.
    """
    title = ", ".join(item.path.name for item in records[:3]) + (" ..." if len(records) > 3 else "")
    labels = list(document["policies"])
    body = [
        f'<header><div class="over">Replay</div><h1>{escape(title)}</h1>'
        f'<p class="soft">{escape(" · ".join(labels) or "inputs only")}</p></header>',
        _tiles(records, document),
    ]
    if labels:
        body += [
            section("Open-loop error", _error_text(records), _errors(records, names)),
            section(
                "Execution",
                "The chunks as the control node would have followed them, with arms that answer exactly.",
                _execution(records, names),
            ),
            section("Inference", "Wall clock on this machine.", _latency(records)),
        ]
    body.append(section("Inputs", "Stamps and arrivals of every stream.", _inputs(records)))
    for index, record in enumerate(records):
        body.append(_bag(record, films.get(record.path.name), index, names))
    body.append(section("Settings", "", _settings(document["settings"])))
    script = (
        _SCRIPT.replace("SPAN(v)", "parseFloat(v.dataset.span)")
        .replace("LEFT", str(_AREA.left))
        .replace("RIGHT", str(_AREA.right))
        .replace("WIDTH", str(_AREA.width))
        .replace("HEIGHT", str(_AREA.height))
    )
    return page(f"Replay: {title}", body, script)


def _tiles(records: Sequence[BagRecord], document: Mapping[str, Any]) -> str:
    seconds = sum(record.duration_s for record in records)
    wall = sum(record.wall_s for record in records)
    tiles = [
        tile(str(len(records)), "bag" if len(records) == 1 else "bags"),
        tile(f"{seconds:.1f} s", "of recording"),
        tile(f"{seconds / wall:.1f}x" if wall else "–", "real time"),
    ]
    for label, entry in document["policies"].items():
        open_loop = entry["open_loop"]
        tiles.append(tile(number(open_loop["joints_mean_abs"]), f"rad, mean error of {label}"))
        accuracy = open_loop["gripper_accuracy"]
        shown = "–" if accuracy is None else percent(accuracy)
        tiles.append(tile(shown, f"grippers right, {label}"))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _error_text(records: Sequence[BagRecord]) -> str:
    truths = {record.truth for record in records}
    kinds = {
        "command": "what the arms were told at the row's time",
        "next_state": "where the arms were one row later",
    }
    against = " or ".join(kinds[item] for item in sorted(truths))
    return f"Predicted rows against {against}. Horizon step: row of the chunk."


def _by_policy(records: Sequence[BagRecord]) -> list[list[PolicyRecord]]:
    return [list(parts) for parts in zip(*(record.policies for record in records), strict=True)]


def _errors(records: Sequence[BagRecord], names: tuple[str, ...]) -> str:
    policies = _by_policy(records)
    totals = [joined_errors(parts) for parts in policies]
    labels = [parts[0].name for parts in policies]
    summaries = [total.as_dict(names) for total in totals]
    charts = []
    for key, title, unit in (
        ("joints_mean_abs", "Joints by horizon step", "rad"),
        ("normalized_mean_abs", "Normalised, by horizon step", ""),
        ("grippers_mean_abs", "Grippers by horizon step, driver's unit", ""),
    ):
        lines = [
            svg.Series(
                label,
                np.arange(len(summary["by_step"])),
                [_number(step[key]) for step in summary["by_step"]],
                tone,
            )
            for tone, (label, summary) in enumerate(zip(labels, summaries, strict=True))
        ]
        charts.append(figure(title, svg.line_chart(lines, name=title, unit=unit, frame=_WIDE)))
    key = legend(list(enumerate(labels)))
    head = ["Joint"]
    for label in labels:
        head += [f"{escape(label)}: mean", "RMS", "largest", "normalised"]
    rows = []
    for name in names:
        row = [escape(name)]
        for summary in summaries:
            entry = summary["by_joint"][name]
            row += [
                number(entry[part])
                for part in ("mean_abs", "rms", "max_abs", "normalized_mean_abs")
            ]
        rows.append(row)
    return card(f'{key}<div class="grid2">{"".join(charts)}</div>') + card(table(head, rows))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _execution(records: Sequence[BagRecord], names: tuple[str, ...]) -> str:
    head = [
        *_bag_head(records),
        "Policy",
        "Chunks",
        "refused",
        "late",
        "Seam jump p95",
        "Jerk p95",
        "held",
    ]
    head += [f"clipped: {kind}" for kind in ("position", "velocity", "acceleration")]
    rows = []
    for record in records:
        for policy in record.policies:
            run = policy.execution.as_dict()
            clips, seams = run["clipped_ticks"], run["seams"]
            held = sum(run["hold_ticks_by_cause"].values()) / max(run["ticks"], 1)
            counts = (run["accepted_chunks"], run["rejected_chunks"], run["late_chunks"])
            cells = [*map(str, counts), number(seams["position_jump"]["p95"])]
            cells += [number(seams["jerk"]["p95"]), percent(held)]
            cells += [str(clips[kind]) for kind in ("position", "velocity", "acceleration")]
            rows.append([*_bag_cell(records, record), escape(policy.name), *cells])
    note = (
        '<p class="soft small">Clipped: joints times control ticks in which the safety gate would '
        "have intervened. Jumps are rad (or m), jerk per s³.</p>"
    )
    return card(note + table(head, rows)) + _limits(records, names)


def _bag_head(records: Sequence[BagRecord]) -> list[str]:
    """A column of names, where there is more than one bag."""
    return ["Bag"] if len(records) > 1 else []


def _bag_cell(records: Sequence[BagRecord], record: BagRecord) -> list[str]:
    return [escape(record.path.name)] if len(records) > 1 else []


def _limits(records: Sequence[BagRecord], names: tuple[str, ...]) -> str:
    rows, where = [], []
    for parts in _by_policy(records):
        counted = [part.limits.as_dict(names) for part in parts]
        totals = [sum(item["totals"][kind] for item in counted) for kind in KINDS]
        refused = sum(item["chunks_beyond_hard_bound"] for item in counted)
        sizes = [sum(item[key] for item in counted) for key in ("chunks", "rows")]
        shares = [_count(total, sizes[1] * len(names)) for total in totals[:3]]
        shares += [_count(total, sizes[0] * len(names)) for total in totals[3:]]
        cells = [*map(str, sizes), *shares, str(refused)]
        rows.append([escape(parts[0].name), *cells])
        where += _worst(parts[0].name, [item["by_joint"] for item in counted])
    head = ["Policy", "Chunks", "Rows", *(kind.replace("_", " ") for kind in KINDS), "hard bound"]
    note = (
        '<p class="soft small">Chunks as predicted: joints times rows beyond each limit; distance '
        "of first rows to the recorded pose; chunks that would have been refused whole.</p>"
    )
    worst = table(["Policy", "Limit", "Joints that are beyond it most often"], where)
    return card(note + table(head, rows) + (worst if where else ""))


def _count(count: int, of: int) -> str:
    return f"{count} ({percent(count / of)})" if count and of else str(count)


def _worst(policy: str, counted: Sequence[Mapping[str, Mapping[str, int]]]) -> list[list[str]]:
    """Rows of a table: for every limit that was met, the joints that are beyond it most often."""
    rows = []
    for kind in KINDS:
        totals: Counter[str] = Counter()
        for item in counted:
            totals.update(item[kind])
        if totals:
            joints = ", ".join(f"{name} {count}" for name, count in totals.most_common(4))
            rows.append([escape(policy), escape(kind.replace("_", " ")), escape(joints)])
    return rows


def _latency(records: Sequence[BagRecord]) -> str:
    rows = []
    for parts in _by_policy(records):
        for stage, values in latency(parts).items():
            cells = [milliseconds(values[key]) for key in ("p50", "p95", "p99", "max")]
            rows.append([escape(parts[0].name), escape(stage), *cells, str(values["count"])])
    return card(table(["Policy", "Stage", "p50", "p95", "p99", "max", "inferences"], rows))


def _inputs(records: Sequence[BagRecord]) -> str:
    head = [
        *_bag_head(records),
        "Stream",
        "Messages",
        "Rate",
        "Gaps",
        "longest",
        "Delay",
        "p99",
        "Skew",
        "out of order",
        "duplicate",
        "other clock",
        "broken",
    ]
    rows = [
        [
            *_bag_cell(records, record),
            escape(str(item["name"])),
            str(item["messages"]),
            f"{item['rate_hz']:.1f} Hz",
            str(item["gaps"]),
            milliseconds(item["longest_gap_s"]),
            milliseconds(item["delay_s"]),
            milliseconds(item["delay_p99_s"]),
            milliseconds(item["skew_s"]),
            str(item["out_of_order"]),
            str(item["duplicates"]),
            str(item["other_clock"]),
            str(item["broken"]),
        ]
        for record in records
        for item in record.streams
    ]
    return card(table(head, rows))


def _bag(
    record: BagRecord,
    film: tuple[bytes, list[float]] | None,
    index: int,
    names: tuple[str, ...],
) -> str:
    lines = [*record.problems, *record.notes]
    told = "".join(f"<li>{escape(line)}</li>" for line in lines)
    notes = card(f"<ul>{told}</ul>") if lines else ""
    state = badge(record.state == "whole", record.state)
    facts = (
        f'<p class="soft">“{escape(record.instruction)}” · {record.observations} observations · '
        f"{record.duration_s:.1f} s</p>"
    )
    video = _video(film, record, index)
    drawn = ""
    if index < _DRAWN_BAGS:
        drawn = trajectories([(policy.name, policy.shown) for policy in record.policies], names)
    charts = "".join(_experts(policy, record, index) for policy in record.policies)
    opened = " open" if index == 0 else ""
    return (
        f"<details{opened}><summary>{escape(record.path.name)} {state}</summary>"
        f"{facts}{notes}{video}{charts}{drawn}</details>"
    )


def _video(film: tuple[bytes, list[float]] | None, record: BagRecord, index: int) -> str:
    if film is None:
        return ""
    data = base64.b64encode(film[0]).decode("ascii")
    times = escape(json.dumps([round(value, 3) for value in film[1]]), quote=True)
    return (
        f'<video id="film{index}" controls muted playsinline preload="metadata" '
        f'data-times="{times}" data-span="{max(record.duration_s, 1e-3):.3f}" '
        f'src="data:video/mp4;base64,{data}"></video>'
        '<p class="soft small">What the policy saw, one picture per inference; the line in the '
        "charts below follows it.</p>"
    )


def _experts(policy: PolicyRecord, record: BagRecord, index: int) -> str:
    if not policy.experts:
        return ""
    times = np.array([seconds for seconds, _ in policy.experts])
    layers = [entry["layer"] for entry in policy.experts[0][1]]
    selected = np.array([[entry["selected"] for entry in item] for _, item in policy.experts])
    span = (float(times[0]), max(float(record.duration_s), float(times[-1]) + 1e-3))
    places = np.unique(np.linspace(0, len(layers) - 1, _SHOWN_LAYERS).round().astype(int))
    charts = [
        figure(
            f"{policy.name}: experts of layer {layers[place]}",
            svg.stacked_shares(
                times,
                selected[:, place],
                name=f"experts of layer {layers[place]} over time",
                frame=_AREA,
                x_range=span,
            ),
        )
        for place in places
    ]
    key = legend([(e % 8, f"expert {e}") for e in range(selected.shape[2])], kind="block")
    return card(f'{key}<div class="grid2" data-film="film{index}">{"".join(charts)}</div>')


def _settings(settings: Mapping[str, Any]) -> str:
    lines = {key: value for key, value in settings.items() if key != "policies"}
    for name, facts in (settings.get("policies") or {}).items():
        text = " · ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
        lines[f"policy {name}"] = text
    return definitions({key: str(value) for key, value in lines.items()})
