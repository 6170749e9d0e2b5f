#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The operator's page beside a control stream: stop pressed -> commands stand still; jitter; picture rate.

Real processes: loopback robot with three cameras of 640x480 at 25 Hz, control_node, console_node and a headless
Chromium with the page open. A stop is a key press in the browser while the arms move; its end is the arrival of
the last command that differs from the one before. Jitter is the spacing of control ticks (written by control_node
itself) without console, with one that nobody looks at, and with the page open.

    python benchmarks/bench_console.py --out benchmarks/results/console.json
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
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
        times = [one_stop(rig, browser) for _ in range(trials)]
    return {"trials": trials, **quantiles(times), "period_ms": 1e3 / rig.profile.command_rate}


def one_stop(rig: Rig, browser: Browser) -> float:
    probe = rig.probe
    rig.settle()
    rig.move(4.0, amplitude=0.3)
    streams = list(probe.commands.values())
    probe.wait(lambda: all(len(samples) > 30 for samples in streams), "the arms to move")
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


def jitter(seconds: float) -> dict[str, Any]:
    """Spacing of ticks in ms, |deviation| from the period, in three configurations."""
    found: dict[str, Any] = {}
    for part in ("without", "nobody_looks", "page_open"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            log = folder / "ticks.npy"
            with robot(folder, tick_log=str(log)) as rig:
                url = start_console(rig) if part != "without" else ""
                if part == "page_open":
                    with Browser(folder / "browser", url) as browser:
                        browser.wait_for("#mode", "HOLDING")
                        time.sleep(seconds)
                        rates = browser.text("#cameras")
                else:
                    time.sleep(seconds)
                    rates = ""
                status = rig.probe.status
            ticks = np.load(log)[-round(seconds * rig.profile.command_rate * 0.9) :]
        off = 1e3 * np.abs(np.diff(ticks) - 1.0 / rig.profile.command_rate)
        found[part] = {
            **quantiles(list(off)),
            "missed_ticks": int(status.missed_ticks),
            "load": os.getloadavg()[0],
            **({"pictures": rates.split()} if rates else {}),
        }
        print(part, found[part], flush=True)
    return found


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
    options = parser.parse_args()
    document: dict[str, Any] = {"machine": machine(), "load_before": os.getloadavg()}
    document["jitter"] = jitter(options.seconds)
    document["stop"] = stops(options.trials)
    document["load_after"] = os.getloadavg()
    print(document["stop"])
    write(options.out, document)


if __name__ == "__main__":
    main()
