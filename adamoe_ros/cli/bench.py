# SPDX-License-Identifier: Apache-2.0
"""Latency of the inference engines on this computer, stage by stage.

A policy with random weights and made-up pictures is run: latency needs no training. Candidates take
turns in one process, and times are what a robot would wait (--clock cpu: the process's CPU time).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from adamoe_ros.cli.options import add_options
from adamoe_ros.control.policy_settings import PolicySettings

_HELP: dict[str, str] = {
    "preset": "model sizes",  # and their names
    "depth": "layers of vision, prefix and expert; 0: the preset's",
    "vocab": "rows of the token table; 0: the preset's; fewer save memory and no time",
    "dtype": "float32 or bfloat16",
    "engines": "engines, with commas; auto: this device's",
    "mixtures": "forms of the mixture layer, with commas: auto, sparse, wide, grouped, triton",
    "int8": "8-bit weights in the action expert's feed-forward layers",
    "batch": "observations at once",
    "views": "cameras; 0: all",
    "prompt": "prompt tokens; 0: the most",
    "steps": "flow steps; 0: the model's",
    "rounds": "measured rounds",
    "stages": "what to measure, with commas: images, vision, encode, step, whole",
    "threads": "CPU threads; 0: one per core",
    "clock": "wall or cpu",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options; the defaults are those of ``BenchSettings``, the device is the policy's."""
    from adamoe_ros.evaluation.bench.latency import BenchSettings
    from adamoe_ros.model.config import PRESETS

    add_options(parser, PolicySettings, "device")
    texts = _HELP | {"preset": f"{_HELP['preset']}: {', '.join(PRESETS)}"}
    for name, text in texts.items():
        default = getattr(BenchSettings, name)
        if isinstance(default, bool):
            parser.add_argument(
                f"--{name}", action=argparse.BooleanOptionalAction, default=default, help=text
            )
            continue
        shown = ",".join(default) if isinstance(default, tuple) else default
        parser.add_argument(
            f"--{name}",
            type=int if isinstance(default, int) else str,
            choices=("wall", "cpu") if name == "clock" else None,
            default=shown,
            help=f"{text} (default {shown})",
        )
    parser.add_argument("--out", type=Path, help="write the result here as JSON")


def settings_values(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments as values of ``BenchSettings``."""
    from adamoe_ros.evaluation.bench.latency import BenchSettings
    from adamoe_ros.policy.runtime import choose_device

    values = {item.name: getattr(options, item.name) for item in fields(BenchSettings)}
    for name in ("engines", "mixtures", "stages"):
        values[name] = tuple(filter(None, values[name].split(",")))
    return values | {"device": str(choose_device(values["device"]))}


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write a result where that was asked for."""
    from adamoe_ros.contract.files import replace_text

    if path is not None:
        replace_text(path, json.dumps(result, indent=1) + "\n")


def run(options: argparse.Namespace) -> int:
    """Measure, print the table, write JSON."""
    from adamoe_ros.evaluation.bench.latency import Bench, BenchSettings, table

    settings = BenchSettings(**settings_values(options))
    result = Bench(settings, lambda line: print(line, file=sys.stderr)).run()
    print(table(result))
    write_json(options.out, result)
    return 0
