# SPDX-License-Identifier: Apache-2.0
"""Any order of chunks, stops, losses and clock jumps: the commands stay inside the limits.

An example is a script of events between ticks. Contents of chunks come from a seeded generator, so
that an example costs milliseconds and the full profile can run 100 000 of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from control_support import (
    HOME,
    HOME_COMMAND,
    LIMITS,
    PERIOD,
    ROBOT,
    SECOND,
    START,
    J,
    Judge,
    chunk,
    examples,
)
from hypothesis import given
from hypothesis import strategies as st

from adamoe_ros.control.core import ControlCore
from adamoe_ros.control.settings import Cause, ControlSettings
from adamoe_ros.control.status import Mode, Source
from adamoe_ros.control.strategies import STRATEGIES

TICKS = 40
EVENTS = (
    *("good",) * 8,
    *("late", "very_late", "future", "duplicate", "out_of_order", "old_generation", "overlap"),
    *("nan", "inf", "huge", "beyond", "jump", "narrow", "wide", "empty", "reordered"),
    *("renamed", "bad_dt", "single_row", "far_state", "bad_state", "state_off", "state_on"),
    *(
        "policy_off",
        "policy_on",
        "hold",
        "run",
        "run_next",
        "estop",
        "estop_call",
        "release",
        "reset",
        "slow",
    ),
    *("back", "back_far", "forward", "stand_still", "slew", "deactivate", "activate", "ramp"),
    *("press",) * 4,
    *("let_go", "chatter", "deadman_off", "deadman_on", "leader_off", "leader_on", "leader_near"),
    *("leader_near", "leader_anywhere", "leader_nan", "leader_huge", "leader_burst", "resume"),
    *("release_to_policy", "release_to_hold"),
)
PARKED = (Cause.TAKEOVER_RELEASED, Cause.DEADMAN_LOST)


class Scene:
    """A core under a script of events, with the judge beside it."""

    def __init__(self, seed: int, strategy: str) -> None:
        self.rng = np.random.default_rng(seed)
        self.core = ControlCore(ROBOT, ControlSettings(strategy=strategy, estop_output=True))
        self.judge = Judge(LIMITS, self.core.period_s)
        self.now = START
        self.chunks = 0
        self.generation = 1
        self.last: Any = None
        self.state, self.policy = True, True
        self.measured = HOME.copy()
        self.frozen: np.ndarray | None = None  # command that may not change: somebody stopped
        self.stamp = START
        self.rows_seen: tuple[int, int] = (0, -1)
        # the human: what the dead-man says and when it said so last, where the leader is
        self.held, self.pressed, self.deadman_on, self.deadman_ns = False, False, True, 0
        self.leader, self.leader_on, self.leader_ns = HOME_COMMAND.copy(), True, 0
        self.core.activate(self.now, HOME)
        self.core.on_run(1)

    # --- events --------------------------------------------------------------------------------

    def rows(self, count: int = 12) -> np.ndarray:
        """(count, J) plausible motion from where the arms are."""
        steps = self.rng.normal(0, 1, (count, J)) * LIMITS.velocity * 0.02 * self.rng.random()
        return self.core.gate.position + np.cumsum(steps, axis=0)

    def send(self, rows: np.ndarray, delay_s: float = 0.04, **changes: Any) -> Any:
        self.chunks += 1
        fields = {
            "stamp_ns": self.now - round(delay_s * SECOND),
            "chunk_id": self.chunks,
            "generation": self.generation,
        } | changes
        self.stamp = fields["stamp_ns"]
        return self.core.on_chunk(chunk(rows, **fields), self.now)

    def happen(self, event: str) -> None:
        """Do one event."""
        rows, core = self.rows(), self.core
        if event in ("good", "overlap"):
            self.send(rows, 0.02 * self.rng.integers(0, 5))
        elif event == "late":
            self.send(rows, 0.15)
        elif event == "very_late":
            verdict = self.send(rows, 2.0)
            # with sync the arms waited, so even an old chunk starts at its first row
            if core.settings.strategy != "sync":
                assert not verdict.accepted
        elif event == "future":
            assert not self.send(rows, -1.0).accepted
        elif event == "duplicate":
            self.chunks -= 1
            self.send(rows, stamp_ns=self.stamp)
        elif event == "out_of_order":
            self.send(rows, stamp_ns=self.stamp - PERIOD)
        elif event == "old_generation":
            assert not self.send(rows, generation=self.generation - 1).accepted
        elif event in ("nan", "inf", "huge"):
            value = {"nan": np.nan, "inf": np.inf, "huge": 1e12}[event] * self.rng.choice([-1, 1])
            rows[self.rng.integers(len(rows)), self.rng.integers(J)] = value
            assert not self.send(rows).accepted
        elif event == "beyond":  # outside of a limit, inside of the hard bound
            self.send(rows + 0.25)
        elif event == "jump":
            target = self.rng.uniform(LIMITS.low, LIMITS.high)
            self.send(np.tile(target, (12, 1)))
        elif event in ("narrow", "wide", "empty"):
            shape = {"narrow": (12, J - 1), "wide": (12, J + 2), "empty": (0, J)}[event]
            assert not self.send(np.zeros(shape)).accepted
        elif event == "reordered":
            order = self.rng.permutation(J)
            names = tuple(ROBOT.joint_ids[place] for place in order)
            self.send(rows[:, order], names=names)
        elif event == "renamed":
            assert not self.send(rows, names=(*ROBOT.joint_ids[:-1], "right/other")).accepted
        elif event == "bad_dt":
            assert not self.send(rows, dt_s=float(self.rng.choice([0.0, -1.0, np.nan]))).accepted
        elif event == "single_row":
            self.send(rows[:1], 0.0)
        else:
            self.disturb(event)

    def disturb(self, event: str) -> None:
        """Events that are not chunks."""
        core = self.core
        if event == "far_state":
            self.measured = HOME + self.rng.normal(0, 0.5, J)
        elif event == "bad_state":
            core.on_state(self.now, np.full(J, np.nan))
        elif event in ("state_off", "state_on"):
            self.state = event == "state_on"
        elif event in ("policy_off", "policy_on"):
            self.policy = event == "policy_on"
        elif event == "hold":
            status = core.status(self.now)
            core.on_hold("cancelled")
            if not status.takeover or status.hold_cause in PARKED:  # a human is not stopped by it
                self.stopped()
        elif event in ("run", "run_next"):
            self.generation += event == "run_next"
            core.on_run(self.generation)
            if not core.estop.latched:
                self.frozen = None
            if event == "run_next":  # chunks of another generation are counted anew
                self.rows_seen = (0, -1)
        elif event == "estop":
            core.on_estop()
            self.stopped()
        elif event == "estop_call":
            core.on_estop_call()
            self.stopped()
        elif event == "release":
            core.on_estop(False)
        elif event == "reset":
            if not core.reset(self.now):
                self.relatched()
        elif event == "deactivate":
            core.deactivate()
            self.stopped()
            self.frozen = None
        elif event == "activate":
            core.deactivate()
            self.last = None
            core.activate(self.now, HOME)
            if not core.estop.latched:
                self.relatched()
        elif event == "slow":
            core.change(max_speed_scale=float(self.rng.uniform(0.02, 1.0)))
        elif event == "ramp":
            core.change(start_ramp=bool(self.rng.integers(2)))
        elif event.startswith("release_to"):
            core.change(takeover_release=event.removeprefix("release_to_"))
        elif event in ("back", "back_far", "forward", "stand_still", "slew"):
            self.jump_clock(event)
        else:
            self.lead(event)

    def lead(self, event: str) -> None:
        """What a human does."""
        core, rng = self.core, self.rng
        if event in ("press", "let_go", "chatter"):
            switches = {"press": [False, True], "let_go": [False]}
            for held in switches.get(event, rng.integers(2, size=5).astype(bool).tolist()):
                self.switch(held)
        elif event in ("deadman_off", "deadman_on"):
            self.deadman_on = event == "deadman_on"
        elif event in ("leader_off", "leader_on"):
            self.leader_on = event == "leader_on"
        elif event == "leader_near":
            self.leader = core.gate.position + rng.uniform(-0.2, 0.2, J) * LIMITS.start.clip(
                max=0.5
            )
        elif event == "leader_anywhere":
            self.leader = rng.uniform(LIMITS.low - 0.5, LIMITS.high + 0.5)
        elif event in ("leader_nan", "leader_huge"):
            bad = self.leader.copy()
            bad[rng.integers(J)] = rng.choice([np.nan, np.inf, 1e9, -1e300])
            assert core.on_leader(self.now, bad, self.now + SECOND, self.now)
        elif event == "leader_burst":  # messages that waited, all at once
            for _ in range(4):
                self.move_leader()
        else:
            core.resume()

    def switch(self, held: bool) -> None:
        """The dead-man says something; a press counts after a release."""
        self.pressed |= held and not self.held
        self.held, self.deadman_ns = held, self.now
        self.core.on_deadman(held, self.now)

    def move_leader(self) -> None:
        """The leader moves on, faster than the arms can at times."""
        self.leader = self.leader + self.rng.normal(0, 1.5, J) * LIMITS.velocity * 0.02
        self.leader_ns = self.now
        assert not self.core.on_leader(self.now, self.leader, self.now + SECOND // 5, self.now)

    def jump_clock(self, event: str) -> None:
        self.now += {
            "back": -SECOND,
            "back_far": -9 * SECOND,
            "forward": 3 * SECOND,
            "stand_still": -PERIOD,
            "slew": -PERIOD - PERIOD // 2,
        }[event]

    def stopped(self) -> None:
        self.pressed = False
        self.judge.stopped()
        if self.last is not None:
            self.frozen = self.last.command

    def relatched(self) -> None:
        """Arms may have been moved while nothing was commanded: a new beginning."""
        self.judge.restart()
        self.frozen = None
        self.rows_seen = (0, -1)

    # --- the tick ------------------------------------------------------------------------------

    def tick(self) -> None:
        """A period later: inputs, the tick, and every check."""
        self.now += PERIOD
        if self.policy:
            self.core.on_heartbeat(self.now)
        if self.state:
            pose = self.core.gate.position.copy()
            pose[[2, 5]] = (1.0 - pose[[2, 5]]) * 0.08
            self.measured += 0.7 * (pose - self.measured)
            self.core.on_state(self.now, self.measured)
        if self.deadman_on:
            self.switch(self.held)
        if self.leader_on:
            self.move_leader()
        result = self.core.tick(self.now)
        self.last = result if result.command is not None else None
        if self.last is None:
            assert result.mode is Mode.INACTIVE and not result.publish
            return
        self.judge.see(result.command)
        if result.source is Source.HUMAN:
            self.check_human()
        if self.frozen is not None:
            assert (result.command == self.frozen).all(), "moved after a stop"
        if self.core.estop.latched:
            assert result.mode is Mode.ESTOP and result.hold_cause == Cause.EMERGENCY_STOP
            assert not result.velocity.any()
        assert (result.mode is Mode.RUNNING) == (result.hold_cause == "")
        assert (result.mode is Mode.RUNNING) == (result.source is not Source.NONE)
        self.check_row(result)

    def check_human(self) -> None:
        """The arms follow a human only while a fresh switch is held that was pressed since a stop."""
        self.frozen = None
        assert self.held and self.pressed and not self.core.estop.latched
        assert self.now - self.deadman_ns <= SECOND // 5
        assert self.now - self.leader_ns <= SECOND // 5

    def check_row(self, result: Any) -> None:
        """Within one chunk the row never goes back; a replaced chunk never returns."""
        if result.chunk_id == 0:
            self.rows_seen = (0, -1)
            return
        assert 0 <= result.row < 12
        chunk_id, row = self.rows_seen
        assert result.chunk_id >= chunk_id
        if result.chunk_id == chunk_id:
            assert result.row >= row
        self.rows_seen = (result.chunk_id, result.row)


@examples(quick=400, full=60_000)
@given(
    seed=st.integers(0, 2**32 - 1),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    script=st.lists(
        st.tuples(st.integers(0, TICKS - 1), st.sampled_from(EVENTS)), min_size=4, max_size=24
    ),
)
def test_any_script_stays_inside_the_limits(
    seed: int, strategy: str, script: list[tuple[int, str]]
) -> None:
    scene = Scene(seed, strategy)
    ordered = sorted(script, key=lambda item: item[0])
    for index in range(TICKS):
        for _, event in (item for item in ordered if item[0] == index):
            scene.happen(event)
        scene.tick()


@examples(quick=120, full=5_000)
@given(
    seed=st.integers(0, 2**32 - 1),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    stop_at=st.integers(0, 19),
    reason=st.sampled_from(["estop", "hold", "deactivate"]),
)
def test_after_a_stop_not_one_command_moves(
    seed: int, strategy: str, stop_at: int, reason: str
) -> None:
    """In the middle of a motion, at any tick, with chunks still coming in."""
    scene = Scene(seed, strategy)
    published: list[np.ndarray] = []
    for index in range(20):
        if index == stop_at:
            scene.disturb(reason)
            held = scene.core.gate.position.copy()
            if published:
                assert (held == published[-1]).all()
        if index % 3 == 0:
            scene.send(scene.rows())
        scene.tick()
        if scene.last is not None:
            published.append(scene.last.command)
        if index >= stop_at:
            assert (scene.core.gate.position == held).all()


@examples(quick=30, full=2_000)
@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(J)))
def test_columns_in_any_order_give_the_same_motion(seed: int, order: list[int]) -> None:
    moved = []
    for columns in (list(range(J)), order):
        scene = Scene(seed, "async")
        names = tuple(ROBOT.joint_ids[column] for column in columns)
        assert scene.send(scene.rows()[:, columns], names=names).accepted
        for _ in range(10):
            scene.tick()
        moved.append(scene.core.gate.position.copy())
    np.testing.assert_array_equal(*moved)


def test_a_human_does_reach_motion() -> None:
    """As below, with a leader."""
    moved = []
    for seed in range(20):
        scene = Scene(seed, "async")
        for index in range(TICKS):
            scene.happen({2: "press", 3: "leader_near"}.get(index, "leader_on"))
            scene.tick()
        assert scene.last.source is Source.HUMAN or scene.last.hold_cause == Cause.LEADER_FAR
        moved.append(np.abs(scene.core.gate.position - HOME_COMMAND).max())
    assert np.median(moved) > 0.05


def test_the_scripts_do_reach_motion() -> None:
    """The property above is not kept by standing still: plain scripts move the arms far."""
    moved = []
    for seed in range(20):
        scene = Scene(seed, "async")
        for index in range(TICKS):
            if index % 4 == 0:
                scene.happen("good")
            scene.tick()
        moved.append(np.abs(scene.core.gate.position - HOME_COMMAND).max())
        assert scene.core.mode is Mode.RUNNING
    assert np.median(moved) > 0.05
