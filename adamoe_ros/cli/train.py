# SPDX-License-Identifier: Apache-2.0
"""Train or fine-tune a policy on demonstrations; continues a stopped run with --resume.

Writes into the --out folder: config.yaml, log.jsonl (a line per interval), state.pt (to continue
from) and checkpoint/ (averaged weights, ready for the robot).
"""

from __future__ import annotations

import argparse
from pathlib import Path


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
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings and do nothing"
    )


def run(options: argparse.Namespace) -> int:
    """Train.

    Raises:
        ContractError: settings, data or checkpoint do not fit, or the disk is full.
    """
    from adamoe_ros.training.config import dump_config, load_config

    config = load_config(options.config, options.overrides)
    if options.print_config:
        print(dump_config(config), end="")
        return 0
    from adamoe_ros.training.run import train

    folder = options.out or Path("out/training") / config.name
    checkpoint = train(config, folder, resume=options.resume, evaluate=_evaluator(config))
    print(f"checkpoint: {checkpoint}")
    return 0
