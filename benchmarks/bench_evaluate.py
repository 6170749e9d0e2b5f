# SPDX-License-Identifier: Apache-2.0
"""What evaluating many episodes in step gains over one after the other, in one process.

Both ways run the same seeds, taking turns, so that load from outside hits both alike. Reported are
ratios of wall clock and of processor time, in all and of the inferences alone. Writes JSON.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from common import RESULTS, ROOT, machine, write

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: see adamoe_ros.cli.train


def measure(evaluator: Any, task: str, seeds: range, parallel: int) -> dict[str, float]:
    """Seconds of all episodes; ``infer`` is wall clock of the batches."""
    from adamoe_ros.evaluation.cases import Case

    wall, cpu, infer, chunks, successes = time.perf_counter(), time.process_time(), 0.0, 0, 0
    for first in range(seeds.start, seeds.stop, parallel):
        some = range(first, min(first + parallel, seeds.stop))
        result = evaluator.run([Case("plain", task, seed) for seed in some])
        infer += sum(result.infer_s)
        chunks += sum(episode.inferences for episode in result.episodes)
        successes += sum(episode.success for episode in result.episodes)
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "infer_s": infer,
        "chunks": chunks,
        "successes": successes,
    }


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints" / "demo")
    parser.add_argument("--task", default="lift_bar")
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "evaluate.json")
    options = parser.parse_args()
    from adamoe_ros.evaluation.evaluation_settings import EvaluationSettings
    from adamoe_ros.evaluation.evaluator import Evaluator

    about = machine()
    evaluator = Evaluator(options.checkpoint, EvaluationSettings(parallel=options.parallel))
    seeds = range(1000, 1000 + options.episodes)
    measure(evaluator, options.task, seeds[: options.parallel], options.parallel)  # warm up
    runs: dict[str, list[dict[str, float]]] = {"in_step": [], "one_by_one": []}
    for _ in range(options.turns):
        runs["in_step"].append(measure(evaluator, options.task, seeds, options.parallel))
        runs["one_by_one"].append(measure(evaluator, options.task, seeds, 1))
    evaluator.close()

    def least(way: str, key: str) -> float:
        return min(run[key] for run in runs[way])

    names = ("wall_s", "cpu_s", "infer_s")
    document = {
        "what": "the same episodes in step and one by one; ratios of the least of the turns",
        "machine": about,
        "settings": {
            "task": options.task,
            "seeds": [seeds.start, seeds.stop - 1],
            "parallel": options.parallel,
            "turns": options.turns,
        },
        "one_by_one_over_in_step": {
            name: round(least("one_by_one", name) / least("in_step", name), 2) for name in names
        },
        "least": {way: {name: round(least(way, name), 3) for name in names} for way in runs},
        "runs": runs,
    }
    print(document["one_by_one_over_in_step"], document["least"])
    write(options.out, document)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
