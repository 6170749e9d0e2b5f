#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tick spacing of control_node, and cancel-to-hold latency, while a policy load shares its two cores.

Real processes: control_node, a loopback robot, and the load. Spacing is written by the node itself;
latency is the header stamp of the first standing command minus the time the HOLD was published.
The load multiplies matrices with torch on as many threads as there are cores, without a pause: more
than a policy takes, which rests between chunks.

    python benchmarks/bench_control_jitter.py --out benchmarks/results/control_jitter.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "test" / "ros"))  # the processes and the probe are the tests'

from control_rig import Rig, isolate  # noqa: E402

PRIORITY = 80
LOAD = """
import torch
a = torch.rand(1024, 1024)
while True:
    a = torch.nn.functional.normalize(a @ a)
"""


def spacing(times: np.ndarray, period: float) -> dict[str, float | int]:
    """Figures of tick times (s)."""
    gaps = np.diff(times)
    late = np.abs(gaps - period) * 1e3
    missed = np.maximum(np.round(gaps / period) - 1, 0)[gaps > 1.5 * period].sum()
    return {
        "ticks": len(times),
        "missed_ticks": int(missed),
        "missed_share": float(missed / len(times)),
        "jitter_p50_ms": float(np.quantile(late, 0.5)),
        "jitter_p99_ms": float(np.quantile(late, 0.99)),
        "jitter_p999_ms": float(np.quantile(late, 0.999)),
        "jitter_max_ms": float(late.max()),
    }


def measure(rate: float, fifo: bool, seconds: float, cancels: int, load: bool) -> dict[str, Any]:
    """One configuration."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ticks.npy"
        control = {"rate": rate, "tick_log": log, "realtime_priority": PRIORITY if fifo else 0}
        children = [subprocess.Popen([sys.executable, "-c", LOAD])] if load else []
        try:
            with Rig(Path(folder), lock_memory=fifo, **control) as rig:
                rig.holding()
                time.sleep(seconds)
                latencies = [cancel_latency(rig) for _ in range(cancels)]
                refused = "SCHED_FIFO" in rig.processes["control"].text
        finally:
            for child in children:
                child.kill()
                child.wait()
        times = np.load(log)
    settled = times[times > times[0] + 1.0]  # imports of the other processes are over
    result: dict[str, Any] = {"rate_hz": rate, "fifo": fifo, "load": load, "fifo_refused": refused}
    result |= spacing(settled, 1.0 / rate)
    result["cancel_to_hold"] = latency_figures(np.array(latencies), rate)
    return result


def cancel_latency(rig: Rig) -> float:
    """s from publishing HOLD to the stamp of the first command that stands still."""
    samples = rig.probe.commands["follower_left/joint_commands"]
    rig.settle()
    rig.move(4.0, amplitude=0.5)
    rig.probe.wait(
        lambda: len(samples) > 20 and samples[-1].values[0] != samples[-5].values[0], "speed"
    )
    sent = rig.probe.now_ns()
    rig.probe.hold("cancelled")
    end = time.monotonic() + 0.5
    rig.probe.wait(lambda: samples[-1].at > end, "held commands")
    held = samples[-1].values
    moving = [sample.stamp_ns for sample in samples if (sample.values != held).any()]
    first = next(s.stamp_ns for s in samples if s.stamp_ns > max([*moving, sent]))
    return (first - sent) / 1e9


def latency_figures(latencies: np.ndarray, rate: float) -> dict[str, float | int]:
    """Quantiles in ms, and how many periods the worst took."""
    if not len(latencies):
        return {"cancels": 0}
    return {
        "cancels": len(latencies),
        "p50_ms": float(np.quantile(latencies, 0.5) * 1e3),
        "p99_ms": float(np.quantile(latencies, 0.99) * 1e3),
        "max_ms": float(latencies.max() * 1e3),
        "period_ms": 1e3 / rate,
    }


def machine() -> dict[str, Any]:
    """What it was run on."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_before": os.getloadavg()[0],
        "commit": commit.stdout.strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def main() -> int:
    """Measure every combination, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/control_jitter.json")
    parser.add_argument("--seconds", type=float, default=20.0, help="per configuration")
    parser.add_argument("--cancels", type=int, default=20, help="per configuration")
    options = parser.parse_args()
    isolate()
    before = machine()
    results = []
    for load in (False, True):
        for fifo in (False, True):
            for rate in (100.0, 200.0):
                results.append(measure(rate, fifo, options.seconds, options.cancels, load))
                print(json.dumps(results[-1]), flush=True)
    document = {"machine": before, "load": "torch matmul on every core", "results": results}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
