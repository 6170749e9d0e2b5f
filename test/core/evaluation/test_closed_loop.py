# SPDX-License-Identifier: Apache-2.0
"""The real control core and schedule around a robot: delays, stamps, instructions in flight."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from control_support import HOME, HOME_COMMAND, LIMITS, ROBOT, SECOND, Judge

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.control.rtc_math import hard_mask, soft_mask
from adamoe_ros.control.scheduling import InferencePlan
from adamoe_ros.control.settings import Cause
from adamoe_ros.control.status import Mode, TickResult
from adamoe_ros.control.strategies import STRATEGIES
from adamoe_ros.data.recording import Change
from adamoe_ros.evaluation.closed_loop import START_NS, ClosedLoop, LoopSettings, run_together
from adamoe_ros.sim.bimanual import BimanualSim

ALL = sorted(STRATEGIES)
H, DT = 50, 0.02
FRAME = SECOND // 25
TARGETS = {"left": HOME_COMMAND + 0.3, "right": HOME_COMMAND - [0.3, 0.3, 0.3, 0.3, 0.3, 0.3]}


def to_command(state: np.ndarray) -> np.ndarray:
    """Driver's state -> command units of the small robot: the grippers are turned round."""
    command = np.array(state)
    command[[2, 5]] = 1.0 - state[[2, 5]] / 0.08
    return command


class Follower:
    """A robot that is where it was told to be."""

    def __init__(self) -> None:
        self.state = HOME.copy()

    def measured(self) -> np.ndarray:
        return self.state.copy()

    def look(self) -> None:
        return None

    def pictures(self, moment: None) -> dict[str, np.ndarray]:
        return {}

    def follow(self, command: np.ndarray) -> None:
        self.state = command.copy()
        self.state[[2, 5]] = (1.0 - command[[2, 5]]) * 0.08


class Reacher:
    """Chunks that approach the sentence's target from where the robot was seen."""

    horizon, dt_s, max_prefix_rows = H, DT, 12

    def __init__(self) -> None:
        self.seen: list[Observation] = []
        self.plans: list[InferencePlan] = []
        self.restarts = 0

    def restart(self) -> None:
        self.restarts += 1

    def infer(self, observation: Observation, plan: InferencePlan) -> Inference:
        self.seen.append(observation)
        self.plans.append(plan)
        target = TARGETS[observation.instruction]
        left = np.exp(-np.arange(H) * DT / 0.5)[:, None]
        rows = np.asarray(target + left * (observation.state - target))
        return Inference(rows, rows)


class ScriptedSource:
    """Chunks cut from a motion that is known beforehand, each from where the last one is left.

    Args:
        motion: (T, J) command units, rows ``dt_s`` apart.
        horizon: rows of a chunk; beyond the motion's end its last row repeats.
        dt_s: s between rows.
        spread: standard deviation of a constant offset of each chunk, per joint (J,) or one for
            all: a policy that does not quite agree with itself.
        seed: of the offsets.
    """

    max_prefix_rows = 0

    def __init__(
        self,
        motion: np.ndarray,
        horizon: int = 50,
        dt_s: float = 0.02,
        spread: np.ndarray | float = 0.0,
        seed: int = 0,
    ) -> None:
        self.horizon, self.dt_s = horizon, dt_s
        self._motion, self._spread = motion, spread
        self._rng = np.random.default_rng(seed)
        self._row = 0.0

    def restart(self) -> None:
        """The motion goes on from where it is."""

    def infer(self, observation: Observation, plan: InferencePlan) -> Inference:
        """One chunk."""
        # rows that were played since the last observation: what was not sent was not played
        self._row += min(plan.shift_rows, plan.publish_rows)
        first = round(self._row)
        wanted = np.minimum(np.arange(first, first + self.horizon), len(self._motion) - 1)
        offset = self._rng.normal(size=self._motion.shape[1]) * self._spread
        rows = self._motion[wanted] + offset
        return Inference(rows, rows)


class Run:
    """A loop with the independent judge of its commands."""

    def __init__(
        self, strategy: str, delay_s: float, change: Change | None = None, **changes: float
    ) -> None:
        self.source = Reacher()
        settings = LoopSettings(strategy, delay_s, **changes)  # type: ignore[arg-type]
        self.loop = ClosedLoop(ROBOT, Follower(), self.source, "left", settings, to_command, change)
        self.judge = Judge(LIMITS, self.loop.core.period_s)
        self.results: list[TickResult] = []

    def steps(self, count: int) -> list[TickResult]:
        for _ in range(count):
            result = self.loop.step()
            assert result.command is not None
            self.judge.see(result.command)
            self.results.append(result)
        return self.results[-count:]

    @property
    def stamps(self) -> list[int]:
        return [observation.stamp_ns for observation in self.source.seen]

    def distance(self, name: str) -> float:
        return float(np.abs(self.results[-1].command - TARGETS[name])[[0, 3]].max())


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("strategy", ALL)
def test_reaches_its_target_within_every_limit(strategy: str, delay_s: float) -> None:
    run = Run(strategy, delay_s)
    results = run.steps(250)
    assert run.distance("left") < 0.01
    assert all(np.diff([result.now_ns for result in results]) == SECOND // 50)
    rows = [(result.chunk_id, result.row) for result in results if result.chunk_id]
    assert rows == sorted(rows), "a row came back"
    if strategy != "sync":
        first = next(i for i, result in enumerate(results) if result.mode is Mode.RUNNING)
        assert all(result.mode is Mode.RUNNING for result in results[first:])
        assert run.loop.core.metrics.hold_share == 0.0
    assert run.loop.core.status(run.loop.now_ns).late_chunks == 0


@pytest.mark.parametrize("strategy", ALL)
def test_a_chunk_is_entered_in_the_row_of_its_delay(strategy: str) -> None:
    run = Run(strategy, 0.1)
    results = run.steps(120)
    entered = [b.row for a, b in itertools.pairwise(results) if a.chunk_id < b.chunk_id]
    assert len(entered) >= 2
    assert entered[0] == 0  # the arms rested: nothing of it was consumed
    assert set(entered) == {0} if strategy == "sync" else set(entered[1:]) <= {5, 6}


@pytest.mark.parametrize("strategy", ALL)
def test_observations_are_frames_and_never_older_than_one(strategy: str) -> None:
    run = Run(strategy, 0.06)
    run.steps(100)
    offsets = [(stamp - START_NS - SECOND // 50) % FRAME for stamp in run.stamps]
    assert set(offsets) == {0}
    assert np.diff(run.stamps).min() > 0


def test_same_start_same_motion() -> None:
    first, again = (Run("rtc", 0.1).steps(100) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.command, other.command)


def test_rtc_is_told_the_injected_delay_from_its_second_chunk_on() -> None:
    run = Run("rtc", 0.2, execution_horizon=20)
    run.steps(150)
    assert run.source.plans[0].weights is None
    for plan in run.source.plans[1:]:
        assert plan.delay_rows == 10 and plan.executed_rows == 20
        np.testing.assert_array_equal(plan.weights, soft_mask(H, 10, 20))


def test_a_trained_prefix_covers_what_it_was_trained_for() -> None:
    run = Run("rtc_trained", 0.3, execution_horizon=20)
    run.steps(150)
    assert {plan.prefix_rows for plan in run.source.plans[1:]} == {12}
    assert run.loop.scheduler.overlong == len(run.source.plans) - 1


def test_sync_rests_while_it_infers() -> None:
    run = Run("sync", 0.2, execution_horizon=30)
    results = run.steps(300)
    share = run.loop.core.metrics.hold_share
    assert share == pytest.approx(0.2 / (0.2 + 30 * DT), abs=0.1)
    for before, after in itertools.pairwise(results):
        if after.chunk_id > before.chunk_id > 0:
            assert not before.velocity.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["finish", "blend", "cut"])
@pytest.mark.parametrize(
    ("strategy", "delay_s"), [*((name, 0.2) for name in ALL), ("async", 0.0), ("rtc", 0.0)]
)
def test_a_new_sentence_in_flight(strategy: str, how: str, delay_s: float) -> None:
    """Changed in mid-motion: the arms go to the new target, smoothly, and never back."""
    run, unchanged = (Run(strategy, delay_s, execution_horizon=20) for _ in range(2))
    run.steps(31)
    at, inferred = run.loop.now_ns, len(run.stamps)
    run.loop.instruct("right", how)  # type: ignore[arg-type]
    old_chunk = run.results[-1].chunk_id
    results = run.steps(180)
    unchanged.steps(80)
    assert run.distance("right") < 0.03
    sentences = [observation.instruction for observation in run.source.seen]
    assert sentences == ["left"] * inferred + ["right"] * (len(sentences) - inferred)
    if how == "finish" or (how == "blend" and strategy == "sync"):
        assert run.stamps[inferred] == unchanged.stamps[inferred]  # at its usual time
    else:  # as soon as nothing is in flight
        ready = max(at, run.stamps[inferred - 1] + round(delay_s * SECOND))
        assert run.stamps[inferred] <= ready + FRAME
        if how == "blend" and strategy == "rtc":
            plan = run.source.plans[inferred]
            np.testing.assert_array_equal(plan.weights, hard_mask(H, math.ceil(delay_s / DT)))
    if how == "cut":
        held = [result for result in results if result.hold_cause == Cause.NO_CHUNK]
        assert len(held) >= round(delay_s / DT)
        assert run.source.restarts == 2
        plan = run.source.plans[inferred]
        assert plan.weights is None and plan.prefix_rows == 0 and plan.previous_ns is None
    else:
        assert run.source.restarts == 1
        assert results[0].mode is not Mode.HOLD or strategy == "sync"
        assert results[0].chunk_id in (old_chunk, old_chunk + 1)


def test_a_sentence_changes_at_its_time() -> None:
    """As ``instruct`` in that very step would have it."""
    told, planned = Run("rtc", 0.1), Run("rtc", 0.1, change=Change("right", 0.5, "blend"))
    told.steps(24)  # 0.48 s are over; the next step begins at 0.5 s
    told.loop.instruct("right", "blend")
    told.steps(100)
    planned.steps(124)
    assert planned.loop.instruction == "right" and planned.distance("right") < 0.03
    assert all(
        (a.command == b.command).all() for a, b in zip(told.results, planned.results, strict=True)
    )


def test_cut_and_blend_turn_round_sooner_than_finish() -> None:
    turned = {}
    for how in ("finish", "blend", "cut"):
        run = Run("async", 0.1, execution_horizon=35)
        run.steps(15)
        run.loop.instruct("right", how)  # type: ignore[arg-type]
        results = run.steps(200)
        turned[how] = next(i for i, r in enumerate(results) if r.velocity[0] < -0.05)  # type: ignore[index]
    assert turned["blend"] < turned["finish"] and turned["cut"] < turned["finish"]


def test_many_in_step_come_to_what_each_comes_to_alone() -> None:
    """Episodes that end at different times; the batch holds who asks and no other."""

    def outcomes(alone: bool):  # type: ignore[no-untyped-def]
        runs = [Run("rtc", delay) for delay in (0.0, 0.1, 0.3)]
        for number, run in enumerate(runs):
            run.loop.instruct("left" if number < 2 else "right", "finish")
        asked: list[int] = []

        def infer(group: list[Run]):  # type: ignore[no-untyped-def]
            def answer(asking, requests):  # type: ignore[no-untyped-def]
                asked.append(len(asking))
                return [
                    group[n].source.infer(request.observation, request.plan)
                    for n, request in zip(asking, requests, strict=True)
                ]

            return answer

        def judge(run: Run):  # type: ignore[no-untyped-def]
            return lambda: bool(run.loop.core.gate.position[0] > 0.25)

        groups = [[run] for run in runs] if alone else [runs]
        return [
            outcome
            for group in groups
            for outcome in run_together(
                [run.loop for run in group], [judge(run) for run in group], infer(group), 3.0
            )
        ], asked

    alone, _ = outcomes(alone=True)
    together, asked = outcomes(alone=False)
    assert alone == together
    assert [outcome.success for outcome in alone] == [True, True, False]
    assert alone[2].seconds == 3.0 and alone[0].seconds < alone[1].seconds < 3.0
    assert asked[0] == 3 and asked[-1] == 1


class Blind:
    """The simulator's arms without pictures, which a script does not need."""

    def __init__(self, sim: BimanualSim) -> None:
        self.sim = sim

    def measured(self) -> np.ndarray:
        return self.sim.measured()[0]

    def look(self) -> None:
        return None

    def pictures(self, moment: None) -> dict[str, np.ndarray]:
        return {}

    def follow(self, command: np.ndarray) -> None:
        self.sim.set_targets(command)
        self.sim.advance()


@pytest.mark.parametrize("strategy", ["sync", "async"])
def test_the_simulators_task_is_done_through_the_control_core(strategy: str) -> None:
    profile = load_profile(profile_path("aloha_sim", robots_dir()))
    sim = BimanualSim()
    sim.reset(0)
    source = ScriptedSource(sim.plan())
    loop = ClosedLoop(profile, Blind(sim), source, sim.instruction, LoopSettings(strategy))
    for _ in range(400):
        loop.step()
        if sim.success():
            break
    assert sim.success()
    clips = loop.core.gate.clips
    arms = ~loop.core.limits.gripper  # grippers end at their stops
    assert not clips.position[arms].any() and not clips.step.any()
    summary = loop.core.metrics.summary()
    assert summary.seams == loop.inferences - 1 and summary.skipped_rows == 0
