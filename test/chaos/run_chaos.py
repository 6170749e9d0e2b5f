#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills, freezes and restarts real processes while arms move, and times what happens to the commands.

    make chaos ARGS="--trials 200"            all kinds
    make chaos ARGS="--trials 20 --busy 2"    beside two processes that do nothing but compute

Times are the observer's (``observer.py``, a process of its own): from the moment before a stop is sent,
or a process is killed, to the last command that still moved. Writes benchmarks/results/chaos.json,
a section for each load; sections of other loads stay. 'make chaos' sets the path to the rigs of test/ros.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, machine, write
from control_rig import isolate, wait_until
from policy_rig import PolicyRig

from adamoe_ros.contract.topics import command_topics
from adamoe_ros.msg import ControlStatus

OBSERVER = Path(__file__).with_name("observer.py")
STILL = 1e-6  # rad between two commands of arms at rest
QUIET = 0.5  # s without a moving command: the arms rest
STATES = ("alive", "frozen", "killed", "restarting")
START = 120.0


class Chaos:
    """One rig with an observer; each trial returns s, or None where nothing came of it.

    Args:
        folder: of logs.
    """

    def __init__(self, folder: Path) -> None:
        self.rig = PolicyRig(folder, {"start_ramp": False})
        self._file = folder / "observed.txt"
        self._folder = folder

    def __enter__(self) -> Chaos:
        with ExitStack() as stack:
            stack.enter_context(self.rig)
            topics = [topic.target.topic for topic in command_topics(self.rig.profile)]
            words = [sys.executable, str(OBSERVER), str(self._file), *topics]
            observer = stack.enter_context(subprocess.Popen(words))
            stack.callback(observer.terminate)
            wait_until(lambda: self.rig.policy_state("active"), lambda: self.rig.policy_log, START)
            self.rig.wait_active()
            wait_until(lambda: self._file.exists() and self._file.stat().st_size, "observer", START)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    # --- what the observer saw ------------------------------------------------------------------

    def _moving(self, since: float) -> list[float]:
        """Times of commands that differ from the one before on their topic."""
        before: dict[str, np.ndarray] = {}
        times = []
        for line in self._tail():
            at, place, *values = line.split()
            now = np.array(values, float)
            old = before.get(place)
            if float(at) > since and old is not None and np.abs(now - old).max() > STILL:
                times.append(float(at))
            before[place] = now
        return times

    def _tail(self) -> list[str]:
        """The last seconds of what was observed, whole lines only."""
        with self._file.open("rb") as stream:
            stream.seek(max(0, self._file.stat().st_size - 2**20))
            lines = stream.read().decode().splitlines(keepends=True)
        return [line for line in lines[1:] if line.endswith("\n")]

    def _last_moving(self, begin: float) -> float:
        """s from ``begin`` to the last command that moved, once the arms rest."""

        def rests() -> bool:
            now = time.monotonic()
            return now - begin > QUIET and not self._moving(now - QUIET)

        wait_until(rests, "the arms to rest", START)
        return max((at - begin for at in self._moving(begin)), default=0.0)

    def _move(self) -> None:
        rig = self.rig
        rig.settle_policy()
        rig.running()
        begin = time.monotonic()
        wait_until(lambda: len(self._moving(begin)) > 5, "the arms to move", START)

    def _policy(self) -> subprocess.Popen[bytes]:
        return self.rig.processes["policy"].child

    def _kill(self, name: str) -> None:
        child = self.rig.processes[name].child
        child.kill()
        child.wait()

    def _start_policy(self) -> None:
        self.rig.policy_statuses.clear()
        self.rig.start("policy", self.rig.policy_command)

    def _recover(self, state: str) -> None:
        if state == "frozen":
            os.kill(self._policy().pid, signal.SIGCONT)
            self._kill("policy")
        if state in ("frozen", "killed"):
            self._start_policy()

    # --- trials ---------------------------------------------------------------------------------

    def stop(self, way: str, state: str) -> float:
        """Emergency stop -> last moving command."""
        self._move()
        if state == "frozen":
            os.kill(self._policy().pid, signal.SIGSTOP)
        elif state != "alive":
            self._kill("policy")
        if state == "restarting":
            self._start_policy()
        begin = time.monotonic()
        if way == "topic":
            self.rig.probe.emergency_stop()
        else:
            assert self.rig.probe.trigger("emergency_stop").success
        took = self._last_moving(begin)
        self.rig.probe.wait_mode(ControlStatus.ESTOP)
        self._recover(state)
        return took

    def policy_killed(self) -> float:
        """Kill -> last moving command."""
        self._move()
        begin = time.monotonic()
        self._kill("policy")
        took = self._last_moving(begin)
        self._start_policy()
        return took

    def policy_restarted(self) -> float:
        """Start -> all inputs heard."""
        self._kill("policy")
        begin = time.monotonic()
        self._start_policy()
        wait_until(
            lambda: self.rig.policy_state("active") and not self.rig.policy_statuses[-1].missing,
            lambda: self.rig.policy_log,
            START,
        )
        return time.monotonic() - begin

    def policy_paused(self) -> float:
        """End of a pause of 3 s -> all inputs heard."""
        os.kill(self._policy().pid, signal.SIGSTOP)
        time.sleep(3.0)
        self.rig.policy_statuses.clear()
        begin = time.monotonic()
        os.kill(self._policy().pid, signal.SIGCONT)
        wait_until(
            lambda: bool(self.rig.policy_statuses) and not self.rig.policy_statuses[-1].missing,
            lambda: self.rig.policy_log,
            START,
        )
        return time.monotonic() - begin

    def driver_killed(self) -> float:
        """Kill -> last moving command."""
        self._move()
        begin = time.monotonic()
        self._kill("loopback")
        took = self._last_moving(begin)
        self.rig.start("loopback", self.rig._commands["loopback"])
        return took

    def trials(self) -> dict[str, tuple[Callable[[], float], float | None]]:
        """Name -> (trial, s that it may take at most; None: only measured)."""
        profile = self.rig.profile
        period = 1.0 / profile.command_rate
        stop = 2.0 * period + TRANSPORT
        stale = max(arm.state.timeout for arm in profile.arms.values())
        made: dict[str, tuple[Callable[[], float], float | None]] = {
            f"emergency stop by {way}, policy {state}": (
                lambda way=way, state=state: self.stop(way, state),
                stop,
            )
            for way in ("topic", "service")
            for state in STATES
        }
        # a hold brakes within the limits, so the arms still move for a while
        made["policy killed to rest"] = (self.policy_killed, None)
        made["driver killed to rest"] = (self.driver_killed, stale + period + BRAKING)
        made["policy restarted hears"] = (self.policy_restarted, None)
        made["policy paused for 3 s hears"] = (self.policy_paused, None)
        return made


TRANSPORT = 0.05  # s
BRAKING = 0.5  # s


@contextmanager
def burning(count: int) -> Iterator[None]:
    """Processes that compute, as inference beside control would."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def figures(times: list[float], lost: list[str], bound: float | None) -> dict[str, Any]:
    """Percentiles of one kind of trial."""
    found: dict[str, Any] = {"trials": len(times) + len(lost), "failed": lost, "bound_s": bound}
    if times:
        p50, p99 = np.percentile(times, [50, 99])
        found |= {"p50_s": float(p50), "p99_s": float(p99), "max_s": max(times)}
        if bound is not None:
            found["beyond_bound"] = sum(value > bound for value in times)
    return found


def main() -> int:
    """All kinds in turn, a line each, JSON; 1 where a trial failed or was beyond its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5, help="of each kind")
    parser.add_argument("--busy", type=int, default=0, help="processes that compute beside it")
    parser.add_argument("--only", default="", help="kinds whose name contains this")
    parser.add_argument("--out", type=Path, default=RESULTS / "chaos.json")
    options = parser.parse_args()
    isolate()
    before = machine()
    results: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        burning(options.busy),
        Chaos(Path(folder)) as chaos,
    ):
        for name, (trial, bound) in chaos.trials().items():
            if options.only not in name:
                continue
            times, lost = [], []
            for _ in range(options.trials):
                try:
                    times.append(trial())
                except AssertionError as error:
                    lost.append(str(error)[:300])
            results[name] = figures(times, lost, bound)
            print(f"{name}: {results[name]}", flush=True)
    load = f"busy with {options.busy}" if options.busy else "quiet"
    old = json.loads(options.out.read_text()) if options.out.exists() else {"loads": {}}
    loads = {**old["loads"], load: {"machine": before, "results": results}}
    settings = {"control_period_s": 1.0 / chaos.rig.profile.command_rate, "transport_s": TRANSPORT}
    settings |= {"policy_watchdog_s": chaos.rig.profile.watchdogs.policy}
    write(options.out, {"settings": settings, "loads": loads})
    bad = [key for key, found in results.items() if found["failed"] or found.get("beyond_bound")]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
