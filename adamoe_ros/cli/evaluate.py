# SPDX-License-Identifier: Apache-2.0
"""How often a policy succeeds in the embedded simulator, by the simulator's judgement, with intervals.

Runs in this process, many episodes in step, without ROS and in simulated time; --ros runs the real
nodes in real processes instead. Every task is run on the seeds --seed ... --seed + --episodes - 1.
--control adds a run on the same scenes: 'wrong-sentence' gives the policy alone another instruction, 'changed'
gives it another one first and the scene's own while its arms move, 'blind' blacks its images. Writes
results.json, report.html (with what the experts are used for), videos of failures, and episodes.jsonl,
from which a stopped run goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamoe_ros.cli.options import add_options, add_ray, declared_values, not_negative, positive
from adamoe_ros.evaluation.evaluation_settings import EvaluationSettings

if TYPE_CHECKING:
    from adamoe_ros.contract.workers import Workers
    from adamoe_ros.evaluation.blocks import Blocks, Job
    from adamoe_ros.evaluation.evaluator import EpisodeRecord

_DECLARED = (
    "robot strategy execution_horizon latency_s smoothing_s max_time_s wording device engine "
    "parallel routing"
)
_CONTROLS = ("wrong-sentence", "changed", "blind")
_SMALL = 500_000_000  # bytes of weights up to which each process may have its own copy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe evaluate``."""
    add = parser.add_argument
    add("checkpoint", type=Path, nargs="?", help="folder (default: the shipped demo policy)")
    add("--tasks", nargs="+", metavar="TASK", help="default: those the policy was trained on")
    add("--episodes", type=positive, default=50, metavar="N", help="per task (default 50)")
    add("--seed", type=not_negative, default=1000, help="of each task's first episode")
    add("--control", action="append", choices=_CONTROLS, default=[], help="repeatable")
    add("--instruction", help="what every scene asks for (default: drawn from the seed)")
    add("--processes", type=not_negative, default=0, metavar="N", help="0: by cores and size")
    add_ray(parser)
    add("--videos", type=not_negative, default=2, metavar="N", help="of failures, per task")
    add("--ros", action="store_true", help="over the real ROS 2 nodes, one episode at a time")
    add("--out", type=Path, help="folder (default out/evaluation/NAME)")
    add("--overwrite", action="store_true", help="begin anew where --out holds an evaluation")
    flags = {"latency_s": "latency", "smoothing_s": "smoothing", "max_time_s": "max-time"}
    add_options(parser, EvaluationSettings, _DECLARED, **flags)


def run(options: argparse.Namespace) -> int:
    """Evaluate.

    Raises:
        ContractError: checkpoint, task or robot do not fit, or --out holds another evaluation.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: see cli.train
    from adamoe_ros.contract.manifest import checkpoint_name, load_manifest
    from adamoe_ros.contract.resources import share_dir
    from adamoe_ros.evaluation.blocks import Blocks
    from adamoe_ros.evaluation.machine import machine_line
    from adamoe_ros.evaluation.results import evaluation_document, write_results
    from adamoe_ros.evaluation.success import table

    folder = options.checkpoint or share_dir() / "checkpoints" / "demo"
    job = _job(options, folder)
    out = options.out or Path("out/evaluation") / checkpoint_name(folder)
    blocks = Blocks(job, out, options.overwrite)
    if options.ros:
        from adamoe_ros.cli.evaluate_ros import run_over_ros

        run_over_ros(blocks, block_reporter(blocks))
    else:
        from adamoe_ros.evaluation.blocks import run_blocks

        run_blocks(blocks, _workers(folder, options), block_reporter(blocks))
    trained = load_manifest(folder / "manifest.json").provenance.notes
    document = evaluation_document(blocks, checkpoint_name(folder), trained, machine_line())
    write_results(blocks, document, lambda text: print(text, file=sys.stderr))
    print(table(document["summary"]))
    print(f"report: {out / 'report.html'}", file=sys.stderr)
    return 0


def _job(options: argparse.Namespace, folder: Path) -> Job:
    from adamoe_ros.contract.errors import Problems
    from adamoe_ros.contract.manifest import load_manifest
    from adamoe_ros.evaluation.blocks import Job
    from adamoe_ros.evaluation.cases import check_tasks
    from adamoe_ros.evaluation.evaluator import check_fit
    from adamoe_ros.evaluation.results import weights_digest
    from adamoe_ros.sim.tasks import tasks_of

    weights, manifest = weights_digest(folder), load_manifest(folder / "manifest.json")
    tasks = tuple(options.tasks or tasks_of(manifest.instructions))
    problems = Problems()
    if not tasks:
        what = "a policy that was trained on one of the suite's sentences"
        problems.add("--tasks", what, "none of them", "name the tasks")
    if options.instruction is not None and len(tasks) > 1:
        problems.add("--instruction", "one task", f"{len(tasks)}", "add --tasks with one name")
    if options.ros and options.ray:
        do = "leave one of them out"
        problems.add("--ray", "a run in the simulator's own processes", "--ros, too", do)
    if options.ros and "blind" in options.control:
        what = "a run in this process"
        problems.add("--control blind", what, "--ros", "leave --ros out: the nodes see the topics")
    problems.raise_if_any()
    check_tasks(tasks)
    settings = _settings(options, tasks)
    check_fit(manifest.control_rate_hz, settings)
    return Job(
        checkpoint=folder,
        weights=weights,
        tasks=tasks,
        controls=("plain", *dict.fromkeys(options.control)),
        seeds=tuple(range(options.seed, options.seed + options.episodes)),
        settings=settings,
        videos=options.videos,
        path="ros" if options.ros else "in process",
    )


def _settings(options: argparse.Namespace, tasks: Sequence[str]) -> EvaluationSettings:
    values = declared_values(options, EvaluationSettings)
    if options.ros:
        values.update(latency_s=0.0, parallel=1)  # over ROS the latency is the real one
    return EvaluationSettings(**values, instruction=options.instruction, others=tuple(tasks))


def _workers(folder: Path, options: argparse.Namespace) -> Workers:
    """Here: one a core on a CPU with a small policy, else one. On Ray: one a core, or one a GPU."""
    from adamoe_ros.contract.workers import Workers
    from adamoe_ros.policy.runtime import choose_device

    if options.ray:  # Ray hides GPUs from what does not ask for one
        return Workers(options.processes, options.ray, float(options.device.startswith("cuda")))
    small = (folder / "model.safetensors").stat().st_size < _SMALL
    on_cpu = choose_device(options.device).type == "cpu"
    return Workers(options.processes or (len(os.sched_getaffinity(0)) if small and on_cpu else 1))


def block_reporter(blocks: Blocks) -> Any:
    """Prints a line with counts and time left as blocks end."""
    from adamoe_ros.training.training_log import Counter

    todo = sum(len(block.cases) for block in blocks.missing())
    known = len(blocks.episodes())
    if known:
        print(f"{known} episodes are there already", file=sys.stderr)
    counter = Counter("episodes", max(1, todo))
    done: list[EpisodeRecord] = []

    def report(episodes: Sequence[EpisodeRecord]) -> None:
        done.extend(episodes)
        last = episodes[-1]
        own = [e.success for e in done if (e.control, e.task) == (last.control, last.task)]
        counter.add(len(episodes), f"({last.control} {last.task}: {sum(own)}/{len(own)}) ")

    return report
