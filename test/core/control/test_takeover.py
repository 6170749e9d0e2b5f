# SPDX-License-Identifier: Apache-2.0
"""A human takes the arms over and gives them back: who moves them in which tick, and from where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from control_support import (
    HOME_COMMAND,
    LIMITS,
    PERIOD,
    SECOND,
    Driven,
    J,
    Judge,
    chunk,
    ramp,
    robot,
)

from adamoe_ros.control.core import ControlCore
from adamoe_ros.control.settings import Cause
from adamoe_ros.control.status import Mode, Source

TIMEOUT = SECOND // 5


class Led(Driven):
    """A moving robot, a leader beside it and a dead-man in somebody's hand; judged in every tick."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.judge = Judge(LIMITS, self.core.period_s)
        self.held, self.leader, self.speed = False, HOME_COMMAND.copy(), np.zeros(J)
        self.feed_deadman = self.feed_leader = True
        self.ticks(2)
        self.send()
        assert self.ticks(20)[-1].source is Source.POLICY
        self.leader = self.core.gate.position.copy()

    def send(self, number: int = 1, generation: int = 1, speed: float = 0.6) -> Any:
        rows = ramp(100, speed) + (self.core.gate.position - HOME_COMMAND)
        return self.core.on_chunk(chunk(rows, self.now, number, generation), self.now)

    def tick(self) -> Any:
        now = self.now + PERIOD
        self.leader = self.leader + self.speed * self.core.period_s
        if hasattr(self, "feed_deadman"):
            if self.feed_deadman:
                self.core.on_deadman(self.held, now)
            if self.feed_leader:
                assert not self.core.on_leader(now, self.leader, now + TIMEOUT, now)
        result = super().tick()
        self.judge.see(result.command)
        return result

    def press(self) -> Any:
        self.held = True
        return self.tick()

    @property
    def status(self) -> Any:
        return self.core.status(self.now)


def braking_time(led: Led) -> float:
    return float((np.abs(led.core.gate.velocity) / LIMITS.acceleration).max())


def test_the_human_is_followed_from_the_next_tick_on_and_chunks_are_not() -> None:
    led = Led()
    assert (led.status.source, led.status.takeover) == (Source.POLICY, False)
    result = led.press()
    assert result.changed and result.source is Source.HUMAN and result.mode is Mode.RUNNING
    assert result.chunk_id == 0 and led.status.takeover
    led.speed[1] = 0.3
    assert not led.send(2).accepted
    assert {result.source for result in led.ticks(60)} == {Source.HUMAN}
    # as far behind as one leader message and the acceleration limit make it
    np.testing.assert_allclose(led.core.gate.position, led.leader, atol=0.02)


def test_back_with_the_policy_nothing_of_before_counts() -> None:
    led = Led(takeover_release="policy")
    led.press()
    led.ticks(20)
    led.held = False
    result = led.tick()
    assert result.changed and result.hold_cause == Cause.TAKEOVER and not led.status.takeover
    led.core.on_run(1)
    assert not led.send(3).accepted, "the generation of before"
    led.core.on_run(2)
    assert led.tick().hold_cause == Cause.NO_CHUNK
    assert led.send(1, 2).accepted
    assert led.ticks(30)[-1].source is Source.POLICY


def test_released_into_a_hold_until_resume_or_a_press() -> None:
    led = Led()
    led.press()
    led.speed[0] = 1.0
    led.ticks(20)
    led.held = False
    rest = round(braking_time(led) / led.core.period_s) + 2
    results = led.ticks(rest + 20)
    assert {result.hold_cause for result in results} == {Cause.TAKEOVER_RELEASED}
    assert not results[-1].velocity.any() and led.status.takeover
    assert not led.send(4).accepted
    led.leader = led.core.gate.position.copy()
    assert led.press().source is Source.HUMAN
    assert "let the dead-man go" in led.core.resume()
    led.held = False
    led.tick()
    assert led.core.resume() == ""
    assert led.tick().hold_cause == Cause.TAKEOVER and not led.status.takeover
    assert "no takeover" in led.core.resume()


def test_without_a_goal_a_release_leaves_what_was_before() -> None:
    led = Led()
    led.core.on_hold("cancelled")
    led.judge.stopped()
    led.leader = led.core.gate.position.copy()
    assert led.press().source is Source.HUMAN
    led.held = False
    assert led.tick().hold_cause == "cancelled" and not led.status.takeover


def test_a_hold_of_the_policy_does_not_stop_the_human() -> None:
    led = Led()
    led.press()
    led.core.on_hold("inputs_late")
    assert {result.source for result in led.ticks(10)} == {Source.HUMAN}
    led.held = False
    assert led.tick().hold_cause == "inputs_late"


def test_another_goal_ends_the_hold_of_a_release() -> None:
    led = Led()
    led.press()
    led.held = False
    led.tick()
    led.core.on_run(2)
    assert led.tick().hold_cause == Cause.NO_CHUNK and not led.status.takeover


@pytest.mark.parametrize("release", ["hold", "policy"])
def test_a_deadman_that_falls_silent_is_a_hold_in_time(release: str) -> None:
    led = Led(takeover_release=release)
    led.press()
    led.speed[0] = 1.0
    led.ticks(20)
    led.feed_deadman = False
    since = led.now
    while (result := led.tick()).source is Source.HUMAN:
        assert led.now - since < SECOND
    assert led.now - since <= TIMEOUT + PERIOD
    assert result.hold_cause == Cause.DEADMAN_LOST
    led.feed_deadman = True  # held, but nobody let go and pressed
    assert {result.source for result in led.ticks(50)} == {Source.NONE}
    led.speed[:] = 0.0
    led.leader, led.held = led.core.gate.position.copy(), False
    led.tick()
    assert led.press().source is Source.HUMAN


def test_a_deadman_lost_while_the_node_stood_still_counts_as_lost() -> None:
    led = Led()
    led.press()
    led.now += 2 * SECOND  # nothing ran, and the switch's newest word is there at once
    assert led.tick().hold_cause == Cause.DEADMAN_LOST


def test_a_deadman_held_from_the_start_moves_nothing() -> None:
    driven = Driven()
    for _ in range(20):
        driven.core.on_deadman(True, driven.now)
        driven.core.on_leader(driven.now, HOME_COMMAND, driven.now + TIMEOUT, driven.now)
        assert driven.tick().source is Source.NONE


def test_a_silent_leader_is_a_hold_and_goes_on_by_itself() -> None:
    led = Led()
    led.press()
    led.ticks(10)
    led.feed_leader = False
    since = led.now
    while (result := led.tick()).source is Source.HUMAN:
        assert led.now - since < SECOND
    assert result.hold_cause == Cause.LEADER_STALE and led.now - since <= TIMEOUT + PERIOD
    led.ticks(20)
    led.feed_leader = True
    assert led.tick().source is Source.HUMAN


def test_a_leader_far_away_holds_and_names_the_joints() -> None:
    led = Led()
    led.leader = led.leader + np.array([0.0, 0.6, 0.0, 0.0, 0.0, 0.9])
    result = led.press()
    assert result.hold_cause == Cause.LEADER_FAR
    assert "left/b by 0.6" in led.status.hold_detail and "right/g" in led.status.hold_detail
    led.ticks(20)
    led.leader = led.core.gate.position.copy()
    assert led.tick().source is Source.HUMAN


def test_with_start_ramp_a_far_leader_is_approached_slowly() -> None:
    led = Led(start_ramp=True)
    led.leader = led.leader + np.array([0.0, 0.9, 0.0, 0.0, 0.0, 0.0])
    led.press()
    led.ticks(40)  # what the arms had of speed is gone
    top = LIMITS.velocity * led.core.settings.start_ramp_speed
    for result in led.ticks(100):
        assert result.source is Source.HUMAN
        assert (np.abs(result.velocity) <= top + 1e-9).all()
    led.ticks(200)
    np.testing.assert_allclose(led.core.gate.position, led.leader, atol=1e-3)


def test_a_leader_that_jumps_is_not_followed_to_there() -> None:
    led = Led()
    led.press()
    led.ticks(10)
    led.leader = led.leader + np.array([0.0, 0.7, 0.0, 0.0, 0.0, 0.0])
    assert led.tick().hold_cause == Cause.LEADER_FAR


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, 500.0])
def test_an_absurd_leader_is_refused_by_name(value: float) -> None:
    led = Led()
    led.press()
    wrong = led.leader.copy()
    wrong[4] = value
    assert "right/b" in led.core.on_leader(led.now, wrong, led.now + TIMEOUT, led.now)
    assert led.tick().source is Source.HUMAN


@pytest.mark.parametrize("release", ["hold", "policy"])
def test_an_emergency_stop_ends_the_takeover_at_once_and_wants_a_press(release: str) -> None:
    led = Led(takeover_release=release)
    led.press()
    led.speed[0] = 1.0
    last = led.ticks(20)[-1].command
    led.core.on_estop()
    led.judge.stopped()
    led.speed[:] = 0.0
    result = led.tick()
    assert result.mode is Mode.ESTOP and result.source is Source.NONE
    np.testing.assert_array_equal(result.command, last)
    led.core.on_estop(False)
    assert not led.core.reset(led.now)
    led.judge.restart()
    assert {result.source for result in led.ticks(20)} == {Source.NONE}
    led.held, led.leader = False, led.core.gate.position.copy()
    led.tick()
    assert led.press().source is Source.HUMAN


def test_a_press_during_a_conflict_does_not_count_later() -> None:
    led = Led()
    led.press()
    led.core.on_conflict("/rogue publishes commands")
    assert led.tick().hold_cause == Cause.CONFLICT
    led.held = False
    led.tick()
    led.press()
    led.core.on_conflict("")
    assert {result.source for result in led.ticks(10)} == {Source.NONE}


def test_stale_joint_states_stop_the_human_too() -> None:
    led = Led()
    led.press()
    led.feed_state = False
    assert led.ticks(15)[-1].hold_cause == Cause.STATE_STALE


def test_joints_that_nobody_leads_come_to_rest() -> None:
    teleop = {"arms": {"right": {"topic": "leader"}}, "deadman": {"topic": "deadman"}}
    driven = Driven(robot(teleop=teleop))
    driven.ticks(2)
    rows = ramp(100, 0.6)
    driven.core.on_chunk(chunk(rows, driven.now), driven.now)
    driven.ticks(20)
    leader = driven.core.gate.position.copy()
    coasting = driven.core.gate.position + driven.core.gate.velocity * 0.2
    for held in (False, *(True,) * 40):
        now = driven.now + PERIOD
        driven.core.on_deadman(held, now)
        driven.core.on_leader(now, leader, now + TIMEOUT, now)
        result = driven.tick()
    assert result.source is Source.HUMAN
    assert np.abs(result.velocity[:3]).max() < 1e-3
    assert abs(result.command[0] - leader[0]) < abs(coasting[0] - leader[0])


def test_without_teleop_in_the_profile_nobody_takes_over() -> None:
    core = ControlCore(robot(teleop=None))
    core.activate(SECOND, np.array([0.0, 0.5, 0.04, 0.0, 0.5, 0.04]))
    for held in (False, True, True):
        core.on_deadman(held, SECOND)
        assert core.tick(SECOND).source is Source.NONE
    assert (core.status(SECOND).leader_age, core.status(SECOND).takeover) == (-1.0, False)
