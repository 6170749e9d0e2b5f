# SPDX-License-Identifier: Apache-2.0
"""Success of the shipped demo policy on unseen seeds: as it is used, given another instruction,
with the sentence changed while its arms move, and blind.

In this process (``adamoe evaluate``), with a simulated inference time; the same over real ROS nodes
is ``bench_closed_loop.py``. ``--dense`` puts a dense twin beside it, on the same seeds. A run that was
stopped goes on. Writes JSON: every seed, every count, what the experts are used for.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from common import RESULTS, ROOT, machine, write

from adamoe_ros.cli.main import main as adamoe

CHECKPOINT = ROOT / "checkpoints" / "demo"
CONTROLS = ("wrong-sentence", "changed", "blind")
FIRST_SEED = 1000


def check_unseen(record: dict[str, Any], seeds: range) -> None:
    """Stop where a seed was trained on or chosen by."""
    low, high = record["data"]["seeds"]
    validation = record["settings"]["evaluation"]
    first = validation["first_seed"]
    seen = {*range(low, high + 1), *range(first, first + validation["episodes"])}
    if seen & set(seeds):
        raise SystemExit(f"seeds {sorted(seen & set(seeds))} are not unseen")


def evaluated(checkpoint: Path, options: argparse.Namespace, name: str) -> dict[str, Any]:
    """``results.json`` of one checkpoint, without the list of episodes."""
    trained = next(c for c in (checkpoint, options.dense) if c and (c / "training.json").exists())
    record = json.loads((trained / "training.json").read_text())
    check_unseen(record, range(FIRST_SEED, FIRST_SEED + options.episodes))
    out = options.work / name
    words = ["--episodes", str(options.episodes), "--seed", str(FIRST_SEED), "--out", str(out)]
    words += ["--videos", "0"]
    for control in options.controls:
        words += ["--control", control]
    words += ["--latency", str(options.latency)]
    words += ["--tasks", *options.tasks] if options.tasks else []
    code = adamoe(["evaluate", str(checkpoint), *words])
    if code:
        raise SystemExit(code)
    document = json.loads((out / "results.json").read_text())
    document.pop("episodes")  # each failed seed is in the summary
    document["checkpoint"] = os.path.relpath(checkpoint.resolve(), ROOT)
    return dict(document)


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    help_text = "a dense checkpoint of the same training, or what the policy was upcycled from"
    parser.add_argument("--dense", type=Path, help=help_text)
    parser.add_argument("--controls", nargs="*", choices=CONTROLS, default=CONTROLS)
    parser.add_argument("--tasks", nargs="+", help="default: those the policy was trained on")
    parser.add_argument("--episodes", type=int, default=50, help="per task and control")
    parser.add_argument("--latency", type=float, default=0.15, help="simulated, s")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench_demo_policy")
    parser.add_argument("--out", type=Path, default=RESULTS / "demo_policy.json")
    options = parser.parse_args()
    about = machine()
    document = {"what": "success in process, unseen seeds", "machine": about}
    document["policy"] = evaluated(options.checkpoint, options, "policy")
    if options.dense is not None:
        document["dense_twin"] = evaluated(options.dense, options, "dense")
    write(options.out, document)


if __name__ == "__main__":
    main()
