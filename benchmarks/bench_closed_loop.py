#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shipped policy over real ROS 2 nodes: success, latency by stage, command rate, memory.

Runs ``adamoe demo``'s tour, all tasks by turns, one sentence changed half-way, on unseen seeds
(demonstrations start at seed 100000) and condenses its results.

    python benchmarks/bench_closed_loop.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, machine, write

from adamoe_ros.data.recording import Recording, read_recording
from adamoe_ros.evaluation.success import wilson_interval

RUNNING = 2  # ControlStatus.RUNNING


def run(folder: Path, episodes: int, seed: int) -> tuple[dict[str, Any], Recording]:
    """One run of the demo."""
    command = [sys.executable, "-m", "adamoe_ros.cli.entry", "demo", "--no-video"]
    command += ["--episodes", str(episodes), "--seed", str(seed), "--out", str(folder)]
    subprocess.run(command, check=True, timeout=240 * episodes + 120)
    results = json.loads((folder / "results.json").read_text())
    return results, read_recording(folder / "recording.json")


def figures(results: dict[str, Any], recording: Recording) -> dict[str, Any]:
    """What is worth keeping."""
    episodes = results["episodes"]
    low, high = wilson_interval(results["successes"], len(episodes))
    ages = [r.command_age for e in recording.episodes for r in e.control if r.mode == RUNNING]
    known = [age for age in ages if age >= 0]
    return {
        "successes": results["successes"],
        "episodes": len(episodes),
        "wilson_95": [round(low, 4), round(high, 4)],
        "seeds": [episodes[0]["seed"], episodes[-1]["seed"]],
        "by_task": _by_task(episodes),
        "time_to_success_s": [round(e["elapsed"], 2) for e in episodes if e["success"]],
        "latency_s": results["latency"],
        "command_age_s": {q: float(np.percentile(known, q)) for q in (50, 95, 99)},
        "command_rate_hz": float(np.median([e["command_rate"] for e in episodes])),
        "command_jitter_p99_s": float(np.median([e["jitter_p99"] for e in episodes])),
        "missed_ticks": sum(e["missed_ticks"] for e in episodes),
        "holds": sum(e["holds"] for e in episodes),
        "clips": sum(sum(e["clips"].values()) for e in episodes),
        "simulated_per_wall_s": sum(e["elapsed"] for e in episodes)
        / sum(e["wall"] for e in episodes),
        "memory_mib": results["settings"]["memory_mib"],
        "first_camera_frame_s": results["settings"]["first_frame_s"],
    }


def _by_task(episodes: list[dict[str, Any]]) -> dict[str, Any]:
    """Task -> successes, episodes, seeds that failed."""
    found: dict[str, Any] = {}
    for episode in episodes:
        own = found.setdefault(episode["task"], {"successes": 0, "episodes": 0, "failed_seeds": []})
        own["episodes"] += 1
        own["successes"] += bool(episode["success"])
        if not episode["success"]:
            own["failed_seeds"].append(episode["seed"])
    return found


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=5, help="of each task")
    parser.add_argument("--seed", type=int, default=9000)
    parser.add_argument("--out", type=Path, default=RESULTS / "closed_loop.json")
    options = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory() as folder:
        results, recording = run(Path(folder), options.episodes, options.seed)
    settings = {k: v for k, v in results["settings"].items() if k not in ("machine", "checkpoint")}
    document = {
        "machine": before,
        "settings": settings | {"checkpoint": "checkpoints/demo"},
        **figures(results, recording),
    }
    print(json.dumps(document, indent=1))
    write(options.out, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
