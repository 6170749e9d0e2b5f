# SPDX-License-Identifier: Apache-2.0
"""results.json: every figure of a replay, by bag and over all bags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adamoe_ros.evaluation.replay.replay_errors import OpenLoopErrors
from adamoe_ros.evaluation.replay.run import BagRecord, PolicyRecord

FORMAT = "adamoe_ros/replay/1"


def results(
    records: Sequence[BagRecord],
    names: tuple[str, ...],
    settings: Mapping[str, Any],
    skipped: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """The whole document.

    Args:
        names: of the joints.
        skipped: bag name -> why it could not be used at all.
    """
    labels = [policy.name for policy in records[0].policies] if records else []
    return {
        "format": FORMAT,
        "settings": dict(settings),
        "joints": list(names),
        "skipped_bags": {name: list(lines) for name, lines in skipped.items()},
        "partial_bags": [item.path.name for item in records if item.state == "partial"],
        "policies": {
            label: _overall([item.policies[number] for item in records], names)
            for number, label in enumerate(labels)
        },
        "bags": [_bag(item, names) for item in records],
    }


def joined_errors(errors: Sequence[OpenLoopErrors]) -> OpenLoopErrors:
    """Errors over several bags."""
    total = OpenLoopErrors(*errors[0].count.shape, errors[0].grippers)
    for each in errors:
        total.merge(each)
    return total


def _interventions(errors: OpenLoopErrors, names: tuple[str, ...]) -> dict[str, Any]:
    """Errors against a human who led the arms; nothing where nobody did."""
    return {"open_loop_interventions": errors.as_dict(names)} if errors.chunks else {}


def _overall(records: Sequence[PolicyRecord], names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "open_loop": joined_errors([item.errors for item in records]).as_dict(names),
        **_interventions(joined_errors([item.corrected for item in records]), names),
        "latency": latency(records),
        "rows_beyond_limits": _summed([item.limits.as_dict(names)["totals"] for item in records]),
        "rows": sum(item.limits.rows for item in records),
        "clipped_ticks": _summed([item.execution.as_dict()["clipped_ticks"] for item in records]),
        "ticks": sum(item.execution.as_dict()["ticks"] for item in records),
    }


def latency(records: Sequence[PolicyRecord]) -> dict[str, dict[str, float]]:
    """Stage -> p50, p95, p99, max in s, and number of inferences."""
    stages: dict[str, list[float]] = {}
    for record in records:
        for stage, values in record.latencies.items():
            stages.setdefault(stage, []).extend(values)
    found = {}
    for stage, values in stages.items():
        p50, p95, p99 = (float(value) for value in np.quantile(values, [0.5, 0.95, 0.99]))
        top = float(max(values))
        found[stage] = {"p50": p50, "p95": p95, "p99": p99, "max": top, "count": len(values)}
    return found


def _bag(record: BagRecord, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "bag": record.path.name,
        "state": record.state,
        "instruction": record.instruction,
        "success": record.success,
        "duration_s": round(record.duration_s, 6),
        "wall_s": round(record.wall_s, 3),
        "times_real_time": round(record.duration_s / record.wall_s, 2) if record.wall_s else None,
        "observations": record.observations,
        "truth": record.truth,
        "problems": record.problems,
        "notes": record.notes,
        "streams": record.streams,
        "policies": {
            item.name: {
                "inferences": len(item.times),
                "open_loop": item.errors.as_dict(names),
                **_interventions(item.corrected, names),
                "would_have_clipped": item.limits.as_dict(names),
                "execution": item.execution.as_dict(),
                "latency": latency([item]),
                "experts": _experts(item),
            }
            for item in record.policies
        },
    }


def _experts(record: PolicyRecord) -> list[dict[str, Any]]:
    """Per mixture layer: mean share of the tokens' choices by expert."""
    if not record.experts:
        return []
    layers = [entry["layer"] for entry in record.experts[0][1]]
    selected = np.array([[entry["selected"] for entry in item] for _, item in record.experts])
    shares = selected / np.maximum(selected.sum(axis=2, keepdims=True), 1e-12)
    return [
        {"layer": layer, "share": [round(float(value), 6) for value in row]}
        for layer, row in zip(layers, shares.mean(axis=0), strict=True)
    ]


def _summed(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    keys = parts[0].keys() if parts else ()
    return {key: sum(part[key] for part in parts) for key in keys}
