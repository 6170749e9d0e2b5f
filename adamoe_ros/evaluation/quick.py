# SPDX-License-Identifier: Apache-2.0
"""A few episodes of a checkpoint without anything written: the roll-outs of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adamoe_ros.evaluation.cases import Case, check_tasks
from adamoe_ros.evaluation.evaluator import EvaluationSettings, Evaluator


def success_rates(
    folder: Path, tasks: Sequence[str], seeds: Sequence[int], settings: EvaluationSettings
) -> dict[str, float]:
    """Task -> share of the seeds on which it was done.

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
