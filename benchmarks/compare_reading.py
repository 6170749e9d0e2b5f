# SPDX-License-Identifier: Apache-2.0
"""Reading bags with two versions of this package: replay and conversion, in turns, by CPU time.

Each version runs in a process of its own that waits while the other one works, so that a machine
with other work disturbs both alike. Writes JSON.

git worktree add /tmp/old COMMIT
python benchmarks/compare_reading.py --old /tmp/old
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bag_maker import PROFILE, load_now, make_bag, settings_facts

from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.units import units_for
from adamoe_ros.evaluation.replay.run import BagReplay, ReplaySettings

HERE = Path(__file__).resolve().parent
REPLAY, ALL, CONVERT = "pictures where an inference looks", "every picture decoded", "conversion"


def replay(folder: Path, decode_all: bool) -> None:
    """Without inference."""
    with Bag(folder) as bag:
        BagReplay(bag, PROFILE, {}, ReplaySettings(decode_all=decode_all)).run()


def convert(folder: Path) -> None:
    """To a staged episode with video."""
    now = Path(sys.modules["adamoe_ros.data"].__path__[0], "bag_conversion.py").is_file()
    name = "bag_conversion" if now else "convert"  # its name up to 0.1.0
    module = importlib.import_module(f"adamoe_ros.data.{name}")
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        units = units_for(PROFILE, None, "1_open")
        module.convert_bag(
            folder, Path(place) / "s", PROFILE, units, module.ConvertSettings(fps=30)
        )


def work(folder: Path) -> None:
    """One version: does what is asked for on standard input, and answers with its CPU seconds."""
    jobs: dict[str, Callable[[], None]] = {
        REPLAY: lambda: replay(folder, False),
        ALL: lambda: replay(folder, True),
        CONVERT: lambda: convert(folder),
    }
    for line in sys.stdin:
        begun = time.process_time()
        jobs[line.strip()]()
        cpu_s = time.process_time() - begun
        peak_kib = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
        print(json.dumps([cpu_s, peak_kib / 1024]), flush=True)


class Version:
    """A process that reads with the package of one tree."""

    def __init__(self, tree: Path, folder: Path) -> None:
        places = os.pathsep.join(map(str, (tree, tree / "benchmarks", HERE)))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "compare_reading", "--work", str(folder)],
            cwd=tree,  # first on the path of modules
            env={**os.environ, "PYTHONPATH": places},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def does(self, job: str) -> tuple[float, float]:
        """CPU seconds, and the highest resident memory so far in MiB."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{job}\n")
        self.process.stdin.flush()
        cpu_s, mib = json.loads(self.process.stdout.readline())
        return cpu_s, mib


def commit(tree: Path) -> str:
    """Its hash, and whether files differ."""
    git = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.check_output(git, text=True).strip()


def compared(trees: tuple[Path, Path], bag: Path, job: str, options: Any) -> dict[str, Any]:
    """CPU seconds of both, in turns; the first round of each only warms up."""
    rounds = options.rounds // 3 if job == CONVERT else options.rounds
    old, new = (Version(tree, bag) for tree in trees)
    first, *pairs = [(old.does(job), new.does(job)) for _ in range(rounds + 1)]
    for version in (old, new):
        version.process.communicate(timeout=60)
    cpu = {name: [pair[side][0] for pair in pairs] for side, name in enumerate(("old", "new"))}
    facts: dict[str, Any] = {
        name: {
            "cpu_s_least": round(min(values), 4),
            "cpu_s_median": round(statistics.median(values), 4),
            "times_real_time_by_cpu_of_one_core": round(options.seconds / min(values), 1),
            "highest_mib_of_first_and_all": [round(p[side][1], 1) for p in (first, pairs[-1])],
        }
        for side, (name, values) in enumerate(cpu.items())
    }
    facts["new_to_old_least"] = round(min(cpu["new"]) / min(cpu["old"]), 3)
    ratios = [new / old for old, new in zip(cpu["old"], cpu["new"], strict=True)]
    facts["new_to_old_median_of_pairs"] = round(statistics.median(ratios), 3)
    return facts


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=Path, help="worktree of the other commit")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the bag")
    parser.add_argument("--rounds", type=int, default=20, help="of replay; of conversion a third")
    jobs = (REPLAY, ALL, CONVERT)
    parser.add_argument("--jobs", nargs="+", default=jobs, choices=jobs)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "reading.json")
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    document = settings_facts({"seconds": options.seconds, "rounds": options.rounds})
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        bag = make_bag(Path(place) / "bag", options.seconds)
        trees = options.old.resolve(), HERE.parent
        document["commits"] = dict(zip(("old", "new"), map(commit, trees), strict=True))
        for job in options.jobs:
            found = compared(trees, bag, job, options)
            document.setdefault("figures", {})[job] = found
            document["load_average_after"] = load_now()
            options.out.write_text(json.dumps(document, indent=1, default=str) + "\n")
            print(job, json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
