# SPDX-License-Identifier: Apache-2.0
"""The inference thread: works when due, delivers only for the current goal, ends at any moment."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from adamoe_ros.contract.chunk import ActionChunk, Inference
from adamoe_ros.contract.errors import PolicyUnavailable
from adamoe_ros.contract.observation import Observation
from adamoe_ros.control.scheduling import (
    DelayWindow,
    InferencePlan,
    InferenceScheduler,
    SchedulerSettings,
)
from adamoe_ros.control.strategies import STRATEGIES
from adamoe_ros.ros.policy.policy_worker import Assignment, PolicyWorker, Work

JOINTS = ("left/waist", "left/gripper")


class Bench:
    """A worker on a clock and observations that the test sets."""

    def __init__(self, strategy: str = "async", nice: int = 0) -> None:
        self.now = 0
        self.stamp: int | None = None
        self.extra = 0.0
        self.chunks: list[ActionChunk] = []
        self.failures: list[tuple[int, str]] = []
        self.starts: list[int] = []
        self.plans: list[InferencePlan] = []
        self.restarts = 0
        self.entered, self.leave = threading.Event(), threading.Event()
        self.leave.set()
        self.make: Callable[[], np.ndarray] = lambda: np.zeros((4, 2))
        self.delivered_event = threading.Event()
        work = Work(
            newest_ns=lambda: self.stamp,
            observe=self._observe,
            restart=self._restart,
            infer=self._infer,
            deliver=self._deliver,
            failed=lambda generation, line: self.failures.append((generation, line)),
            now_ns=lambda: self.now,
            extra_latency=lambda: self.extra,
        )
        # rows of 20 ns and a wish for one row: every newer observation is due
        settings = SchedulerSettings(horizon=4, dt_s=20e-9, execution_horizon=1, age_budget_s=1e9)
        side = STRATEGIES[strategy].policy_side
        delays = DelayWindow(warmup=10**9)
        scheduler = InferenceScheduler(side, settings, delays)
        self.worker = PolicyWorker(work, scheduler, JOINTS, nice)
        self.worker.start()

    def _restart(self) -> None:
        self.restarts += 1

    def _observe(self, sentence: str) -> Observation:
        assert self.stamp is not None
        return Observation(self.stamp, {}, np.zeros(2), sentence)

    def _infer(self, observation: Observation, plan: InferencePlan) -> Inference:
        self.starts.append(observation.stamp_ns)
        self.plans.append(plan)
        self.entered.set()
        assert self.leave.wait(5.0)
        rows = self.make()
        return Inference(rows, rows, 0, {"total": 0.1}, ())

    def _deliver(self, chunk: ActionChunk, observation: Observation, made: Inference) -> None:
        self.chunks.append(chunk)
        self.delivered_event.set()

    def feed(self, stamp: int) -> None:
        self.stamp = stamp
        self.worker.notice()

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 5.0
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.001)


@pytest.fixture
def bench():  # type: ignore[no-untyped-def]
    made = Bench()
    yield made
    made.leave.set()
    made.worker.stop()
    assert not made.worker.alive


def test_chunks_carry_stamp_generation_and_sentence(bench: Bench) -> None:
    bench.worker.assign(Assignment(3, "lift the bar"))
    for index in range(2):
        bench.feed(500 + 100 * index)
        bench.wait(lambda index=index: len(bench.chunks) == index + 1)
    assert [chunk.stamp_ns for chunk in bench.chunks] == [500, 600]
    assert [chunk.chunk_id for chunk in bench.chunks] == [1, 2]
    assert bench.chunks[0].generation == 3
    assert bench.chunks[0].joint_names == JOINTS
    assert bench.chunks[0].instruction == "lift the bar"
    assert bench.restarts == 1


def test_without_assignment_nothing_is_inferred(bench: Bench) -> None:
    bench.feed(500)
    assert not bench.entered.wait(0.1)


def test_a_goal_begins_with_what_has_arrived_already() -> None:
    bench = Bench("sync")
    try:
        bench.worker.assign(Assignment(1, "a"))
        bench.feed(500)
        bench.wait(lambda: len(bench.chunks) == 1)
        bench.feed(510)  # not due before the end of the first chunk
        bench.wait(lambda: not bench.worker._arrived)
        bench.worker.assign(Assignment(2, "b"))
        bench.wait(lambda: len(bench.chunks) == 2)
        assert (bench.chunks[1].stamp_ns, bench.chunks[1].generation) == (510, 2)
    finally:
        bench.worker.stop()


def test_one_observation_is_used_once(bench: Bench) -> None:
    bench.worker.assign(Assignment(1, "a"))
    bench.feed(500)
    bench.wait(lambda: len(bench.chunks) == 1)
    bench.feed(500)
    bench.feed(600)
    bench.wait(lambda: len(bench.chunks) == 2)
    assert bench.starts == [500, 600]


def test_a_chunk_begun_for_a_cancelled_goal_is_dropped(bench: Bench) -> None:
    bench.leave.clear()
    bench.worker.assign(Assignment(1, "a"))
    bench.feed(500)
    assert bench.entered.wait(5.0)
    bench.worker.assign(None)
    bench.worker.assign(Assignment(2, "b"))
    bench.leave.set()
    bench.feed(600)
    bench.wait(lambda: len(bench.chunks) == 1)
    assert (bench.chunks[0].generation, bench.chunks[0].chunk_id) == (2, 1)
    assert bench.restarts == 2


def test_a_new_sentence_holds_from_the_next_inference(bench: Bench) -> None:
    bench.worker.assign(Assignment(1, "a"))
    bench.feed(500)
    bench.wait(lambda: len(bench.chunks) == 1)
    bench.worker.instruct("b", "finish")
    bench.feed(600)
    bench.wait(lambda: len(bench.chunks) == 2)
    assert [chunk.instruction for chunk in bench.chunks] == ["a", "b"]
    assert {chunk.generation for chunk in bench.chunks} == {1}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_chunk_that_is_not_finite_is_never_delivered(bench: Bench, value: float) -> None:
    bench.make = lambda: np.array([[0.0, value]])
    bench.worker.assign(Assignment(7, "a"))
    bench.feed(500)
    bench.wait(lambda: bool(bench.failures))
    assert bench.failures[0][0] == 7 and "finite" in bench.failures[0][1]
    assert bench.chunks == []


def test_an_exception_ends_the_goal_and_not_the_thread(bench: Bench) -> None:
    def explode() -> np.ndarray:
        raise RuntimeError("out of memory")

    bench.make = explode
    bench.worker.assign(Assignment(1, "a"))
    bench.feed(500)
    bench.wait(lambda: bool(bench.failures))
    assert "RuntimeError: out of memory" in bench.failures[0][1]
    bench.make = lambda: np.zeros((4, 2))
    bench.worker.assign(Assignment(2, "b"))
    bench.feed(600)
    bench.wait(lambda: len(bench.chunks) == 1)


def test_injected_latency_follows_the_ros_clock(bench: Bench) -> None:
    bench.extra = 0.2
    bench.worker.assign(Assignment(1, "a"))
    bench.feed(500)
    assert not bench.delivered_event.wait(0.1)  # the clock stands still
    bench.now += 200_000_000
    assert bench.delivered_event.wait(5.0)


def test_stop_while_latency_is_injected(bench: Bench) -> None:
    bench.extra = 1e6
    bench.worker.assign(Assignment(1, "a"))
    bench.feed(500)
    assert bench.entered.wait(5.0)
    bench.worker.stop()
    assert not bench.worker.alive and bench.chunks == []


def test_rtc_is_given_the_leftover_of_the_same_goal_only() -> None:
    bench = Bench("rtc")
    try:
        for generation in (1, 2):
            bench.worker.assign(Assignment(generation, "a"))
            for stamp in (generation * 1000, generation * 1000 + 20):
                bench.now = stamp
                bench.feed(stamp)
                bench.wait(lambda stamp=stamp: bench.starts[-1:] == [stamp])
                bench.wait(lambda: len(bench.chunks) == len(bench.starts))
        assert [plan.needs_leftover for plan in bench.plans] == [False, True, False, True]
        assert bench.plans[1].shift_rows == pytest.approx(1.0)
    finally:
        bench.worker.stop()


def test_only_the_inference_stands_back() -> None:
    made = Bench(nice=3)
    before, seen = os.getpriority(os.PRIO_PROCESS, 0), []

    def note() -> np.ndarray:
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        return np.zeros((4, 2))

    made.make = note
    made.worker.assign(Assignment(1, "lift the bar"))
    made.feed(1)
    made.wait(lambda: bool(seen))
    made.worker.stop()
    assert seen == [min(before + 3, 19)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_refused_chunk_is_not_what_the_next_one_goes_on_from() -> None:
    bench = Bench("rtc")
    try:
        bench.worker.assign(Assignment(1, "a"))
        for number, stamp in enumerate((1000, 1020, 1040), 1):
            bench.now = stamp
            if number == 3:
                bench.worker.refused()
            bench.feed(stamp)
            bench.wait(lambda number=number: len(bench.chunks) == number)
        assert [plan.needs_leftover for plan in bench.plans] == [False, True, False]
    finally:
        bench.worker.stop()


def test_a_policy_that_cannot_be_had_fails_nothing_and_is_asked_again() -> None:
    """The link to its server is down: whoever watches the goal lets the arms hold meanwhile."""
    bench = Bench("rtc")

    def away() -> np.ndarray:
        raise PolicyUnavailable("policy ws://robot: expected an answer, got none; wait")

    try:
        rows, bench.make = bench.make, away
        bench.worker.assign(Assignment(1, "a"))
        bench.feed(1000)
        bench.wait(lambda: bench.starts == [1000])
        bench.make = rows
        bench.feed(1020)
        bench.wait(lambda: len(bench.chunks) == 1)
        assert bench.failures == []
    finally:
        bench.worker.stop()
