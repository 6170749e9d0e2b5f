# SPDX-License-Identifier: Apache-2.0
"""The page as a leader: when its dead-man counts, and where its leader may be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from console_robot import PROFILE
from hypothesis import given, settings
from hypothesis import strategies as st

from adamoe_ros.console.page_leader import PERIOD_S, WORD_S, PageLeader
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.control.limits import joint_limits

LIMITS, HOME = joint_limits(PROFILE), np.array([*PROFILE.arms["left"].home] * 2)
EVE, ADAM = "Eve (#1)", "Adam (#2)"


class Led:
    """Arms that are where they are commanded, and a clock."""

    def __init__(self) -> None:
        self.now, self.arms = 50.0, HOME.copy()
        self.leader = PageLeader(PROFILE, lambda: self.now)
        self.status()
        self.leader.take(EVE)

    def status(self, deadman_age: float = -1.0) -> None:
        self.leader.arms(self.arms, deadman_age)

    def tick(self, seconds: float = PERIOD_S) -> tuple[bool, np.ndarray]:
        self.now += seconds
        said = self.leader.step()
        assert said is not None
        return said

    def press(self, **jog: float) -> tuple[bool, np.ndarray]:
        for pressed in (False, True):
            self.leader.say(EVE, pressed, {name.replace("_", "/", 1): v for name, v in jog.items()})
        return self.tick()


def test_held_it_is_jogged_from_where_the_arms_are_and_let_go_it_is_with_them() -> None:
    led = Led()
    held, at = led.press(left_waist=1.0)
    assert held
    assert np.flatnonzero(at != HOME).tolist() == [0]
    assert 0 < at[0] < 0.02
    led.leader.say(EVE, False, {"left/waist": 1.0})
    held, at = led.tick()
    assert not held
    np.testing.assert_array_equal(at, HOME)


def test_it_does_not_run_away_from_arms_that_do_not_follow() -> None:
    led = Led()
    led.press()
    for _ in range(200):
        led.status()
        led.leader.say(EVE, True, dict.fromkeys(led.leader.joints, 1.0))
        _, at = led.tick()
    ahead = at - HOME
    start = np.where(LIMITS.gripper, 0.25 * (LIMITS.high - LIMITS.low), LIMITS.start)
    assert (ahead < start).all()
    assert (at <= LIMITS.high).all()
    assert ahead[~LIMITS.gripper].min() > 0.1


@pytest.mark.parametrize("lost", ["page", "control"])
def test_who_falls_silent_lets_go_and_has_to_press_anew(lost: str) -> None:
    led = Led()
    assert led.press()[0]
    for _ in range(40):
        if lost == "page":
            led.status()
        else:
            led.leader.say(EVE, True, {})
        held, _ = led.tick()
    assert not held
    led.status()
    led.leader.say(EVE, True, {})
    assert not led.tick()[0], "held all the time"
    assert led.press()[0]


def test_one_leads_and_whoever_goes_lets_go() -> None:
    led = Led()
    led.press()
    with pytest.raises(ContractError, match=r"Eve \(#1\)"):
        led.leader.take(ADAM)
    led.leader.say(ADAM, False, {})
    led.leader.leave(ADAM)
    assert led.tick()[0], "Adam has no say in it"
    led.leader.leave(EVE)
    assert not led.tick()[0], "it says that it is let go"
    led.now += 1.0
    assert led.leader.step() is None, "then it is silent"
    led.status()
    led.leader.take(ADAM)
    led.leader.say(ADAM, True, {})
    assert not led.tick()[0], "he has not pressed: it was held before"


def test_it_is_refused_beside_another_switch_and_without_control() -> None:
    led = Led()
    led.leader.leave(EVE)
    led.now += 5.0
    with pytest.raises(ContractError, match="control_status"):
        led.leader.take(EVE)
    led.status(deadman_age=0.05)
    with pytest.raises(ContractError, match="no other dead-man"):
        led.leader.take(EVE)
    led.now += 5.0
    led.status(deadman_age=5.0)
    led.leader.take(EVE)


numbers = st.floats(allow_nan=True, allow_infinity=True)
moments = st.tuples(
    st.sampled_from(["say", "status", "leave", "take", "wait"]),
    st.booleans(),
    st.dictionaries(st.sampled_from([*PROFILE.joint_ids, "none"]), numbers, max_size=4),
    st.floats(0.0, 0.6),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(moments, max_size=40))
def test_whatever_the_page_says_the_leader_is_inside_and_near_and_never_held_for_long(
    story: list[tuple[str, bool, dict[str, float], float]],
) -> None:
    led = Led()
    said_at = -math.inf
    for what, pressed, jog, seconds in story:
        if what == "say":
            led.leader.say(EVE, pressed, jog)
            said_at = led.now if led.leader.by else said_at
        elif what == "status":
            led.status()
        elif what == "leave":
            led.leader.leave(EVE)
        elif what == "take" and not led.leader.by:
            led.status()
            led.leader.take(EVE)
        led.now += seconds
        said = led.leader.step()
        if said is None:
            assert not led.leader.by
            continue
        held, at = said
        assert (at >= LIMITS.low).all()
        assert (at <= LIMITS.high).all()
        assert (np.abs(at - led.arms)[~LIMITS.gripper] <= 0.2).all()
        assert not held or (led.leader.by == EVE and led.now - said_at <= WORD_S)
        led.arms = np.clip(0.5 * (led.arms + at), LIMITS.low, LIMITS.high)
