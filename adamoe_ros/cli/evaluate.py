# SPDX-License-Identifier: Apache-2.0
"""How often a policy succeeds in the embedded simulator, by the simulator's judgement.

Runs in this process, without ROS, with a simulated inference time. Episode n has seed --seed + n.
Prints a table, and writes every episode as JSON with --out. With --blind the same episodes are
also run with the images blacked out: what is left is not owed to seeing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamoe_ros.evaluation.rollout import EpisodeSettings
    from adamoe_ros.evaluation.simulator import PolicyPlayer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe evaluate``."""
    parser.add_argument("--checkpoint", type=Path, help="folder (default: the shipped demo policy)")
    parser.add_argument("--task", default="lift_bar", help="task of the simulator")
    parser.add_argument("--instruction", help="sentence to give (default: the task's own)")
    parser.add_argument("--robot", default="aloha_sim", help="profile with the simulator's units")
    parser.add_argument("--episodes", type=_positive, default=20, metavar="N", help="how many")
    parser.add_argument("--seed", type=int, default=1000, help="of the first episode")
    parser.add_argument("--blind", action="store_true", help="also run with black images")
    parser.add_argument(
        "--latency", type=_seconds, default=0.15, metavar="S", help="simulated inference time, s"
    )
    parser.add_argument(
        "--execute-rows", type=_positive, default=25, metavar="N", help="rows between new chunks"
    )
    parser.add_argument("--max-time", type=_seconds, default=10.0, metavar="S", help="per episode")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--out", type=Path, help="JSON file for the results")


def run(options: argparse.Namespace) -> int:
    """Evaluate.

    Raises:
        ContractError: checkpoint, task or robot do not fit.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: see cli.train
    from adamoe_ros.contract.resources import share_dir
    from adamoe_ros.evaluation.execution import ExecutionPlan, latency_ticks
    from adamoe_ros.evaluation.rollout import EpisodeSettings
    from adamoe_ros.evaluation.simulator import PolicyPlayer
    from adamoe_ros.evaluation.success import table
    from adamoe_ros.policy.checkpoint import read_checkpoint
    from adamoe_ros.policy.runtime import PolicyRuntime
    from adamoe_ros.sim.bimanual import CONTROL_RATE

    folder = options.checkpoint or share_dir() / "checkpoints" / "demo"
    runtime = PolicyRuntime(read_checkpoint(folder), options.device)
    runtime.warm_up()
    ticks = round(options.max_time * CONTROL_RATE)
    plan = ExecutionPlan(options.execute_rows, latency_ticks(options.latency, CONTROL_RATE))
    runs: dict[str, Any] = {}
    for name, blind in (("sighted", False), ("blind", True))[: 1 + options.blind]:
        settings = EpisodeSettings(max_ticks=ticks, blind=blind, plan=plan)
        runs[name] = _episodes(PolicyPlayer(runtime), options, settings, name)
    document = {
        "checkpoint": str(folder),
        "trained": runtime.checkpoint.manifest.provenance.notes,
        "settings": {
            "seeds": [options.seed, options.seed + options.episodes - 1],
            "latency_s": options.latency,
            "execute_rows": options.execute_rows,
            "max_time_s": options.max_time,
            "device": str(runtime.engine.device),
        },
        "runs": runs,
    }
    print(table(runs))
    if options.out is not None:
        _write(options.out, document)
    return 0


def _episodes(
    player: PolicyPlayer, options: argparse.Namespace, settings: EpisodeSettings, name: str
) -> dict[str, Any]:
    """Summary of one row of the table, with progress on the way."""
    from adamoe_ros.evaluation.rollout import EpisodeResult
    from adamoe_ros.evaluation.simulator import evaluate_task
    from adamoe_ros.evaluation.success import summarise
    from adamoe_ros.training.progress import Counter

    counter, successes = Counter(f"{options.task}, {name}", options.episodes), 0

    def report(result: EpisodeResult) -> None:
        nonlocal successes
        successes += result.success
        counter.add(note=f"({successes} succeeded) ")

    seeds = range(options.seed, options.seed + options.episodes)
    results = evaluate_task(
        player, options.task, seeds, settings, options.instruction, options.robot, report
    )
    return {**summarise(results), "inference": player.timing()}


def _write(path: Path, document: dict[str, Any]) -> None:
    from adamoe_ros.contract.errors import ContractError, problem

    beside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        do = "give another --out"
        raise ContractError(problem(str(path), "a file to write", error, do)) from error
    print(f"results: {path}", file=sys.stderr)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 3600:
        raise argparse.ArgumentTypeError(f"expected 0 to 3600 s, got {text}")
    return value
