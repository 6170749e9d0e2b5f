# SPDX-License-Identifier: Apache-2.0
"""Success of the shipped demo policy on unseen seeds, sighted and with black images.

In this process (``adamoe evaluate``), with a simulated inference time; the same over real ROS
nodes is a benchmark of its own. Writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from common import RESULTS, ROOT, machine, write

from adamoe_ros.cli.main import main as adamoe

CHECKPOINT = ROOT / "checkpoints" / "demo"
FIRST_SEED = 1000


def check_unseen(record: dict, seeds: range) -> None:
    """Stop where a seed was trained on or chosen by."""
    low, high = record["data"]["seeds"]
    validation = record["settings"]["evaluation"]
    first = validation["first_seed"]
    seen = {*range(low, high + 1), *range(first, first + validation["episodes"])}
    if seen & set(seeds):
        raise SystemExit(f"seeds {sorted(seen & set(seeds))} are not unseen")


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--latency", type=float, default=0.15, help="simulated, s")
    parser.add_argument("--out", type=Path, default=RESULTS / "demo_policy.json")
    options = parser.parse_args()
    record = json.loads((options.checkpoint / "training.json").read_text())
    check_unseen(record, range(FIRST_SEED, FIRST_SEED + options.episodes))
    about = machine()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "results.json"
        words = ["--episodes", str(options.episodes), "--seed", str(FIRST_SEED), "--blind"]
        words += ["--latency", str(options.latency), "--out", str(out)]
        code = adamoe(["evaluate", "--checkpoint", str(options.checkpoint), *words])
        if code:
            raise SystemExit(code)
        document = json.loads(out.read_text())
    document["checkpoint"] = os.path.relpath(options.checkpoint.resolve(), ROOT)
    write(options.out, {"what": "lift_bar, in process", **document, "machine": about})


if __name__ == "__main__":
    main()
