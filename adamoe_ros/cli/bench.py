# SPDX-License-Identifier: Apache-2.0
"""Latency of the engines by stage, beside the device's roofline and other codes' pi0.

Weights are random: latency needs no training. Candidates take turns in one process.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

_TEXTS: dict[str, str] = {
    "preset": "model sizes: pi0, adamoe_pi0, small, tiny",
    "depth": "layers of vision, prefix and expert; 0: the preset's",
    "vocab": "rows of the token table; 0: the preset's; fewer save memory and no time",
    "dtype": "float32 or bfloat16",
    "device": "auto, cpu, cuda or cuda:N",
    "engines": "engines, with commas; auto: this device's",
    "mixtures": "forms of the mixture layer, with commas: auto, sparse, wide, grouped, triton",
    "int8": "8-bit weights in the action expert's feed-forward layers",
    "batch": "observations at once",
    "views": "cameras; 0: all",
    "prompt": "prompt tokens; 0: the most",
    "steps": "flow steps; 0: the model's",
    "rounds": "measured rounds",
    "stages": "what to measure, with commas: images, vision, encode, step, whole",
    "peers": "others to compare with, with commas: transformers, lerobot, openpi; "
    "auto: all that can be imported; '': none",
    "soak": "inferences in a row, for memory and tail; 0: none",
    "threads": "CPU threads",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options; the defaults are those of ``BenchSettings``."""
    from adamoe_ros.evaluation.bench.settings import BenchSettings

    defaults = {"device": "auto"}
    for name, text in _TEXTS.items():
        default = defaults.get(name, getattr(BenchSettings, name))
        if isinstance(default, bool):
            parser.add_argument(
                f"--{name}", action=argparse.BooleanOptionalAction, default=default, help=text
            )
        else:
            shown = ",".join(default) if isinstance(default, tuple) else default
            kind = str if isinstance(default, (str, tuple)) else int
            parser.add_argument(
                f"--{name}", type=kind, default=shown, help=f"{text} (default {shown})"
            )
    parser.add_argument("--out", type=Path, help="write the result here as JSON")


def run(options: argparse.Namespace) -> int:
    """Measure, print the table, write JSON."""
    from adamoe_ros.evaluation.bench.run import run_bench
    from adamoe_ros.evaluation.bench.settings import BenchSettings
    from adamoe_ros.evaluation.bench.table import table
    from adamoe_ros.policy.runtime import choose_device

    values: dict[str, Any] = {f.name: getattr(options, f.name) for f in fields(BenchSettings)}
    for name in ("engines", "mixtures", "stages", "peers"):
        values[name] = tuple(filter(None, values[name].split(",")))
    values["device"] = str(choose_device(values["device"]))
    result = run_bench(BenchSettings(**values), lambda line: print(line, file=sys.stderr))
    print(table(result))
    if options.out is not None:
        written = options.out.with_name(options.out.name + ".part")
        written.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        written.replace(options.out)
    return 0
