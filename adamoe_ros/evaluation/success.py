# SPDX-License-Identifier: Apache-2.0
"""Episodes counted per control and task, with intervals, as JSON and as lines for a person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adamoe_ros.evaluation.cases import Case, check_tasks
from adamoe_ros.evaluation.evaluation_settings import EvaluationSettings
from adamoe_ros.evaluation.evaluator import EpisodeRecord, Evaluator


def counts(outcomes: Sequence[bool]) -> dict[str, Any]:
    """How often, the share, and its Wilson 95 % interval."""
    successes = sum(outcomes)
    low, high = wilson_interval(successes, len(outcomes))
    return {
        "successes": successes,
        "episodes": len(outcomes),
        "rate": round(successes / len(outcomes), 4) if outcomes else None,
        "wilson_95": [round(low, 4), round(high, 4)],
    }


def summarise(episodes: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """control -> {"tasks": task -> figures, "all": figures}.

    Figures are those of ``counts`` for the scene's own task; under ``wrong-sentence`` there is also
    ``followed``: the same for the policy's instruction, over the scenes that have its objects.
    """
    summary: dict[str, Any] = {}
    for control in dict.fromkeys(episode.control for episode in episodes):
        some = [episode for episode in episodes if episode.control == control]
        tasks = dict.fromkeys(episode.task for episode in some)
        summary[control] = {
            "tasks": {task: _figures([e for e in some if e.task == task]) for task in tasks},
            "all": _figures(some),
            "mean_of_tasks": _mean_of_tasks(some, list(tasks)),
        }
    return summary


def _figures(episodes: Sequence[EpisodeRecord]) -> dict[str, Any]:
    figures = counts([episode.success for episode in episodes])
    if any(episode.control == "wrong-sentence" for episode in episodes):
        judged = [bool(e.followed) for e in episodes if e.followed is not None]
        figures["followed"] = counts(judged)
    done = [episode.seconds for episode in episodes if episode.success]
    figures["mean_seconds_to_success"] = round(sum(done) / len(done), 3) if done else None
    figures["failed_seeds"] = [e.seed for e in episodes if not e.success]
    return figures


def _mean_of_tasks(episodes: Sequence[EpisodeRecord], tasks: Sequence[str]) -> float:
    rates = []
    for task in tasks:
        own = [episode.success for episode in episodes if episode.task == task]
        rates.append(sum(own) / len(own))
    return round(sum(rates) / len(rates), 4)


def table(summary: dict[str, Any]) -> str:
    """Lines for a person: one per control and task."""
    rows = [("control", "task", "success", "95 % interval", "did as instructed")]
    for control, group in summary.items():
        for task, figures in group["tasks"].items():
            rows.append((control, task, *_cells(figures)))
        if len(group["tasks"]) > 1:
            rows.append((control, "all", *_cells(group["all"])))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _cells(figures: dict[str, Any]) -> tuple[str, str, str]:
    low, high = figures["wilson_95"]
    share = f"{figures['successes']}/{figures['episodes']}"
    followed = figures.get("followed")
    share_followed = ""
    if followed is not None:
        share_followed = f"{followed['successes']}/{followed['episodes']}"
        share_followed = share_followed if followed["episodes"] else "not possible in this scene"
    return share, f"{low:.0%} ... {high:.0%}", share_followed


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a success probability (default 95 %).

    Returns:
        (low, high) in [0, 1]; (0, 1) for no trials.

    Raises:
        ValueError: successes outside 0 ... trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if trials == 0:
        return 0.0, 1.0
    share, z2 = successes / trials, z * z
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    half = z * spread / (1 + z2 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def success_rates(
    folder: Path, tasks: Sequence[str], seeds: Sequence[int], settings: EvaluationSettings
) -> dict[str, float]:
    """A few episodes of a checkpoint, with nothing written: the roll-outs of a training run.

    Returns:
        Task -> share of the seeds on which it was done.

    Args:
        folder: of the checkpoint.

    Raises:
        ContractError: checkpoint, tasks or robot do not fit.
    """
    check_tasks(tasks)
    evaluator = Evaluator(folder, settings)
    rates = {}
    try:
        for task in tasks:
            done = []
            for first in range(0, len(seeds), settings.parallel):
                some = seeds[first : first + settings.parallel]
                result = evaluator.run([Case("plain", task, seed) for seed in some])
                done += [episode.success for episode in result.episodes]
            rates[task] = sum(done) / len(done)
    finally:
        evaluator.close()
    return rates
