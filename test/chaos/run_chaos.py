#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills, freezes and restarts real processes while arms move, and times what happens to the commands.

    make chaos ARGS="--trials 200"            all kinds
    make chaos ARGS="--trials 20 --busy 2"    beside two processes that do nothing but compute
    make chaos ARGS="--trials 200 --rigs 3"   three robots side by side, each in a ROS domain of its own

Times are the observer's (``observer.py``, a process of its own): from the moment before a stop is sent,
or a process is killed, to the last command that still moved. Writes benchmarks/results/chaos.json,
a section for each load; sections of other loads stay. It is written after every kind: an interruption
loses nothing, and --resume goes on with the kinds that are not there yet. Robots side by side are load to each
other: the report says how many there were. 'make chaos' sets the path to the rigs of test/ros.
"""

from __future__ import annotations

import argparse
import bisect
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, machine, write
from control_rig import isolate, wait_until
from policy_rig import PolicyRig
from std_srvs.srv import Trigger

from adamoe_ros.contract.topics import command_topics
from adamoe_ros.msg import ControlStatus
from adamoe_ros.ros import names

# measured when the policy comes back after another kind of trial
RESTARTED, PAUSED = "policy restarted hears", "policy paused for 3 s hears"
PAUSE = 3.0  # s
LOOK = 2.0  # s between looks at what the rigs have found
OBSERVER = Path(__file__).with_name("observer.py")
STILL = 1e-6  # rad between two commands of arms at rest
QUIET = 0.5  # s without a moving command: the arms rest
STATES = ("alive", "frozen", "killed", "restarting")
START = 120.0


class Observed:
    """Commands that the observer has written so far; each line is read once.

    Args:
        path: of its file; it may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._place = path, 0
        self._before: dict[str, np.ndarray] = {}
        self._moved: list[float] = []

    def moving(self, since: float) -> list[float]:
        """Times after ``since`` of commands that differ from the one before on their topic."""
        self._read_on()
        return self._moved[bisect.bisect_right(self._moved, since) :]

    def _read_on(self) -> None:
        with self._path.open("rb") as stream:
            stream.seek(self._place)
            text = stream.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._place += len(whole)
        for line in whole.decode().splitlines():
            at, topic, *values = line.split()
            now = np.array(values, float)
            old = self._before.get(topic)
            if old is not None and np.abs(now - old).max() > STILL:
                self._moved.append(float(at))
            self._before[topic] = now


class Chaos:
    """One rig with an observer; each trial returns s, or None where nothing came of it.

    Args:
        folder: of logs.
    """

    def __init__(self, folder: Path) -> None:
        self.rig = PolicyRig(
            folder
        )  # with the ramp, as robots: a network's next chunk may begin far away
        self.also: dict[str, float] = {}  # what the last trial measured besides, by kind
        self._file = folder / "observed.txt"
        self._observed = Observed(self._file)
        self._random = random.Random(0)

    def __enter__(self) -> Chaos:
        with ExitStack() as stack:
            stack.enter_context(self.rig)
            topics = [topic.target.topic for topic in command_topics(self.rig.profile)]
            words = [sys.executable, str(OBSERVER), str(self._file), *topics]
            observer = stack.enter_context(subprocess.Popen(words))
            stack.callback(observer.terminate)
            wait_until(lambda: self.rig.policy_state("active"), lambda: self.rig.policy_log, START)
            self.rig.wait_active()
            probe = self.rig.probe  # made before it is needed, as doc/control_node.md says
            self._stopper = probe.in_executor(
                lambda: probe.node.create_client(Trigger, names.EMERGENCY_STOP)
            )
            assert self._stopper.wait_for_service(START)
            wait_until(lambda: self._file.exists() and self._file.stat().st_size, "observer", START)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    # --- what the observer saw ------------------------------------------------------------------

    def _last_moving(self, begin: float) -> float:
        """s from ``begin`` to the last command that moved, once the arms rest."""

        def rests() -> bool:
            now = time.monotonic()
            return now - begin > QUIET and not self._observed.moving(now - QUIET)

        wait_until(rests, "the arms to rest", START)
        return max((at - begin for at in self._observed.moving(begin)), default=0.0)

    def _move(self) -> None:
        rig = self.rig
        rig.settle_policy()
        rig.running()
        begin = time.monotonic()
        wait_until(lambda: len(self._observed.moving(begin)) > 5, "the arms to move", START)
        # what was waited for is a command: the fault comes at any moment between two of them
        time.sleep(self._random.uniform(0.0, 1.0 / rig.profile.command_rate))

    def _policy(self) -> subprocess.Popen[bytes]:
        return self.rig.processes["policy"].child

    def _kill(self, name: str) -> None:
        child = self.rig.processes[name].child
        child.kill()
        child.wait()

    def _start_policy(self) -> None:
        self.rig.policy_statuses.clear()
        self.rig.start("policy", self.rig.policy_command)

    def _recover(self, state: str, frozen_at: float) -> None:
        if state == "frozen":
            time.sleep(max(0.0, frozen_at + PAUSE - time.monotonic()))
            self._resume()
        elif state == "killed":
            self.also[RESTARTED] = self._restart_policy()

    def heal(self) -> None:
        """After a trial that failed: every process runs, whatever became of it."""
        rig = self.rig
        if self._policy().poll() is None:
            os.kill(self._policy().pid, signal.SIGCONT)
        else:
            self._start_policy()
        if rig.processes["loopback"].child.poll() is not None:
            rig.start("loopback", rig._commands["loopback"])

    def _resume(self) -> None:
        """End of a pause -> all inputs heard."""
        self.rig.policy_statuses.clear()
        begin = time.monotonic()
        os.kill(self._policy().pid, signal.SIGCONT)
        statuses = self.rig.policy_statuses
        wait_until(
            lambda: bool(statuses) and not statuses[-1].missing, lambda: self.rig.policy_log, START
        )
        self.also[PAUSED] = time.monotonic() - begin

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
        frozen_at = begin = time.monotonic()
        if way == "topic":
            self.rig.probe.emergency_stop()
        else:
            answer = self._stopper.call_async(Trigger.Request())
            wait_until(answer.done, "the stop's answer", START)
            assert answer.result().success
        took = self._last_moving(begin)
        self.rig.probe.wait_mode(ControlStatus.ESTOP)
        self._recover(state, frozen_at)
        return took

    def policy_killed(self) -> float:
        """Kill -> last moving command."""
        self._move()
        begin = time.monotonic()
        self._kill("policy")
        took = self._last_moving(begin)
        self.also[RESTARTED] = self._restart_policy()
        return took

    def _restart_policy(self) -> float:
        """Start -> all inputs heard, s."""
        begin = time.monotonic()
        self._start_policy()
        wait_until(
            lambda: self.rig.policy_state("active") and not self.rig.policy_statuses[-1].missing,
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


class Kind:
    """What came of the trials of one kind: s of those that counted, lines of the others."""

    def __init__(self, bound: float | None) -> None:
        self.bound, self.times, self.failed = bound, list[float](), list[str]()

    def add(self, other: dict[str, Any]) -> None:
        """Of another rig."""
        self.times += other["times"]
        self.failed += other["failed"]

    @property
    def figures(self) -> dict[str, Any]:
        """Percentiles, and how many were beyond the bound."""
        times, bound = self.times, self.bound
        trials = len(times) + len(self.failed)
        found: dict[str, Any] = {"trials": trials, "failed": self.failed, "bound_s": bound}
        if times:
            p50, p99 = np.percentile(times, [50, 99])
            found |= {"p50_s": float(p50), "p99_s": float(p99), "max_s": max(times)}
            if bound is not None:
                found["beyond_bound"] = sum(value > bound for value in times)
        return found


def run_rig(options: argparse.Namespace) -> None:
    """All kinds on one rig, in turn; ``options.raw`` is written anew after each."""
    kinds: dict[str, Kind] = {}
    with tempfile.TemporaryDirectory() as folder, Chaos(Path(folder)) as chaos:
        for name, (trial, bound) in chaos.trials().items():
            if options.only not in name or name in options.skip:
                continue
            kind = kinds.setdefault(name, Kind(bound))
            for _ in range(options.trials):
                chaos.also = {}
                try:
                    kind.times.append(trial())
                except AssertionError as error:
                    kind.failed.append(str(error)[-1500:] or traceback.format_exc()[-600:])
                    chaos.heal()
                for other, seconds in chaos.also.items():
                    kinds.setdefault(other, Kind(None)).times.append(seconds)
            draft = options.raw.with_suffix(".draft")
            draft.write_text(json.dumps({key: vars(kind) for key, kind in kinds.items()}))
            draft.replace(options.raw)


def gathered(files: list[Path]) -> dict[str, Kind]:
    """Kinds that at least one rig has done."""
    kinds: dict[str, Kind] = {}
    for path in filter(Path.exists, files):
        for name, found in json.loads(path.read_text()).items():
            kinds.setdefault(name, Kind(found["bound"])).add(found)
    return kinds


class Report:
    """The JSON file: this load's section is written whenever there is more.

    Args:
        options: of the command.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._path = options.out
        self._load = f"busy with {options.busy}" if options.busy else "quiet"
        self._document = json.loads(self._path.read_text()) if self._path.exists() else {}
        before = self._document.get("loads", {}).get(self._load, {}).get("results", {})
        self.results: dict[str, Any] = dict(before) if options.resume or options.only else {}
        self._about = {"machine": machine()}
        # of each kind: others of this section may be of another run
        taken = {key: self._about["machine"][key] for key in ("commit", "date")}
        self._run = {"rigs_side_by_side": options.rigs, **taken}

    def done(self, trials: int) -> list[str]:
        """Kinds of which there are enough."""
        return [name for name, found in self.results.items() if found["trials"] >= trials]

    def take(self, kinds: dict[str, Kind]) -> None:
        """Write what there is."""
        made = {name: {**kind.figures, **self._run} for name, kind in kinds.items()}
        if all(self.results.get(name) == found for name, found in made.items()):
            return
        self.results |= made
        loads = {
            **self._document.get("loads", {}),
            self._load: {**self._about, "results": self.results},
        }
        settings = {"transport_s": TRANSPORT, "pause_s": PAUSE}
        write(self._path, {"settings": settings, "loads": loads})


def main() -> int:
    """All kinds, JSON; 1 where a trial failed or was beyond its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5, help="of each kind, all rigs together")
    parser.add_argument("--rigs", type=int, default=1, help="robots side by side")
    parser.add_argument("--busy", type=int, default=0, help="processes that compute beside it")
    parser.add_argument("--only", default="", help="kinds whose name contains this")
    parser.add_argument("--resume", action="store_true", help="leave out kinds that are done")
    parser.add_argument("--out", type=Path, default=RESULTS / "chaos.json")
    parser.add_argument("--raw", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--skip", action="append", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the rigs' processes, too
    isolate()
    if options.raw:
        run_rig(options)
        return 0
    with tempfile.TemporaryDirectory() as folder, burning(options.busy), ExitStack() as stack:
        return lead(options, Path(folder), stack)


def lead(options: argparse.Namespace, folder: Path, stack: ExitStack) -> int:
    """Start the rigs, gather what they find."""
    report = Report(options)
    skip = report.done(options.trials) if options.resume else []
    each = -(-options.trials // options.rigs)
    words = [sys.executable, __file__, "--trials", str(each), "--only", options.only]
    words += [word for name in skip for word in ("--skip", name)]
    files = [folder / f"{number}.json" for number in range(options.rigs)]
    rigs = []
    for number, file in enumerate(files):
        domain = 10 + (int(os.environ["ROS_DOMAIN_ID"]) - 10 + number) % 90
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
        rigs.append(subprocess.Popen([*words, "--raw", str(file)], env=environment))
        stack.callback(_end, rigs[-1])
    while any(rig.poll() is None for rig in rigs):
        time.sleep(LOOK)
        report.take(gathered(files))
    report.take(kinds := gathered(files))
    for name, kind in kinds.items():
        print(f"{name}: {kind.figures}", flush=True)
    found = report.results.values()
    bad = any(item["failed"] or item.get("beyond_bound") for item in found)
    return int(bad or any(rig.returncode for rig in rigs))


def _end(rig: subprocess.Popen[bytes]) -> None:
    if rig.poll() is None:
        rig.send_signal(signal.SIGTERM)  # a shell that puts us behind lets nobody hear SIGINT
        rig.wait(START)


if __name__ == "__main__":
    sys.exit(main())
