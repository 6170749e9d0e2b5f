#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The safety properties of ``control/`` at full depth: 130 000 hypothesis examples, random seeds.

Runs in pieces of a few minutes, each a pytest process with a seed of its own, so that a shared machine
is given back between them (``--before "nice -n 10"`` puts words in front of each). What ran is counted
from hypothesis' own statistics, not from what was asked for. Writes JSON after every piece; stops at the
first failure with hypothesis' falsifying example.

    python benchmarks/bench_properties.py --out benchmarks/results/property_tests.json
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import RESULTS, ROOT, machine, write

TESTED = ("adamoe_ros/control", "adamoe_ros/contract", "test/core/control")
TESTS = ROOT / "test" / "core" / "control"
# test -> pieces; the number of examples stands in the tests themselves
PIECES = {
    "test_core_properties.py::test_any_script_stays_inside_the_limits": 30,
    "test_core_properties.py::test_after_a_stop_not_one_command_moves": 2,
    "test_core_properties.py::test_columns_in_any_order_give_the_same_motion": 1,
    "test_gate_properties.py::test_no_command_leaves_the_limits": 8,
    "test_gate_properties.py::test_braking_comes_to_rest_in_the_computed_distance": 1,
    "test_gate_properties.py::test_a_resting_target_is_reached_without_overshoot": 5,
    "test_seam_properties.py::test_one_right_row_a_tick_and_smooth": 16,
    "test_seam_properties.py::test_the_same_chunks_in_any_order_of_arrival_end_at_the_same_place": 5,
    "test_strategies.py": 1,
    "test_interpolation.py": 1,
}
_COUNT = re.compile(r"(\d+) passing(?: examples)?, (\d+) failing")
_TIMEOUT = 600.0  # s for a piece


def run(test: str, pieces: int, seed: int, before: list[str]) -> tuple[int, float]:
    """One piece: examples that passed, s.

    Raises:
        SystemExit: one failed.
    """
    environment = {
        **os.environ,
        "HYPOTHESIS_PROFILE": "full",
        "HYPOTHESIS_SHARE": repr(1.0 / pieces),
        "ADAMOE_WITHOUT_ROS": "1",
        "OMP_NUM_THREADS": "1",
    }
    options = [
        f"--hypothesis-seed={seed}",
        "--hypothesis-show-statistics",
        "-p",
        "no:cacheprovider",
    ]
    command = [sys.executable, "-m", "pytest", "-q", f"--timeout={_TIMEOUT}", *options]
    begin = time.monotonic()
    done = subprocess.run(
        [*before, *command, str(TESTS / test)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    counts = _COUNT.findall(done.stdout)
    if done.returncode or not counts or any(int(failing) for _, failing in counts):
        print(done.stdout, done.stderr, sep="\n")
        raise SystemExit(f"{test}: failed with --hypothesis-seed={seed}")
    return sum(int(passing) for passing, _ in counts), time.monotonic() - begin


def tested() -> str:
    """The commit that last changed what is tested, with ``+`` where files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words, "--", *TESTED], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    return git("log", "-1", "--format=%h") + ("+" if git("status", "--porcelain") else "")


def main() -> int:
    """Run every piece; write what ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "property_tests.json")
    parser.add_argument("--before", default="", help="words before each piece's command")
    parser.add_argument("--seed", type=int, help="of the seeds; default: random")
    options = parser.parse_args()
    seeds = random.Random(options.seed)
    results: dict[str, dict[str, Any]] = {}
    document: dict[str, Any] = {
        "what": "hypothesis examples of the safety properties of control/, random seeds, all passed",
        "machine": machine(),
        "commit_of_control": tested(),
        "examples": 0,
        "tests": results,
    }
    for test, pieces in PIECES.items():
        entry = results.setdefault(test, {"examples": 0, "seconds": 0.0, "seeds": []})
        for _ in range(pieces):
            seed = seeds.randrange(2**32)
            count, seconds = run(test, pieces, seed, shlex.split(options.before))
            entry["examples"] += count
            entry["seconds"] = round(entry["seconds"] + seconds, 1)
            entry["seeds"].append(seed)
            document["examples"] += count
            print(f"{test}: {entry['examples']} ({document['examples']} in all)", flush=True)
            write(options.out, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
