# SPDX-License-Identifier: Apache-2.0
"""The control core under everything that can go wrong, for as many ticks as asked, and an observer.

    tools/without_ros.sh .venv/bin/python test/core/control/adversarial_ticks.py 1000000 [seed]

Chunks, joint states, clocks, stops and conflicts come at random, in bursts and with absurd numbers. The
observer has the profile's limits as text and the published positions; it shares no code with the gate.
Prints the counts as JSON; the exit code is 1 at the first command beyond a limit.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.control.core import ControlCore
from adamoe_ros.control.settings import Cause, ControlSettings
from adamoe_ros.control.status import Mode
from adamoe_ros.control.strategies import STRATEGIES

PROFILE = """
name: small
description: two small arms
embodiments: [small]
command_rate: 50.0
arms:
  left: &arm
    state: {topic: left/joint_states}
    command: {topic: left/commands}
    joints:
    - {name: a, limits: {position: [-1.0, 1.5], velocity: 2.0, acceleration: 12.0}}
    - {name: b, limits: {position: [-0.2, 2.0], velocity: 1.0, acceleration: 5.0}}
    home: [0.0, 0.5]
  right:
    <<: *arm
    state: {topic: right/joint_states}
    command: {topic: right/commands}
cameras: {cam_high: {topic: cam_high}}
teleop:
  arms: {left: {topic: leader}}
  deadman: {topic: deadman}
"""
HOME = [0.0, 0.5, 0.0, 0.5]
SECOND = 1_000_000_000
PERIOD = SECOND // 50
ABSURD = (1e300, -1e300, 1e-300, 5e-324, float("nan"), float("inf"), -float("inf"), 0.0, -1.0)
WHAT = ("chunk", "strange_chunk", "motion", "stop", "input", "clock", "conflict", "settings")
EPISODE = 2000  # ticks of one core: strategies and settings change then


class BeyondLimitError(AssertionError):
    """A published command that no limit allows."""


class Observer:
    """What an independent device between control and drivers would see.

    Velocity and acceleration are differences of published positions at the published times. A stop by
    somebody may take the velocity to 0 at once; nothing else may.
    """

    def __init__(self, profile: str) -> None:
        arms = yaml.safe_load(profile)["arms"]
        joints = [joint["limits"] for arm in ("left", "right") for joint in arms[arm]["joints"]]
        self._joints = [(*j["position"], j["velocity"], j["acceleration"]) for j in joints]
        self._last: list[float] | None = None
        self._speed: list[float] | None = None
        self.largest = Counter[str]()
        self.moved = 0

    def forget(self) -> None:
        """The next command begins anew: activation, reset. It may move already from where nobody saw."""
        self._last = self._speed = None

    def stopped(self) -> None:
        """Somebody stopped the arms."""
        if self._last is not None:
            self._speed = [0.0] * len(self._joints)

    def see(self, command: list[float], period_s: float) -> None:
        """A published command; BeyondLimitError where a limit is broken."""
        speeds = []
        for index, (low, high, top, strongest) in enumerate(self._joints):
            value = command[index]
            if not low <= value <= high:  # NaN as well
                raise BeyondLimitError(f"joint {index} at {value}, limits {low} to {high}")
            if self._last is None:
                continue
            speeds.append((value - self._last[index]) / period_s)
            self.moved += speeds[-1] != 0.0
            self._judge(index, "speed", abs(speeds[-1]), top, period_s)
            if self._speed is not None:
                push = abs(speeds[-1] - self._speed[index]) / period_s
                self._judge(index, "push", push, strongest, period_s)
        self._speed = speeds or None
        self._last = list(command)

    def _judge(self, index: int, kind: str, size: float, limit: float, period_s: float) -> None:
        self.largest[kind] = max(self.largest[kind], size / limit)
        if size > limit * (1.0 + 1e-6) + 1e-9 / period_s:
            raise BeyondLimitError(f"joint {index}: {kind} {size:.6g}, limit {limit}")


class Adversary:
    """Drives one core after another.

    Args:
        seed: of everything.
        folder: where the profile may be written.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        path = folder / "small.yaml"
        path.write_text(PROFILE)
        self.profile = load_profile(path)
        self.random = random.Random(seed)
        self.noise = np.random.default_rng(seed)
        self.observer = Observer(PROFILE)
        self.events: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.ticks = 0
        self.restart()

    def restart(self) -> None:
        """A new core, as after a restart of the process."""
        pick = self.random
        settings = ControlSettings(
            strategy=pick.choice(sorted(STRATEGIES)),
            smoothing=pick.choice([0.0, 0.0, 0.1]),
            start_ramp=pick.random() < 0.5,
            estop_output=True,
        )
        self.core = ControlCore(self.profile, settings)
        self.now = pick.choice([10, 10**6, 2 * 10**9]) * SECOND
        self.measured = np.array(HOME)
        self.generation, self.chunk_id = 1, 0
        self.state = self.policy = True
        self.switch, self.leader = (
            [False],
            np.array(HOME),
        )  # said once a tick, and the last for ever
        self.core.activate(self.now, self.measured)
        self.core.on_run(1)
        self.observer.forget()

    def run(self, ticks: int) -> None:
        """So many ticks; BeyondLimitError at the first command beyond a limit."""
        for _ in range(ticks):
            if self.ticks and self.ticks % EPISODE == 0:
                self.restart()
            while self.random.random() < 0.3:
                self.happen()
            self.tick()

    def tick(self) -> None:
        """A period later."""
        self.now += PERIOD
        if self.policy:
            self.core.on_heartbeat(self.now)
        if self.state:
            share = self.random.choice([0.3, 0.7, 1.0])
            self.measured += (
                share * (self.core.status(self.now).commanded - self.measured)
                if (self.core.mode is not Mode.INACTIVE)
                else 0.0
            )
            self.core.on_state(self.now, self.measured)
        self.core.on_deadman(self.switch[0], self.now)
        self.switch = self.switch[1:] or self.switch
        self._lead(self.leader + self.noise.normal(0.0, 0.01, len(HOME)))
        result = self.core.tick(self.now)
        self.sources[result.source.name] += 1
        self.ticks += 1
        self.modes[result.mode.name] += 1
        if result.command is not None:
            self.observer.see(result.command.tolist(), 0.02)

    def happen(self) -> None:
        """Something, at random."""
        pick = self.random
        event = pick.choices(
            (*WHAT, "human"),
            (10, 4, 2, 1, 2, 0.5, 0.5, 1, 2),
        )[0]
        self.events[event] += 1
        getattr(self, f"_{event}")()

    def _rows(self) -> np.ndarray:
        count = self.random.choice([1, 2, 12, 50])
        reach = self.random.choice([0.002, 0.02, 0.2, 1.0])
        steps = self.noise.normal(0.0, reach, (count, len(HOME)))
        return self.core.gate.position + np.cumsum(steps, axis=0)

    def _send(self, rows: np.ndarray, **changes: Any) -> None:
        self.chunk_id += 1
        fields = {
            "stamp_ns": self.now - self.random.randrange(0, SECOND // 4),
            "chunk_id": self.chunk_id,
            "generation": self.generation,
            "joint_names": self.profile.joint_ids,
            "dt_s": self.random.choice([0.001, 0.02, 0.02, 0.1]),
            "positions": rows,
        }
        self.core.on_chunk(ActionChunk(**{**fields, **changes}), self.now)

    def _chunk(self) -> None:
        self._send(self._rows())

    def _strange_chunk(self) -> None:
        pick, rows = self.random, self._rows()
        changes: dict[str, Any] = pick.choice(
            [
                {"dt_s": pick.choice(ABSURD)},
                {"stamp_ns": pick.randrange(-(2**61), 2**61)},
                {"stamp_ns": self.now + pick.randrange(-SECOND, SECOND)},
                {"chunk_id": pick.choice([0, 2**63 - 1, 2**64 - 1])},
                {"generation": pick.randrange(2**32)},
                {"committed_rows": 2**32 - 1},
                {"joint_names": self.profile.joint_ids[::-1]},
                {"joint_names": self.profile.joint_ids[:-1]},
                {"positions": rows[:, :-1]},
                {"positions": rows[:0]},
                {"positions": rows * pick.choice([-1.0, 5.0, 1e12])},
                {},
            ]
        )
        if not changes:
            rows[pick.randrange(len(rows)), pick.randrange(len(HOME))] = pick.choice(ABSURD)
        self._send(rows, **changes)

    def _motion(self) -> None:
        if self.random.random() < 0.3:
            status = self.core.status(self.now)
            self.core.on_hold("cancelled")
            parked = status.hold_cause in (Cause.TAKEOVER_RELEASED, Cause.DEADMAN_LOST)
            if parked or not status.takeover:  # a human goes on
                self.observer.stopped()
        else:
            self.generation = self.random.choice([1, 2, 2**32 - 1])
            self.core.on_run(self.generation)

    def _stop(self) -> None:
        core, pick = self.core, self.random
        what = pick.choice(["press", "call", "release", "deactivate"])
        if what == "deactivate":
            core.deactivate()
            self.observer.stopped()
            core.activate(self.now, np.array(HOME))
            self.observer.forget()
            self.measured = np.array(HOME)
        elif what == "release":
            core.on_estop(False)
        else:
            core.on_estop() if what == "press" else core.on_estop_call()
            self.observer.stopped()
        if core.estop.latched and pick.random() < 0.7:
            core.on_estop(False)
            core.reset(self.now)
            self.observer.forget()
        core.on_run(self.generation)

    def _input(self) -> None:
        pick = self.random
        what = pick.choice(["state", "policy", "both", "far", "absurd"])
        if what == "far":
            self.measured = self.measured + self.noise.normal(0.0, 0.5, len(HOME))
        elif what == "absurd":
            self.core.on_state(
                pick.randrange(-(2**61), 2**61), np.full(len(HOME), pick.choice(ABSURD))
            )
        else:
            self.state = what != "state" or not self.state
            self.policy = what != "policy" or not self.policy

    def _clock(self) -> None:
        self.now += round(self.random.choice([-9, -1, -0.05, 0.1, 0.3, 3.0]) * SECOND)

    def _conflict(self) -> None:
        self.core.on_conflict(self.random.choice(["", "", "/rogue publishes commands; stop it"]))

    def _settings(self) -> None:
        self.core.change(
            max_speed_scale=self.random.uniform(0.02, 1.0),
            start_ramp=self.random.random() < 0.5,
            takeover_release=self.random.choice(["hold", "policy"]),
        )

    def _human(self) -> None:
        pick, core = self.random, self.core
        what = pick.choice(
            ["press", "press", "let_go", "chatter", "jump", "near", "absurd", "resume"]
        )
        if what in ("press", "let_go"):
            self.switch = [False, what == "press"]
        elif what == "chatter":
            self.switch = [pick.random() < 0.5 for _ in range(20)]
        elif what == "jump":
            self.leader = self.noise.uniform(-3.0, 3.0, len(HOME))
        elif what == "near":
            self.leader = core.gate.position.copy()
        elif what == "absurd":
            self._lead(np.full(len(HOME), pick.choice(ABSURD)))
        else:
            core.resume()

    def _lead(self, positions: np.ndarray) -> None:
        age = self.random.randrange(0, SECOND // 3)
        self.core.on_leader(self.now - age, positions, self.now - age + SECOND // 5, self.now)


def main(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Run; the counts."""
    begin = time.monotonic()
    adversary = Adversary(seed, folder)
    adversary.run(count)
    return {
        "ticks": adversary.ticks,
        "seed": seed,
        "beyond a limit": 0,
        "moving joint commands": adversary.observer.moved,
        "largest share of a limit": {k: round(v, 9) for k, v in adversary.observer.largest.items()},
        "modes": dict(adversary.modes),
        "sources": dict(adversary.sources),
        "events": dict(adversary.events),
        "seconds": round(time.monotonic() - begin, 1),
    }


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        wanted = [int(word) for word in sys.argv[1:3]] + [1_000_000, 0][len(sys.argv) - 1 :]
        print(json.dumps(main(wanted[0], wanted[1], Path(folder)), indent=1))
