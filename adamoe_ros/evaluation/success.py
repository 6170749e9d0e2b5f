# SPDX-License-Identifier: Apache-2.0
"""Episodes counted per task, with intervals, as JSON and as lines for a person.

May import: the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from adamoe_ros.evaluation.intervals import wilson_interval
from adamoe_ros.evaluation.rollout import EpisodeResult


def summarise(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Counts and Wilson 95 % interval, per task and over all."""
    tasks = sorted({result.task for result in results})
    return {
        "tasks": {t: _counts([r for r in results if r.task == t]) for t in tasks},
        "all": _counts(results),
        "episodes": [asdict(result) for result in results],
    }


def _counts(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    successes = sum(result.success for result in results)
    low, high = wilson_interval(successes, len(results))
    return {
        "successes": successes,
        "episodes": len(results),
        "rate": round(successes / len(results), 4) if results else None,
        "wilson_95": [round(low, 4), round(high, 4)],
    }


def table(groups: dict[str, dict[str, Any]]) -> str:
    """Lines for a person: one per group of ``summarise`` results and task."""
    rows = [("run", "task", "success", "95 % interval")]
    for name, summary in groups.items():
        for task, counts in summary["tasks"].items():
            low, high = counts["wilson_95"]
            share = f"{counts['successes']}/{counts['episodes']}"
            rows.append((name, task, share, f"{low:.0%} ... {high:.0%}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
