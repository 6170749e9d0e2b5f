# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of others, by their own judges, with the policy behind a server of openpi's protocol.

libero: needs no set-up; its simulator gets an environment of its own on first use (2.1 GB, ADAMOE_CACHE says
where). --checkpoint starts 'adamoe serve' for a folder, --policy-url asks a server that runs already, ours or
openpi's. Writes what 'adamoe evaluate' writes; a stopped run goes on. See doc/benchmarks.md.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adamoe_ros.cli.evaluate import block_reporter
from adamoe_ros.cli.options import (
    add_options,
    add_workers,
    declared_values,
    not_negative,
    positive,
    workers,
)
from adamoe_ros.evaluation.evaluation_settings import LiberoSettings
from adamoe_ros.sim.libero import BUDGETS

if TYPE_CHECKING:
    from adamoe_ros.evaluation.blocks import Job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe benchmark``."""
    names = parser.add_subparsers(dest="benchmark", required=True, metavar="NAME", help="which")
    libero = names.add_parser("libero", help="LIBERO's suites")
    add = libero.add_argument
    add("--checkpoint", type=Path, help="folder; served by a process of its own")
    add("--policy-url", default="", metavar="URL", help="of a server, instead: ws://host:8000")
    add("--token-file", type=Path, metavar="FILE", help="token that the server asks for")
    add("--device", default="auto", help="of --checkpoint: cpu, cuda, auto")
    add("--suites", nargs="+", choices=tuple(BUDGETS), default=["object"], help="default: object")
    add("--tasks", nargs="+", type=not_negative, metavar="N", help="of each suite; default: all")
    text = "initial states of each task, LIBERO's first ones (default 10; openpi: 50)"
    add("--episodes", type=positive, default=10, metavar="N", help=text)
    controls = ("wrong-sentence", "blind")
    add("--control", action="append", choices=controls, default=[], help="repeatable")
    add("--videos", type=not_negative, default=2, metavar="N", help="of failures, per task")
    add("--out", type=Path, help="folder (default out/benchmark/libero/NAME)")
    add("--overwrite", action="store_true", help="begin anew where --out holds a benchmark")
    add_options(libero, LiberoSettings, "replan idle_steps seed parallel", parallel="block")
    add_workers(libero)


def run(options: argparse.Namespace) -> int:
    """Run it.

    Raises:
        ContractError: no policy, a policy that does not fit, or no simulator.
    """
    from adamoe_ros.contract.errors import ContractError, problem
    from adamoe_ros.contract.manifest import checkpoint_name, load_manifest
    from adamoe_ros.evaluation.blocks import Blocks
    from adamoe_ros.evaluation.libero_benchmark import Benchmark, run_benchmark, served, videos_of
    from adamoe_ros.evaluation.machine import machine_line
    from adamoe_ros.evaluation.results import evaluation_document, write_results
    from adamoe_ros.evaluation.success import table
    from adamoe_ros.sim.libero.process import libero_python

    folder: Path | None = options.checkpoint
    if (folder is None) == (not options.policy_url):
        got = "neither" if folder is None else "both"
        do = "name the policy once"
        raise ContractError(problem("policy", "--checkpoint or --policy-url", got, do))
    name = options.policy_url.rpartition("/")[2] if folder is None else checkpoint_name(folder)
    trained = options.policy_url
    if folder is not None:
        trained = load_manifest(folder / "manifest.json").provenance.notes
    python = libero_python(_say)
    sentences = _sentences(python)
    out = options.out or Path("out/benchmark/libero") / name.replace(":", "_")
    blocks = Blocks(_job(options, sentences), out, options.overwrite)
    report = block_reporter(blocks)
    if blocks.missing():
        serving = served(folder, options.device) if folder else None
        with serving or contextlib.nullcontext(options.policy_url) as url:
            where = Benchmark(python, out, url, sentences, options.token_file)
            run_benchmark(blocks, where, workers(options), report)
    document = evaluation_document(blocks, name, trained, machine_line())
    write_results(blocks, document, _say, videos_of(blocks))
    print(table(document["summary"]))
    print(f"report: {out / 'report.html'}", file=sys.stderr)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _sentences(python: Path) -> dict[str, str]:
    """Task -> sentence, of every suite."""
    from adamoe_ros.sim.libero.process import SimulatorProcess

    simulator = SimulatorProcess(python)
    try:
        suites = simulator.ask("suites", names=[f"libero_{suite}" for suite in BUDGETS])
    finally:
        simulator.close()
    return {
        f"{suite.removeprefix('libero_')}/{number}": text
        for suite, texts in suites.items()
        for number, text in enumerate(texts)
    }


def _job(options: argparse.Namespace, sentences: Mapping[str, str]) -> Job:
    from adamoe_ros.contract.errors import ContractError, problem
    from adamoe_ros.evaluation.blocks import Job
    from adamoe_ros.evaluation.results import weights_digest

    chosen = [task for task in sentences if task.partition("/")[0] in options.suites]
    if options.tasks is not None:
        chosen = [task for task in chosen if int(task.partition("/")[2]) in options.tasks]
    if not chosen:
        do = "choose among 0 ... 9"
        raise ContractError(problem("--tasks", "tasks of the suite", options.tasks, do))
    if options.episodes > 50:
        do = "choose fewer"
        raise ContractError(problem("--episodes", "at most 50", options.episodes, do))
    folder = options.checkpoint
    return Job(
        checkpoint=folder or Path(),
        weights=weights_digest(folder) if folder else options.policy_url,
        tasks=tuple(chosen),
        controls=("plain", *dict.fromkeys(options.control)),
        seeds=tuple(range(options.episodes)),
        settings=LiberoSettings(**declared_values(options, LiberoSettings)),
        videos=options.videos,
        path="openpi's protocol",
    )
