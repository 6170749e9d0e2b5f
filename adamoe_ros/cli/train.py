# SPDX-License-Identifier: Apache-2.0
"""Train or fine-tune a policy on LeRobot datasets, bags or the simulator's demonstrations.

Writes into the --out folder: config.yaml, log.jsonl (a line per interval), tensorboard/, state-<step>/
(to continue from, with --resume) and checkpoint/ (averaged weights, ready for the robot). On several GPUs:
torchrun --nproc-per-node N -m adamoe_ros.cli.main train ... See doc/training.md, doc/scale.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from adamoe_ros.contract.errors import ContractError

if TYPE_CHECKING:
    from adamoe_ros.training.training_config import TrainingConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe train``."""
    parser.add_argument("--config", type=Path, help="settings, e.g. config/training/lift_bar.yaml")
    parser.add_argument("--out", type=Path, help="folder of the run (default out/training/<name>)")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one setting, e.g. --set steps=2000 --set optimiser.base.peak_lr=1e-3",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        choices=("if-any",),
        const=True,
        default=False,
        metavar="if-any",
        help="continue the run in --out; if-any: begin it where there is none yet",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings and do nothing"
    )


def run(options: argparse.Namespace) -> int:
    """Train.

    Raises:
        ContractError: settings, data or checkpoint do not fit, or the disk is full.
    """
    from adamoe_ros.training.training_config import dump_config, load_config

    config = load_config(_settings_file(options), options.overrides)
    if options.print_config:
        print(dump_config(config), end="")
        return 0
    # read when torch is loaded: threads that spin while waiting make a step ten times as long as
    # soon as anything else needs a core
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from adamoe_ros.training.processes import end_process, lost_another
    from adamoe_ros.training.training_run import train

    folder = options.out or Path("out/training") / config.name
    roll_out = _roll_out(config) if config.evaluation.every_steps else None
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    first = os.environ.get("RANK", "0") == "0"  # under torchrun one process speaks for all
    try:
        checkpoint = train(config, folder, resume=options.resume, roll_out=roll_out)
    except ContractError:
        if first:
            raise
        end_process(2)
    except RuntimeError as error:
        if not (several and lost_another(error)):
            raise
        line = str(error).splitlines()[0]
        print(f"adamoe train: another process of the group has gone: {line}", file=sys.stderr)
        end_process(1)
    if first:
        print(f"checkpoint: {checkpoint}")
    if several:
        end_process(0)
    return 0


def _settings_file(options: argparse.Namespace) -> Path | None:
    """--config; a run that goes on has its own settings in its folder."""
    given: Path | None = options.config
    if given is None and options.resume and options.out is not None:
        return Path(options.out) / "config.yaml"
    return given


def _roll_out(config: TrainingConfig) -> Callable[[Path], dict[str, float]]:
    """Success of a checkpoint on the validation seeds."""
    from adamoe_ros.evaluation.evaluation_settings import EvaluationSettings
    from adamoe_ros.evaluation.success import success_rates

    wanted = config.evaluation
    seeds = range(wanted.first_seed, wanted.first_seed + wanted.episodes)
    settings = EvaluationSettings(
        execution_horizon=wanted.execute_rows,
        latency_s=wanted.latency_s,
        device=config.device,
        routing=False,
    )

    def roll_out(folder: Path) -> dict[str, float]:
        rate = success_rates(folder, [wanted.task], seeds, settings)[wanted.task]
        successes = round(rate * wanted.episodes)
        print(f"roll-outs: {successes}/{wanted.episodes} succeed", file=sys.stderr)
        return {"success": rate, "episodes": float(wanted.episodes)}

    return roll_out
