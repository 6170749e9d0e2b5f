# SPDX-License-Identifier: Apache-2.0
"""What the mixture is worth: dense, dense with as many active parameters, vanilla, CSMoE, AdaMoE.

All arms are upcycled from one dense checkpoint (trained first) and go on with the same data and steps,
several seeds each, by ``adamoe train``; they are measured by success in the simulator on unseen seeds
(``adamoe evaluate``) and by the error of sampled chunks on demonstrations that were held out. Every
finished run is kept: start it again and it goes on; ``--minutes`` makes it stop in between. Writes
results as JSON and a page, for what is there so far.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import RESULTS, ROOT, machine, write

from adamoe_ros.contract.errors import ContractError

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: see adamoe_ros.cli.train
_KEPT = ("share_by_layer", "balance_by_layer", "share_by_phase", "information",
         "weight_against_probability", "inferences")  # fmt: skip


def parse() -> argparse.Namespace:
    """The command line."""
    from compare_arms import ARMS, SIZES

    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--size", choices=tuple(SIZES), default="cpu-smoke")
    add("--arms", nargs="+", choices=tuple(ARMS), default=tuple(ARMS))
    add("--seeds", nargs="+", type=int, help="default: those of the size")
    add("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    add("--episodes", type=int, help="evaluated per task and run; 0: held-out error only")
    add("--minutes", type=float, default=float("inf"), help="begin no run after so long")
    add("--processes", type=int, default=1, help="of each evaluation")
    add("--workers", type=int, default=0, metavar="N", help="runs (default: 1; all with --ray)")
    add("--ray", default="", metavar="ADDRESS", help="run on this Ray cluster (doc/scale.md)")
    add("--folder", type=Path, default=ROOT / "out" / "compare")
    add("--out", type=Path, help="default: benchmarks/results/mixtures_<size>.json")
    return parser.parse_args()


def main() -> int:
    """Run what is missing, then write what is there."""
    options = parse()
    from compare_arms import ARMS, comparison
    from compare_page import comparison_page

    deadline, about = time.time() + options.minutes * 60, machine()
    config = ROOT / "config" / "training" / "compare" / f"{options.size}.yaml"
    folder = options.folder.resolve() / options.size
    out = options.out or RESULTS / f"mixtures_{options.size.replace('-', '_')}.json"
    out = out.resolve()
    os.chdir(ROOT)  # where the settings' folders are
    job = comparison(options.size, config, options.overrides, folder)
    job.processes = options.processes
    job.size = _size(job.size, options)
    job.origin()
    arms = [ARMS[name] for name in options.arms]
    todo = [(arm, seed) for seed in job.size.seeds for arm in arms]
    missing = [pair for pair in todo if job.result(*pair) is None]
    for count, (arm, seed, result) in enumerate(runs(job, missing, options, deadline), 1):
        print(f"{count}/{len(missing)} {arm.name} seed {seed}: {brief(result)}", flush=True)
    found = [done for pair in todo if (done := job.result(*pair)) is not None]
    document = summary(job, arms, found, about, options)
    write(out, document)
    densities = {arm.name: job.place(arm, job.size.seeds[0]) / "routing.npz" for arm in arms}
    whole: dict[str, Any] = {
        r["arm"]: r["experts"] for r in found if r["seed"] == job.size.seeds[0]
    }
    page = folder / "report.html"
    page.write_text(comparison_page(document, whole, densities), encoding="utf-8")
    print(f"{len(found)} of {len(todo)} runs; page: {page}")
    return 0


def runs(
    job: Any, missing: list[tuple[Any, int]], options: argparse.Namespace, deadline: float
) -> Iterator[tuple[Any, int, dict[str, Any]]]:
    """Every missing run that begins in time, as it ends; one that was stopped goes on."""
    from compare_arms import run_before

    from adamoe_ros.contract.workers import UnitWork, Workers

    gpus = float(options.ray != "" and job.config.device.startswith("cuda"))
    work = UnitWork(
        run_before,
        [(deadline, job, *pair) for pair in missing],
        [f"{arm.name} seed {seed}" for arm, seed in missing],
        os.chdir,  # the settings' folders are relative
        (str(ROOT),),
        folder=job.folder if options.ray else None,
        data=f"demonstrations and runs by path, runs in {job.folder}",
    )
    for number, done in Workers(options.workers, options.ray, gpus).run(work):
        if (result := done.result()) is not None:
            yield (*missing[number], result)


def _size(size: Any, options: argparse.Namespace) -> Any:
    from dataclasses import replace

    changes: dict[str, Any] = {}
    if options.seeds:
        changes["seeds"] = tuple(options.seeds)
    if options.episodes is not None:
        changes["episodes"] = options.episodes
    return replace(size, **changes)


def brief(result: dict[str, Any]) -> str:
    """One line."""
    success = result["success"]
    rate = "" if success is None else f", success {success['mean_of_tasks']:.0%}"
    error = result["held_out"]["arms_mrad"]
    return f"held-out error {error:.1f} mrad{rate}, {result['wall_s']:.0f} s"


def summary(
    job: Any, arms: list[Any], found: list[dict[str, Any]], about: Any, options: Any
) -> dict[str, Any]:
    """The JSON: what was run, a row an arm, every run."""
    from compare_table import rows

    return {
        "what": "arms upcycled from one dense checkpoint, same data and steps",
        "machine": about,
        "size": options.size,
        "settings": {
            "origin_steps": job.size.origin_steps,
            "arm_steps": job.config.steps,
            "batch_size": job.config.batch_size,
            "tasks": list(job.tasks()),
            "training_demonstrations_per_task": job.config.data.episodes,
            "held_out_demonstrations_per_task": job.size.held_out,
            "evaluated_seeds": [job.size.first_seed, job.size.first_seed + job.size.episodes - 1]
            if job.size.episodes
            else [],
            "seeds": list(job.size.seeds),
            "config": f"config/training/compare/{options.size}.yaml",
            "overrides": options.overrides,
        },
        "complete": len(found) == len(arms) * len(job.size.seeds),
        "arms": rows(arms, found),
        "runs": [_kept(result) for result in found],
    }


def _kept(result: dict[str, Any]) -> dict[str, Any]:
    """A run without what only the page needs."""
    experts = result["experts"]
    kept = None if experts is None else {name: experts[name] for name in _KEPT}
    return {**result, "experts": kept, "curve": result["curve"][::2]}


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except ContractError as error:
        raise SystemExit(f"compare_mixtures: {error}") from error
