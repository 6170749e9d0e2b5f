#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The operator's page beside a control stream: stop pressed -> commands stand still; jitter; picture rate.

Real processes: loopback robot with three cameras of 640x480 at 25 Hz, control_node, console_node and a headless
Chromium with the page open. A stop is a key press in the browser while the arms move; its end is the arrival of
the last command that differs from the one before. Jitter is the spacing of control ticks (written by control_node
itself) without console, with one that nobody looks at, and with one that a program looks at as a browser on another
computer would (snapshots, and pictures of three cameras at up to 30 Hz).

    python benchmarks/bench_console.py --out benchmarks/results/console.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import RESULTS, ROOT, machine, write

sys.path.insert(
    0, str(ROOT / "test" / "ros")
)  # the processes, the probe and the browser are the tests'

from browser import Browser
from control_rig import Rig, isolate, node_command, wait_until

isolate()

from adamoe_ros.msg import ControlStatus  # noqa: E402

PROFILE = """
extends: aloha_sim
name: bench
use_sim_time: false
arms:
  left: {state: {timeout: 1.0}}
  right: {state: {timeout: 1.0}}
watchdogs: {policy: 5.0, chunk: 5.0}
"""


PARTS = ("without", "nobody_looks", "looked_at")
LOOKER = """
import json, sys, threading, time
from collections import Counter
from pathlib import Path
from websockets.sync.client import connect
url, seconds, out = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
hello, counts, ending = json.dumps({"robot": "/", "view": "raw"}), Counter(), threading.Event()
def live():
    with connect(url + "live") as line:
        line.send(hello)
        while not ending.is_set():
            line.recv(30)
threading.Thread(target=live, daemon=True).start()
with connect(url + "pictures") as line:
    line.send(hello)
    line.recv(30)
    Path(f"{out}.begun").touch()
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        counts[line.recv(30)[0]] += 1
ending.set()
out.write_text(json.dumps({str(k): round(v / seconds, 1) for k, v in sorted(counts.items())}))
"""


@contextmanager
def robot(folder: Path, **control: Any) -> Iterator[Rig]:
    profile = folder / "bench.yaml"
    profile.write_text(PROFILE)
    with Rig(folder, str(profile), loopback={"cameras": True}, **control) as rig:
        rig.holding()
        yield rig


def start_console(rig: Rig) -> str:
    """The page's address."""
    parameters = {"robot": rig.folder / "bench.yaml", "port": 0, "picture_rate": 30.0}
    module = "adamoe_ros.ros.console.console_node"
    console = rig.start("console", node_command(module, "ConsoleNode", parameters))
    wait_until(lambda: "http://" in console.text, lambda: console.text)
    return "http://" + console.text.split("http://")[-1].split()[0]


def stops(trials: int) -> dict[str, Any]:
    """Key pressed in the browser -> last command that changed has arrived, ms."""
    with (
        tempfile.TemporaryDirectory() as name,
        robot(Path(name)) as rig,
        Browser(Path(name) / "browser", start_console(rig)) as browser,
    ):
        browser.wait_for("#mode", "HOLDING")
        times: list[float] = []
        void = 0  # the machine starved before the press: the arms did not move
        while len(times) < trials and void < trials:
            try:
                set_in_motion(rig)
            except AssertionError as error:
                void += 1
                print(f"void: {str(error)[:120]}", flush=True)
                continue
            times.append(one_stop(rig, browser))
    period = 1e3 / rig.profile.command_rate
    return {"trials": len(times), "void": void, **quantiles(times), "period_ms": period}


def set_in_motion(rig: Rig) -> None:
    probe = rig.probe
    rig.settle()
    rig.move(4.0, amplitude=0.3)
    streams = list(probe.commands.values())
    probe.wait(lambda: all(len(samples) > 30 for samples in streams), "the arms to move", 10.0)
    assert probe.status.mode == ControlStatus.RUNNING, "the arms do not move any more"


def one_stop(rig: Rig, browser: Browser) -> float:
    """ms; the arms move."""
    probe, streams = rig.probe, list(rig.probe.commands.values())
    pressed = time.monotonic()
    browser.press("Escape", 27)
    probe.wait_mode(ControlStatus.ESTOP)
    for samples in streams:
        probe.wait_quiet(samples, 0.3)
    browser.wait_for("#mode", "STOPPED")
    browser.value("document.querySelector('#let-out').click()")
    browser.wait_for("#toast", "button is out")
    browser.value("document.querySelector('#reset').click()")
    browser.wait_for("#mode", "HOLDING")
    return max(last_change(samples, pressed) for samples in streams)


def last_change(samples: list[Any], pressed: float) -> float:
    """ms from the press to the arrival of the last command that is another than the one before."""
    arrivals = [
        new.at
        for old, new in itertools.pairwise(samples)
        if pressed < new.at
        and np.abs(new.values - old.values).max() > 1e-9
        and new.at < pressed + 5.0
    ]
    return 1e3 * (max(arrivals, default=pressed) - pressed)


def jitter(seconds: float, rounds: int) -> dict[str, Any]:
    """Spacing of ticks in ms, |deviation| from the period, and what the console costs.

    In turns: what the machine itself does to a control stream changes from minute to minute.
    """
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for part in PARTS:
            runs.setdefault(part, []).append(one_part(part, seconds))
    shares = ("p50_ms", "p95_ms", "p99_ms")
    medians = {
        part: {share: float(np.median([run[share] for run in made])) for share in shares}
        for part, made in runs.items()
    }
    return {"median_of_runs": medians, "runs": runs}


def one_part(part: str, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log, pictures = folder / "ticks.npy", folder / "pictures"
        with robot(folder, tick_log=str(log)) as rig:
            url = "" if part == "without" else start_console(rig)
            if part == "looked_at":
                words = [sys.executable, "-c", LOOKER, url.replace("http", "ws"), str(seconds)]
                looker = subprocess.Popen([*words, str(pictures)])
                wait_until(lambda: Path(f"{pictures}.begun").exists(), "the looker to begin")
            used, begun = cpu_seconds(rig), time.monotonic()
            before = int(rig.probe.status.missed_ticks)
            time.sleep(seconds)
            took = time.monotonic() - begun
            share = (cpu_seconds(rig) - used) / took
            if part == "looked_at":
                looker.wait(60.0)
            missed = int(rig.probe.status.missed_ticks) - before
        ticks = np.load(log)["time"][-round(seconds * rig.profile.command_rate * 0.9) :]
        off = 1e3 * np.abs(np.diff(ticks) - 1.0 / rig.profile.command_rate)
        found = {**quantiles(list(off)), "missed_ticks": missed, "load": os.getloadavg()[0]}
        if part != "without":
            found["console_cores"] = round(share, 3)
        if part == "looked_at":
            found["pictures_hz"] = json.loads(pictures.read_text())
        print(part, found, flush=True)
        return found


def cpu_seconds(rig: Rig) -> float:
    """That the console's process has used; 0 without one."""
    console = rig.processes.get("console")
    times = psutil.Process(console.child.pid).cpu_times() if console else None
    return times.user + times.system if times else 0.0


def quantiles(values: list[float]) -> dict[str, float]:
    return {
        f"p{share:g}_ms": round(float(np.percentile(values, share)), 2)
        for share in (50, 95, 99, 100)
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "console.json")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=7, help="of the three parts, in turns")
    options = parser.parse_args()
    document: dict[str, Any] = {"machine": machine(), "load_before": os.getloadavg()}
    if options.trials:
        document["stop"] = stops(options.trials)
        print(document["stop"], flush=True)
    elif options.out.exists():  # of the run before, with its machine and commit
        before = json.loads(options.out.read_text())
        document["stop"] = {"machine": before["machine"], **before["stop"]}
    document["jitter"] = jitter(options.seconds, options.rounds)
    document["load_after"] = os.getloadavg()
    write(options.out, document)


if __name__ == "__main__":
    main()
