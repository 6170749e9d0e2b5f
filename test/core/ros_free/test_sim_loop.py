# SPDX-License-Identifier: Apache-2.0
"""The simulator's pacing: even steps, pictures of the right moment, nothing lost when slow."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import Any

import pytest

from adamoe_ros.ros.sim.sim_loop import Events, Every, Rates, SimLoop

RATES = Rates(clock=100.0, control=50.0, camera=25.0, status=10.0)
START = 5_000_000_000


class Counter:
    """A world whose state is the time that it was advanced by."""

    def __init__(self, render_s: float = 0.0) -> None:
        self.time = 0.0
        self.render_s = render_s
        self.renderer: list[str] = []

    def advance(self, seconds: float) -> None:
        self.time += seconds

    def snapshot(self) -> float:
        return self.time

    def judge(self) -> bool:
        return 0.5 <= self.time < 0.6

    def open_renderer(self) -> None:
        self.renderer.append(threading.current_thread().name)

    def take_pictures(self, snapshot: float) -> float:
        time.sleep(self.render_s)
        if snapshot < 0:
            raise RuntimeError("no such picture")
        return snapshot

    def close_renderer(self) -> None:
        self.renderer.append("closed")


class Run:
    """A loop with everything it reported, stopped after ``frames`` pictures or a failure."""

    def __init__(self, world: Counter, frames: int, factor: float = 50.0) -> None:
        self.clock: list[int] = []
        self.control: list[int] = []
        self.frames: list[tuple[int, Any]] = []
        self.status: list[int] = []
        self.failure: BaseException | None = None
        self.done = threading.Event()
        self._wanted = frames
        events = Events(
            self.clock.append, self.control.append, self._frame, self.status.append, self._fail
        )
        self.loop = SimLoop(world, RATES, events, lambda: factor, START)
        begun = time.monotonic()
        self.loop.start()
        assert self.done.wait(20.0)
        self.wall = time.monotonic() - begun
        self.loop.stop()

    def _frame(self, stamp: int, pictures: Any) -> None:
        self.frames.append((stamp, pictures))
        if len(self.frames) == self._wanted:
            self.done.set()

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        self.done.set()


def test_everything_comes_at_its_rate() -> None:
    run = Run(Counter(), frames=26)
    assert run.clock[:3] == [START + 10_000_000, START + 20_000_000, START + 30_000_000]
    assert run.control[:3] == [START, START + 20_000_000, START + 40_000_000]
    stamps = [stamp for stamp, _ in run.frames]
    assert stamps == [START + 40_000_000 * i for i in range(len(stamps))]
    for stamp, world_time in run.frames:
        assert (stamp - START) / 1e9 == pytest.approx(world_time)


def test_status_comes_at_once_when_the_judgement_changes() -> None:
    run = Run(Counter(), frames=26)
    changes = [(stamp - START) / 1e9 for stamp in run.status]
    assert any(value == pytest.approx(0.5) for value in changes)
    assert sum(0.55 < value < 0.65 for value in changes) == 1  # the regular one coincides
    assert len(run.status) <= 13


def test_a_slow_renderer_slows_the_clock_and_loses_no_frame() -> None:
    run = Run(Counter(render_s=0.02), frames=10)
    stamps = [stamp for stamp, _ in run.frames]
    assert stamps == [START + 40_000_000 * i for i in range(len(stamps))]
    assert run.wall >= 10 * 0.02
    ahead = run.clock[-1] - run.frames[-1][0]
    assert ahead <= 4 * 40_000_000


def test_the_clock_is_not_faster_than_asked() -> None:
    run = Run(Counter(), frames=6, factor=1.0)  # 5 camera periods
    assert run.wall >= 0.19


def test_a_failure_in_the_renderer_is_reported_and_ends_the_loop() -> None:
    world = Counter()
    world.time = -1.0
    run = Run(world, frames=5)
    assert isinstance(run.failure, RuntimeError)
    assert world.renderer == ["sim_render", "closed"]


def test_stop_twice_leaves_no_thread() -> None:
    run = Run(Counter(), frames=2)
    run.loop.stop()
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"sim_render", "sim_physics"}


def test_every_does_not_drift() -> None:
    every = Every(30.0, START)
    hits = [step for step in range(1000) if every(START + step * 10_000_000)]
    assert len(hits) == 300
    assert max(b - a for a, b in pairwise(hits)) <= 4
