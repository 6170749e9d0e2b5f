# SPDX-License-Identifier: Apache-2.0
"""Rows of the comparison of mixtures: means over seeds with intervals, and differences from dense."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from adamoe_ros.evaluation.success import counts

# 97.5 % points of Student's t by degrees of freedom
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def mean_interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean and its 95 % interval by Student's t over seeds; no interval for one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": round(mean, 4), "interval_95": None}
    spread = statistics.stdev(values) / math.sqrt(len(values))
    half = _T.get(len(values) - 1, 1.96) * spread
    return {"mean": round(mean, 4), "interval_95": [round(mean - half, 4), round(mean + half, 4)]}


def rows(arms: Sequence[Any], found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One an arm that has runs; differences are paired by seed."""
    runs = {arm.name: {r["seed"]: r for r in found if r["arm"] == arm.name} for arm in arms}
    base = runs.get("dense", {})
    return [_row(arm, runs[arm.name], base) for arm in arms if runs[arm.name]]


def _row(
    arm: Any, runs: dict[int, dict[str, Any]], base: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    some = next(iter(runs.values()))
    errors = {seed: run["held_out"]["arms_mrad"] for seed, run in runs.items()}
    row: dict[str, Any] = {
        "arm": arm.name,
        "text": arm.text,
        "parameters": some["parameters"],
        "active_parameters": some["active_parameters"],
        "seeds": sorted(runs),
        "held_out_mrad": mean_interval(list(errors.values())),
        "final_flow_loss": mean_interval([run["curve"][-1]["flow"] for run in runs.values()]),
    }
    pairs = [seed for seed in errors if seed in base]
    if arm.name != "dense" and pairs:
        less = [errors[seed] - base[seed]["held_out"]["arms_mrad"] for seed in pairs]
        row["held_out_minus_dense"] = mean_interval(less)
    if some["success"] is not None:
        whole = {seed: run["success"]["mean_of_tasks"] for seed, run in runs.items()}
        row["success"] = mean_interval(list(whole.values()))
        row["pooled"] = _pooled([run["success"]["all"] for run in runs.values()])
        if arm.name != "dense" and pairs:
            gain = [whole[seed] - base[seed]["success"]["mean_of_tasks"] for seed in pairs]
            row["success_minus_dense"] = mean_interval(gain)
    return row


def _pooled(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All episodes of all seeds as one count."""
    successes = sum(part["successes"] for part in parts)
    episodes = sum(part["episodes"] for part in parts)
    return counts([number < successes for number in range(episodes)])
