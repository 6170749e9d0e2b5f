# SPDX-License-Identifier: Apache-2.0
"""Every chunk execution strategy at every injected delay: success, time to success, seams.

Episodes run in the embedded simulator through the product's own control core and inference schedule
(``evaluation.closed_loop``), in simulated time: neither the load of this machine nor its speed is in
the figures. All cells see the same scenes and the same noise. Each finished block of episodes is a line
of a log, so a run that was stopped goes on. Writes JSON and prints the table in Markdown.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import RESULTS, ROOT, machine, write

STRATEGIES = ("sync", "async", "blend", "ensemble", "rtc", "rtc_trained")
DELAYS = (0.0, 0.05, 0.1, 0.2, 0.3)
BLOCK = 10  # episodes in step


@dataclass(frozen=True)
class Setup:
    """What all episodes have in common.

    Attributes:
        own_delay: s that an inference takes without any injected delay.
        jacobian, max_weight: of the guidance; see policy_node's parameters.
    """

    checkpoint: str
    task: str
    robot: str
    own_delay: float
    execution_horizon: int
    smoothing: float
    max_seconds: float
    jacobian: str
    max_weight: float


@dataclass(frozen=True)
class Job:
    """Episodes of one cell that run in step, so that the policy infers for all of them at once."""

    strategy: str
    delay: float
    first_seed: int
    episodes: int

    @property
    def key(self) -> str:
        """Its name in the log."""
        return f"{self.strategy}/{self.delay:g}/{self.first_seed}+{self.episodes}"


class Bench:
    """A worker's simulators and policy, made once."""

    def __init__(self, setup: Setup) -> None:
        import torch

        torch.set_num_threads(1)
        from adamoe_ros.contract.profile_io import load_profile, profile_path
        from adamoe_ros.contract.resources import robots_dir
        from adamoe_ros.evaluation.scenes import SceneStore
        from adamoe_ros.policy.checkpoint import read_checkpoint

        self.setup = setup
        self.profile = load_profile(profile_path(setup.robot, robots_dir()))
        self.checkpoint = read_checkpoint(Path(setup.checkpoint))
        self.stage = SceneStore()

    def run(self, job: Job) -> dict[str, Any]:
        """Run its episodes."""
        from adamoe_ros.control.policy_settings import PolicySettings
        from adamoe_ros.evaluation.closed_loop import run_together
        from adamoe_ros.evaluation.scenes import SimulatedArms
        from adamoe_ros.policy.actor import PolicyActor

        settings = PolicySettings(
            strategy=job.strategy,
            rtc_jacobian=self.setup.jacobian,
            rtc_max_weight=self.setup.max_weight,
            device="cpu",
            engine="eager",
        )
        actor = PolicyActor(self.profile, self.checkpoint, settings)
        camera = self.stage.camera(self.setup.task)
        sims = self.stage.sims(self.setup.task, job.episodes)
        begun, arms = time.perf_counter(), [SimulatedArms(sim, camera) for sim in sims]
        sessions = [actor.session(job.first_seed + number) for number in range(job.episodes)]
        for number, one in enumerate(arms):
            one.sim.reset(job.first_seed + number)
        outcomes = run_together(
            [self._loop(job, actor, *pair) for pair in zip(arms, sessions, strict=True)],
            [one.sim.success for one in arms],
            lambda asking, requests: (
                actor.infer_batch([sessions[n] for n in asking], requests).inferences
            ),
            self.setup.max_seconds,
        )
        return {
            "key": job.key,
            "wall": round(time.perf_counter() - begun, 3),
            "outcomes": [asdict(outcome) for outcome in outcomes],
        }

    def _loop(self, job: Job, actor: Any, arms: Any, session: Any) -> Any:
        from adamoe_ros.evaluation.closed_loop import ClosedLoop, LoopSettings

        settings = LoopSettings(
            strategy=job.strategy,
            delay_s=job.delay + self.setup.own_delay,
            execution_horizon=self.setup.execution_horizon,
            smoothing_s=self.setup.smoothing,
        )
        to_model = actor.joint_map.model_from_state
        return ClosedLoop(self.profile, arms, session, arms.sim.instruction, settings, to_model)


_bench: Bench | None = None


def _begin(setup: Setup) -> None:
    global _bench
    _bench = Bench(setup)


def _run(job: Job) -> dict[str, Any]:
    assert _bench is not None
    return _bench.run(job)


def digest(folder: Path) -> str:
    """Short hash of a checkpoint's weights and manifest."""
    made = hashlib.sha256()
    for name in ("model.safetensors", "manifest.json"):
        made.update((folder / name).read_bytes())
    return made.hexdigest()[:16]


def jobs(options: argparse.Namespace, trained: bool) -> list[Job]:
    """Block of seeds by block, so that a run that is stopped has looked at every cell."""
    chosen = [name for name in options.strategies if trained or name != "rtc_trained"]
    first, end = options.first_seed, options.first_seed + options.episodes
    return [
        Job(strategy, delay, seed, min(BLOCK, end - seed))
        for seed in range(first, end, BLOCK)
        for delay in options.delays
        for strategy in chosen
    ]


def finished(log: Path, head: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Blocks of the log, if it is of the same settings; else it is begun anew."""
    if log.is_file():
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.strip()]
        if lines and lines[0] == head:
            return {line["key"]: line for line in lines[1:]}
        log.replace(log.with_suffix(".old.jsonl"))
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(json.dumps(head) + "\n")
    return {}


def run_all(todo: list[Job], setup: Setup, processes: int) -> Iterator[dict[str, Any]]:
    """Every block, in the order in which they end."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _begin, (setup,)) as pool:
        yield from pool.imap_unordered(_run, todo)


def cell(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of one strategy at one delay; seam figures are means over its episodes."""
    from adamoe_ros.evaluation.success import wilson_interval

    successes = [outcome for outcome in outcomes if outcome["success"]]
    low, high = wilson_interval(len(successes), len(outcomes))
    seams = [outcome["seams"] for outcome in outcomes]

    def mean(values: list[float]) -> float:
        return float(f"{statistics.fmean(values):.4g}")

    figures: dict[str, Any] = {
        "episodes": len(outcomes),
        "successes": len(successes),
        "success_rate": round(len(successes) / len(outcomes), 4),
        "wilson_95": [round(low, 4), round(high, 4)],
        "seconds_to_success": mean([o["seconds"] for o in successes]) if successes else None,
        "inferences": mean([o["inferences"] for o in outcomes]),
        "dropped_or_late": sum(o["dropped"] + o["late"] for o in outcomes),
        "rejected": sum(o["rejected"] for o in outcomes),
        "clips": {c: sum(o["clips"][c] for o in outcomes) for c in outcomes[0]["clips"]},
    }
    for name in ("position_jump", "velocity_jump", "jerk"):
        figures[name] = {
            "mean": mean([seam[name]["mean"] for seam in seams]),
            "p95": mean([seam[name]["p95"] for seam in seams]),
            "joints": [
                mean(list(j)) for j in zip(*(s[name]["joints"] for s in seams), strict=True)
            ],
        }
    for name in ("hold_share", "command_age_mean_s", "repeated_rows", "skipped_rows"):
        figures[name] = mean([seam[name] for seam in seams])
    return figures


def verdicts(cells: dict[str, dict[str, Any]], delays: list[float]) -> dict[str, Any]:
    """What the project asks of ``rtc``, as numbers and yes or no."""
    out: dict[str, Any] = {"rtc_beats_async_and_sync": {}}
    for delay in delays:
        three = {name: cells.get(f"{name}/{delay:g}") for name in ("rtc", "async", "sync")}
        if not all(three.values()):
            continue
        out["rtc_beats_async_and_sync"][f"{delay:g}"] = {
            name: {other: bool(three["rtc"][name]["mean"] < three[other][name]["mean"])  # type: ignore[index]
                   for other in ("async", "sync")}
            for name in ("position_jump", "velocity_jump", "jerk")
        }  # fmt: skip
    late, base = cells.get("rtc/0.2"), cells.get("sync/0")
    if late and base:
        out["rtc_at_200_ms_against_sync_at_0_minus_10_points"] = {
            "rtc": late["success_rate"],
            "sync": base["success_rate"],
            "holds": late["success_rate"] >= base["success_rate"] - 0.1,
        }
    return out


def table(cells: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    head = (
        "| Delay | Strategy | Success | Time to success | Position jump | Velocity jump | Jerk "
        "| Held | Age |\n|---|---|---|---|---|---|---|---|---|"
    )
    rows = []
    for key, c in sorted(cells.items(), key=lambda item: float(item[0].split("/")[1])):
        strategy, delay = key.split("/")
        seconds = c["seconds_to_success"]
        rows.append(
            f"| +{float(delay) * 1e3:.0f} ms | `{strategy}` | {c['successes']}/{c['episodes']} "
            f"| {'–' if seconds is None else f'{seconds:.1f} s'} "
            f"| {c['position_jump']['mean'] * 1e3:.0f} mrad "
            f"| {c['velocity_jump']['mean']:.2f} rad/s | {c['jerk']['mean']:.0f} rad/s³ "
            f"| {c['hold_share']:.0%} | {c['command_age_mean_s'] * 1e3:.0f} ms |"
        )
    return "\n".join([head, *rows])


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints" / "demo")
    parser.add_argument("--task", default="lift_bar")
    parser.add_argument("--robot", default="aloha_sim")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=STRATEGIES)
    parser.add_argument("--delays", nargs="+", type=float, default=list(DELAYS), help="s, injected")
    parser.add_argument("--own-delay", type=float, default=0.04, help="s of an inference itself")
    parser.add_argument("--episodes", type=int, default=20, help="per cell")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--execution-horizon", type=int, default=0, help="rows; 0: half a chunk")
    parser.add_argument("--smoothing", type=float, default=0.3, help="s, of control_node")
    parser.add_argument("--max-seconds", type=float, default=12.0)
    parser.add_argument("--jacobian", default="identity", choices=("identity", "vjp"))
    parser.add_argument("--max-weight", type=float, default=0.0, help="0: the flow steps")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--log", type=Path, default=Path("out/bench_strategies.jsonl"))
    parser.add_argument("--out", type=Path, default=RESULTS / "strategies.json")
    return parser.parse_args()


def main() -> int:
    """Run what is missing, then write."""
    from adamoe_ros.policy.checkpoint import read_checkpoint

    options = parse()
    setup = Setup(
        checkpoint=str(options.checkpoint),
        task=options.task,
        robot=options.robot,
        own_delay=options.own_delay,
        execution_horizon=options.execution_horizon,
        smoothing=options.smoothing,
        max_seconds=options.max_seconds,
        jacobian=options.jacobian,
        max_weight=options.max_weight,
    )
    checkpoint = read_checkpoint(options.checkpoint)
    settings = asdict(setup) | {
        "checkpoint": options.checkpoint.name,
        "weights": digest(options.checkpoint),
        "flow_steps": checkpoint.config.flow_steps,
        "rtc_max_delay": checkpoint.manifest.rtc_max_delay,
        "first_seed": options.first_seed,
    }
    wanted = jobs(options, checkpoint.manifest.rtc_max_delay > 0)
    done = finished(options.log, settings)
    todo = [job for job in wanted if job.key not in done]
    with options.log.open("a") as log:
        for number, line in enumerate(run_all(todo, setup, options.processes), 1):
            done[line["key"]] = line
            log.write(json.dumps(line) + "\n")
            log.flush()
            print(f"{number}/{len(todo)} {line['key']}: {line['wall']:.0f} s", flush=True)
    cells: dict[str, list[dict[str, Any]]] = {}
    for job in wanted:
        cells.setdefault(f"{job.strategy}/{job.delay:g}", []).extend(done[job.key]["outcomes"])
    figures = {key: cell(outcomes) for key, outcomes in cells.items()}
    document = {
        "what": "closed loop in simulated time; jumps and jerk: worst joint at each seam, mean",
        "settings": settings | {"episodes": options.episodes},
        "machine": machine(),
        "cells": figures,
        "verdicts": verdicts(figures, options.delays),
    }
    write(options.out, document)
    print(table(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
