# SPDX-License-Identifier: Apache-2.0
"""LIBERO's scripted expert by LIBERO's own judge: success of each task, steps, CPU time of the simulator.

Without pictures. Scenes are drawn from seeds (``--initial``: LIBERO's initial states instead). Disturbed in
turn as demonstrations are. What an earlier run has done is kept. Writes JSON with every failed scene.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from time import perf_counter
from typing import Any

from common import RESULTS, machine, write

from adamoe_ros.evaluation.success import wilson_interval
from adamoe_ros.sim.libero.process import SimulatorProcess, libero_python
from adamoe_ros.training.libero_dataset import LiberoDemonstrations

TASKS = 10


class Bench:
    """Simulators, one of each thread; tasks one after the other."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.local = options, local()
        self.python = libero_python(print)
        self.simulators: list[SimulatorProcess] = []

    def play(self, suite: str, task: int, known: list[dict[str, Any]]) -> dict[str, Any]:
        """The scenes of one task that are missing, with those known."""
        if not hasattr(self.local, "simulator"):
            self.local.simulator = SimulatorProcess(self.python)
            self.simulators.append(self.local.simulator)
        ask, options, settings = self.local.simulator.ask, self.options, LiberoDemonstrations()
        sentence = ask("open", suite=f"libero_{suite}", task=task)["sentence"]
        runs = list(known)
        for number in range(len(known), options.episodes):
            seed = options.seed + number
            noise = settings.noise[seed % len(settings.noise)]
            where = {"initial": number} if options.initial else {}
            begin = perf_counter()
            shown = ask("demonstrate", seed=seed, noise=noise, pictures=False, **where)
            run = {"seed": seed, "noise": noise, "steps": len(shown["actions"])}
            runs.append(run | {name: shown[name] for name in ("success", "attempts")})
            print(suite, task, runs[-1], f"{perf_counter() - begin:.0f} s", flush=True)
        return {"suite": suite, "task": task, "sentence": sentence, "runs": runs}

    def close(self) -> None:
        """End them."""
        for simulator in self.simulators:
            simulator.close()


def summary(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Successes with their interval, steps of successes, of each suite."""
    found = {}
    for suite in sorted({task["suite"] for task in tasks}):
        runs = [run for task in tasks if task["suite"] == suite for run in task["runs"]]
        good = [run["steps"] for run in runs if run["success"]]
        found[suite] = {
            "successes": len(good),
            "episodes": len(runs),
            "wilson_95": [round(bound, 4) for bound in wilson_interval(len(good), len(runs))],
            "at_first_attempt": sum(run["success"] and run["attempts"] == 1 for run in runs),
            "steps": [min(good, default=0), max(good, default=0)],
        }
    return found


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suites", nargs="+", default=["object", "spatial"])
    parser.add_argument("--tasks", type=int, nargs="+", default=range(TASKS))
    parser.add_argument("--episodes", type=int, default=5, help="of each task")
    parser.add_argument("--seed", type=int, default=0, help="of each task's first scene")
    parser.add_argument("--initial", action="store_true", help="LIBERO's initial states")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "libero_expert.json")
    options = parser.parse_args()
    document = json.loads(options.out.read_text()) if options.out.exists() else {"tasks": []}
    known = {(task["suite"], task["task"]): task for task in document["tasks"]}
    bench = Bench(options)

    def one(key: tuple[str, int]) -> None:
        known[key] = bench.play(*key, known.get(key, {"runs": []})["runs"])
        tasks = [known[key] for key in sorted(known)]
        settings = {"first_seed": options.seed, "initial_states": options.initial}
        head = {"machine": machine(), "settings": settings, "suites": summary(tasks)}
        write(options.out, {**head, "tasks": tasks})

    keys = [(suite, task) for suite in options.suites for task in options.tasks]
    with ThreadPoolExecutor(options.workers) as pool:
        try:
            list(pool.map(one, keys))
        finally:
            bench.close()
    print(json.dumps(summary(list(known.values())), indent=1))


if __name__ == "__main__":
    main()
