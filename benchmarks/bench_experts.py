# SPDX-License-Identifier: Apache-2.0
"""How often the scripted expert of each task succeeds, and what an episode costs.

Every episode has its own seed, which draws scene and sentence; none is repeated or left out, and the
failed ones are listed. CPU time is that of one process without pictures. With ``--noise`` the
execution is disturbed as in demonstrations (rad, standard deviation, times the task's tolerance).
Writes JSON.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, machine, write

from adamoe_ros.evaluation.success import wilson_interval
from adamoe_ros.sim.bimanual import CONTROL_RATE, BimanualSim
from adamoe_ros.sim.demonstrations import run_expert
from adamoe_ros.sim.tasks import TASKS


def measure(name: str, seeds: range, noise: float) -> dict[str, Any]:
    """One task."""
    sim = BimanualSim(name)
    failed, ticks, cpu = [], [], []
    said = set()
    for seed in seeds:
        begin = time.process_time()
        episode = run_expert(sim, seed, 10, None, noise * sim.task.tolerance)
        cpu.append(time.process_time() - begin)
        ticks.append(len(episode.actions))
        said.add(sim.instruction)
        if not episode.success:
            failed.append({"seed": seed, "instruction": sim.instruction})
    succeeded = len(seeds) - len(failed)
    low, high = wilson_interval(succeeded, len(seeds))
    return {
        "episodes": len(seeds),
        "noise_rad": noise * sim.task.tolerance,
        "success": round(succeeded / len(seeds), 4),
        "interval_95": [round(low, 4), round(high, 4)],
        "distinct_sentences": len(said),
        "sentences_of_the_task": len(sim.task.language.meanings),
        "duration_s": [round(min(ticks) / CONTROL_RATE, 1), round(max(ticks) / CONTROL_RATE, 1)],
        "cpu_s_per_episode": {
            "median": round(float(np.median(cpu)), 3),
            "max": round(max(cpu), 3),
        },
        "failed": failed,
    }


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS))
    parser.add_argument("--episodes", type=int, default=50, help="per task")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--noise", type=float, nargs="+", default=[0.0], help="rad; a table for each"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "experts.json")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.episodes)
    results: dict[str, Any] = {
        "settings": {"first_seed": options.first_seed, "episodes": options.episodes},
        "machine": machine(),
        "noise_rad": {},
    }
    for noise in options.noise:
        table = results["noise_rad"][f"{noise:g}"] = {}
        for name in options.tasks:
            table[name] = measure(name, seeds, noise)
            print(noise, name, {k: v for k, v in table[name].items() if k != "failed"}, flush=True)
    write(options.out, results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
