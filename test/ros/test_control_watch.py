# SPDX-License-Identifier: Apache-2.0
"""What control_status says about a goal: why control does not follow it, and nothing for no reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamoe_ros.control.settings import DOUBTS
from adamoe_ros.msg import ControlStatus
from adamoe_ros.ros.policy.control_watch import ControlWatch

GENERATION = 7
HOLD, RUNNING, INACTIVE = ControlStatus.HOLD, ControlStatus.RUNNING, ControlStatus.INACTIVE


class Goal:
    """A goal of generation 7, and statuses every 50 ms."""

    def __init__(self) -> None:
        self.watch, self.now, self.ticks = ControlWatch(), 100.0, 1000
        self.watch.begin(GENERATION, self.now)

    def hear(self, times: int = 1, **fields: Any) -> str:
        """So many statuses; the refusal after the last."""
        for _ in range(times):
            self.now += 0.05
            self.ticks += 5
            status = {"generation": GENERATION, "mode": RUNNING, "ticks": self.ticks, **fields}
            self.watch.hear(ControlStatus(**status), self.now)
        return self.watch.refusal(self.now)


@pytest.fixture
def goal() -> Goal:
    """Taken up, and its first chunk is followed."""
    made = Goal()
    assert made.hear(mode=HOLD, hold_cause="no_chunk") == ""
    made.watch.sent(1)
    assert made.hear(chunk_id=1, accepted_chunks=1) == ""
    return made


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "deactivated": ({"mode": INACTIVE, "generation": 0}, "expected active, got inactive"),
    "another RUN": ({"generation": 9}, "got generation 9 of another RUN; another node publishes"),
    "another HOLD": ({"mode": HOLD, "hold_cause": "teleop"}, "got a hold (teleop); another node"),
    "started again": ({"mode": HOLD, "ticks": 3, "generation": 0, "hold_cause": "not_started"},
                      "started again within the goal"),
    "refused chunks": ({"mode": HOLD, "hold_cause": "rejected_chunks"}, "several chunks in a row"),
    "conflict": ({"mode": HOLD, "hold_cause": "conflict", "hold_detail": "/rogue; stop it"},
                 "got a hold (conflict); /rogue; stop it"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_said_twice_ends_the_goal(goal: Goal, name: str) -> None:
    fields, text = REFUSALS[name]
    first = goal.hear(**fields)
    line = first or goal.hear(**fields)
    assert text in line
    assert (first == "") == (name != "started again")  # a clock of ticks does not lie


def test_a_cause_from_before_the_goal_is_no_reason_until_a_tick_has_passed() -> None:
    """RUN's generation is taken as it arrives, the cause of the hold with the next control tick."""
    goal = Goal()
    for _ in range(4):  # a busy computer: no tick for 200 ms
        assert goal.hear(mode=HOLD, hold_cause="no_goal", ticks=1000) == ""
    assert goal.hear(mode=HOLD, hold_cause="no_chunk", ticks=1001) == ""
    assert goal.hear(mode=HOLD, hold_cause="teleop", ticks=1002) == ""
    assert "got a hold (teleop)" in goal.hear(mode=HOLD, hold_cause="teleop", ticks=1003)


def test_a_foreign_chunk_ends_the_goal_at_once(goal: Goal) -> None:
    line = goal.hear(chunk_id=10**9, accepted_chunks=2)
    assert "chunk 1000000000 from elsewhere; stop the other publisher of action_chunk" in line


def test_control_that_never_takes_the_goal() -> None:
    goal = Goal()
    line = goal.hear(30, mode=HOLD, generation=3, hold_cause="cancelled")
    assert "expected this goal's RUN, got generation 3 (cancelled)" in line


def test_chunks_that_control_does_not_hear(goal: Goal) -> None:
    for number in range(2, 8):
        goal.watch.sent(number)
    line = goal.hear(30, chunk_id=1, accepted_chunks=1)
    assert "expected to hear the chunks, got none of the last" in line


def test_chunks_that_are_all_too_late(goal: Goal) -> None:
    line = goal.hear(chunk_id=1, accepted_chunks=1, late_chunks=5)
    assert "got 5 dropped in a row, too late or superseded" in line


@pytest.mark.parametrize("cause", ["", *DOUBTS])
def test_doubts_of_control_do_not_end_the_goal(goal: Goal, cause: str) -> None:
    mode = HOLD if cause else RUNNING
    assert goal.hear(60, mode=mode, hold_cause=cause, chunk_id=1, accepted_chunks=1) == ""
    assert goal.watch.followed


def test_one_status_from_before_the_goal_is_no_refusal() -> None:
    goal = Goal()
    assert goal.hear(mode=INACTIVE, generation=0) == ""
    assert goal.hear(mode=HOLD, hold_cause="cancelled") == ""  # made before the tick after RUN
    assert goal.hear(mode=HOLD, hold_cause="no_chunk") == ""
    assert not goal.watch.followed


UINT64 = st.integers(0, 2**64 - 1)
STATUSES = st.builds(
    ControlStatus,
    mode=st.integers(0, 255),
    hold_cause=st.sampled_from(["", "conflict", "no_chunk", "x" * 1000]),
    generation=st.sampled_from([GENERATION, 0, 2**32 - 1]),
    chunk_id=UINT64,
    ticks=UINT64,
    accepted_chunks=UINT64,
    rejected_chunks=UINT64,
    late_chunks=UINT64,
    command_age=st.floats(),
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(STATUSES, max_size=8))
def test_statuses_of_any_numbers_are_judged_in_one_line(statuses: list[ControlStatus]) -> None:
    watch = ControlWatch()
    watch.begin(GENERATION, 0.0)
    for number, status in enumerate(statuses):
        watch.sent(number)
        watch.hear(status, number * 0.3)
        assert "\n" not in watch.refusal(number * 0.3)


def looks_until_silent(goal: Goal, period: float) -> float:
    """s from now until control_node counts as gone, looked at with this period."""
    begun = goal.now
    while not goal.watch.silent(goal.now):
        goal.now += period
        assert goal.now < begun + 100.0
    return goal.now - begun


def test_silence_of_control_is_what_this_process_was_awake_for(goal: Goal) -> None:
    """A policy_node that stood still for seconds finds statuses in its queue, not a dead control_node."""
    assert not goal.watch.silent(goal.now)
    goal.now += 30.0
    assert not goal.watch.silent(goal.now)
    goal.hear(chunk_id=1, accepted_chunks=1)
    assert looks_until_silent(goal, 0.02) == pytest.approx(2.0, abs=0.1)
    goal.hear(chunk_id=1, accepted_chunks=1)
    assert looks_until_silent(goal, 1.0) > 15.0  # ten times as slow as a look may be
    goal.hear(chunk_id=1, accepted_chunks=1)
    goal.now += 0.02
    goal.watch.silent(goal.now)
    goal.watch.go_on(GENERATION + 1, goal.now)  # to plan anew is no sign of life
    assert looks_until_silent(goal, 0.02) == pytest.approx(2.0, abs=0.1)
