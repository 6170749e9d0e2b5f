# SPDX-License-Identifier: Apache-2.0
"""report.html of a replay, policies side by side: figures and charts for ``templates/replay.html``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from adamoe_ros.data import svg
from adamoe_ros.evaluation.replay.chunk_limits import KINDS
from adamoe_ros.evaluation.replay.replay_results import joined_errors, latency
from adamoe_ros.evaluation.replay.run import BagRecord, PolicyRecord
from adamoe_ros.evaluation.replay.trajectories import trajectories
from adamoe_ros.evaluation.report.rendering import milliseconds, number, percent, render

_WIDE = svg.PlotArea(width=560, height=190)
_AREA = svg.PlotArea(width=720, height=120, left=40)
_SHOWN_LAYERS = 6
_DRAWN_BAGS = 8  # whose joints are drawn one by one: more makes the page heavy
_TRUTHS = {
    "command": "what the arms were commanded at the row's time",
    "next_state": "where the arms were one row later",
}
_ERROR_CHARTS = (
    ("joints_mean_abs", "Joints by horizon step", "rad"),
    ("normalized_mean_abs", "Normalised, by horizon step", ""),
    ("grippers_mean_abs", "Grippers by horizon step, driver's unit", ""),
)
_ERROR_COLUMNS = {
    "mean_abs": "mean",
    "rms": "RMS",
    "max_abs": "largest",
    "normalized_mean_abs": "normalised",
}
Rows = list[list[str]]


def report_page(
    records: Sequence[BagRecord],
    names: tuple[str, ...],
    document: Mapping[str, Any],
    videos: Mapping[str, tuple[bytes, list[float]]],
) -> str:
    """The whole page.

    Args:
        names: of the joints.
        document: content of results.json.
        videos: bag name -> MP4 and the s of each of its seconds.
    """
    heading = ", ".join(item.path.name for item in records[:3])
    heading += " ..." if len(records) > 3 else ""
    labels = list(document["policies"])
    several = len(records) > 1  # then tables have a column of bag names
    values: dict[str, Any] = {}
    if labels:
        values = {
            "truth": " or ".join(_TRUTHS[item] for item in sorted({r.truth for r in records})),
            "execution": list(_execution(records, several)),
            "latency": list(_latency(records)),
            **_errors(records, names),
            **_limits(records, names),
        }
    return render(
        "replay.html",
        title=f"Replay: {heading}",
        heading=heading,
        policies=labels,
        policies_legend=list(enumerate(labels)),
        tiles=list(_tiles(records, document)),
        bag_head=["Bag"] if several else [],
        streams=list(_streams(records, several)),
        bags=[
            _bag(record, videos.get(record.path.name), index, names)
            for index, record in enumerate(records)
        ],
        settings=_settings(document["settings"]),
        area=_AREA,
        **values,
    )


def _tiles(records: Sequence[BagRecord], document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    seconds = sum(record.duration_s for record in records)
    wall = sum(record.wall_s for record in records)
    yield str(len(records)), "bag" if len(records) == 1 else "bags"
    yield f"{seconds:.1f} s", "of recording"
    yield f"{seconds / wall:.1f}x" if wall else "–", "real time"
    for label, entry in document["policies"].items():
        open_loop = entry["open_loop"]
        yield number(open_loop["joints_mean_abs"]), f"rad, mean error of {label}"
        human = entry.get("open_loop_interventions")
        if human is not None:
            yield number(human["joints_mean_abs"]), f"rad, mean error of {label} where a human led"
        accuracy = open_loop["gripper_accuracy"]
        yield "–" if accuracy is None else percent(accuracy), f"grippers right, {label}"


def _by_policy(records: Sequence[BagRecord]) -> list[list[PolicyRecord]]:
    return [list(parts) for parts in zip(*(record.policies for record in records), strict=True)]


def _errors(records: Sequence[BagRecord], names: tuple[str, ...]) -> dict[str, Any]:
    policies = _by_policy(records)
    labels = [parts[0].name for parts in policies]
    summaries = [
        joined_errors([part.errors for part in parts]).as_dict(names) for parts in policies
    ]
    charts = []
    for key, title, unit in _ERROR_CHARTS:
        lines = []
        for tone, (label, summary) in enumerate(zip(labels, summaries, strict=True)):
            steps = [step[key] for step in summary["by_step"]]
            values = [np.nan if value is None else value for value in steps]
            lines.append(svg.Series(label, np.arange(len(values)), values, tone))
        charts.append((title, svg.line_chart(lines, name=title, unit=unit, frame=_WIDE)))
    first, *others = _ERROR_COLUMNS.values()
    head = [column for label in labels for column in (f"{label}: {first}", *others)]
    rows = [
        [name, *(number(s["by_joint"][name][key]) for s in summaries for key in _ERROR_COLUMNS)]
        for name in names
    ]
    return {"error_charts": charts, "error_head": ["Joint", *head], "error_rows": rows}


def _execution(records: Sequence[BagRecord], several: bool) -> Iterator[list[str]]:
    for record in records:
        for policy in record.policies:
            run = policy.execution.as_dict()
            clips, seams = run["clipped_ticks"], run["seams"]
            held = sum(run["hold_ticks_by_cause"].values()) / max(run["ticks"], 1)
            yield [
                *([record.path.name] if several else []),
                policy.name,
                *(str(run[key]) for key in ("accepted_chunks", "rejected_chunks", "late_chunks")),
                number(seams["position_jump"]["p95"]),
                number(seams["jerk"]["p95"]),
                percent(held),
                *(str(clips[kind]) for kind in ("position", "velocity", "acceleration")),
            ]


def _limits(records: Sequence[BagRecord], names: tuple[str, ...]) -> dict[str, Any]:
    rows: Rows = []
    worst: Rows = []
    for parts in _by_policy(records):
        counted = [part.limits.as_dict(names) for part in parts]
        totals = [sum(item["totals"][kind] for item in counted) for kind in KINDS]
        refused = sum(item["chunks_beyond_hard_bound"] for item in counted)
        sizes = [sum(item[key] for item in counted) for key in ("chunks", "rows")]
        shares = [_count(total, sizes[1] * len(names)) for total in totals[:3]]
        shares += [_count(total, sizes[0] * len(names)) for total in totals[3:]]
        rows.append([parts[0].name, *map(str, sizes), *shares, str(refused)])
        worst += _worst(parts[0].name, [item["by_joint"] for item in counted])
    head = ["Policy", "Chunks", "Rows", *(kind.replace("_", " ") for kind in KINDS), "hard bound"]
    return {"limits_head": head, "limits": rows, "worst": worst}


def _count(count: int, of: int) -> str:
    return f"{count} ({percent(count / of)})" if count and of else str(count)


def _worst(policy: str, counted: Sequence[Mapping[str, Mapping[str, int]]]) -> Rows:
    """For every limit that was met, the joints that are beyond it most often."""
    rows = []
    for kind in KINDS:
        totals: Counter[str] = Counter()
        for item in counted:
            totals.update(item[kind])
        if totals:
            joints = ", ".join(f"{name} {count}" for name, count in totals.most_common(4))
            rows.append([policy, kind.replace("_", " "), joints])
    return rows


def _latency(records: Sequence[BagRecord]) -> Iterator[list[str]]:
    for parts in _by_policy(records):
        for stage, values in latency(parts).items():
            cells = [milliseconds(values[key]) for key in ("p50", "p95", "p99", "max")]
            yield [parts[0].name, stage, *cells, str(values["count"])]


def _streams(records: Sequence[BagRecord], several: bool) -> Iterator[list[str]]:
    for record in records:
        for item in record.streams:
            yield [
                *([record.path.name] if several else []),
                str(item["name"]),
                str(item["messages"]),
                f"{item['rate_hz']:.1f} Hz",
                str(item["gaps"]),
                *(
                    milliseconds(item[key])
                    for key in ("longest_gap_s", "delay_s", "delay_p99_s", "skew_s")
                ),
                *(str(item[k]) for k in ("out_of_order", "duplicates", "other_clock", "broken")),
            ]


def _bag(
    record: BagRecord,
    video: tuple[bytes, list[float]] | None,
    index: int,
    names: tuple[str, ...],
) -> dict[str, Any]:
    drawn = None
    if index < _DRAWN_BAGS:
        drawn = trajectories([(policy.name, policy.shown) for policy in record.policies], names)
    return {
        "name": record.path.name,
        "state": record.state,
        "instruction": record.instruction,
        "observations": record.observations,
        "duration": record.duration_s,
        "notes": [*record.problems, *record.notes],
        "video": video[0] if video else None,
        "times": json.dumps([round(value, 3) for value in video[1]]) if video else "",
        "span": max(record.duration_s, 1e-3),
        "experts": [_experts(policy, record) for policy in record.policies if policy.experts],
        "trajectories": drawn,
    }


def _experts(policy: PolicyRecord, record: BagRecord) -> dict[str, Any]:
    times = np.array([seconds for seconds, _ in policy.experts])
    layers = [entry["layer"] for entry in policy.experts[0][1]]
    selected = np.array([[entry["selected"] for entry in item] for _, item in policy.experts])
    span = (float(times[0]), max(float(record.duration_s), float(times[-1]) + 1e-3))
    places = np.unique(np.linspace(0, len(layers) - 1, _SHOWN_LAYERS).round().astype(int))
    charts = [
        (
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
    return {"count": selected.shape[2], "charts": charts}


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    policies = settings.get("policies") or {}
    rows = {key: value for key, value in settings.items() if key != "policies"}
    return rows | {f"policy {name}": values for name, values in policies.items()}
