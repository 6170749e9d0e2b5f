#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tick spacing of control_node, and cancel-to-hold latency, while a policy infers on its two cores.

Real processes: control_node, a loopback robot, and the load. Spacing is written by the node itself;
latency is the header stamp of the first standing command minus the time the HOLD was published: at
most one control period, and the transport of one message. The load is the shipped checkpoint inferring
on as many threads as there are cores, without a pause: more than policy_node takes, which rests between
chunks. ``load`` infers with the priority of everybody else, ``nice`` stands back as policy_node's inference
does with ``inference_nice: 10``.

    python benchmarks/bench_control_jitter.py --out benchmarks/results/control_jitter.json

``--parts`` runs some of the configurations only; the others' figures in the file stay. Each notes its
own commit, load average and time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, ROOT, machine, write

sys.path.insert(0, str(ROOT / "test" / "ros"))  # the processes and the probe are the tests'

from control_rig import Rig, isolate, wait_until

PRIORITY = 80
LOAD = """
import os, sys
os.nice(int(sys.argv[2]))
from pathlib import Path
import torch
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.runtime import PolicyRuntime
torch.set_num_threads(os.cpu_count())
runtime = PolicyRuntime(read_checkpoint(Path(sys.argv[1])), "cpu", engine="auto")
print("infers", flush=True)
while True:
    print(runtime.warm_up(), flush=True)
"""
CHECKPOINT = ROOT / "checkpoints" / "demo"
LOADS = {"": None, "-load": 0, "-nice": 10}
PARTS = {
    f"{rate:.0f}{kind}{load}": (rate, kind == "-fifo", LOADS[load])
    for load in LOADS
    for kind in ("", "-fifo")
    for rate in (100.0, 200.0)
}


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


def measure(name: str, seconds: float, cancels: int) -> dict[str, Any]:
    """One configuration of ``PARTS``."""
    rate, fifo, nice = PARTS[name]
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        log = Path(folder) / "ticks.npy"
        inferences = stack.enter_context(policy(Path(folder), nice)) if nice is not None else None
        control: dict[str, Any] = {
            "rate": rate,
            "tick_log": log,
            "realtime_priority": PRIORITY if fifo else 0,
        }
        with Rig(Path(folder), lock_memory=fifo, **control) as rig:
            rig.holding()
            time.sleep(seconds)
            latencies = [cancel_latency(rig) for _ in range(cancels)]
            refused = "SCHED_FIFO" in rig.processes["control"].text
        times = np.load(log)["time"]
        taken = inferences() if inferences else None
    settled = times[times > times[0] + 1.0]  # imports of the other processes are over
    result: dict[str, Any] = {"rate_hz": rate, "fifo": fifo, "load": nice is not None}
    result |= {"load_nice": nice, "fifo_refused": refused}
    result |= {"load_average_before": before, **noted(), **spacing(settled, 1.0 / rate)}
    result["cancel_to_hold"] = latency_figures(np.array(latencies), rate)
    if taken is not None:
        result["inference_s"] = {"p50": float(np.median(taken)), "threads": os.cpu_count()}
    return result


@contextmanager
def policy(folder: Path, nice: int) -> Iterator[Callable[[], list[float]]]:
    """A policy that infers without a pause; gives the function that reads how long inferences took."""
    log = folder / "policy.log"
    command = [sys.executable, "-c", LOAD, str(CHECKPOINT), str(nice)]
    with log.open("w") as stream:
        child = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        wait_until(lambda: log.read_text().count("\n") > 1, lambda: log.read_text())
        yield lambda: [float(line) for line in log.read_text().splitlines()[1:]]
    finally:
        child.kill()
        child.wait()


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


def noted() -> dict[str, str]:
    """Commit and time of a figure."""
    facts = machine()
    return {"commit": facts["commit"], "date": facts["date"]}


def main() -> int:
    """Measure, print lines, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "control_jitter.json")
    parser.add_argument("--seconds", type=float, default=20.0, help="per configuration")
    parser.add_argument("--cancels", type=int, default=25, help="per configuration")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    isolate()
    old = json.loads(options.out.read_text())["results"] if options.out.is_file() else []
    results = {result["part"]: result for result in old if "part" in result}
    load = f"checkpoint {CHECKPOINT.name} inferring on every core without a pause"
    document: dict[str, Any] = {"machine": machine(), "load": load}
    for name in options.parts:
        results[name] = {"part": name, **measure(name, options.seconds, options.cancels)}
        print(json.dumps(results[name]), flush=True)
        document["results"] = [results[part] for part in PARTS if part in results]
        write(options.out, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
