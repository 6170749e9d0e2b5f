# SPDX-License-Identifier: Apache-2.0
"""Every named stop and hold: what happens in which tick, and what is needed to move again."""

from __future__ import annotations

import numpy as np
import pytest
from control_support import (
    HOME,
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

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.control.core import ControlCore
from adamoe_ros.control.settings import Cause
from adamoe_ros.control.status import Mode


def moving(**settings: object) -> Driven:
    """In the middle of a long motion at 0.6 rad/s."""
    driven = Driven(**settings)
    driven.ticks(2)
    send(driven)
    assert driven.ticks(20)[-1].mode is Mode.RUNNING
    assert driven.core.gate.velocity[0] > 0.5
    return driven


def send(driven: Driven, number: int = 1, generation: int = 1, speed: float = 0.6) -> object:
    rows = ramp(100, speed) + (driven.core.gate.position - HOME_COMMAND)
    return driven.core.on_chunk(chunk(rows, driven.now, number, generation), driven.now)


def braking_ticks(driven: Driven) -> int:
    """Periods that the fastest joint needs to come to rest."""
    step = LIMITS.acceleration * driven.core.period_s
    return int(np.ceil(np.abs(driven.core.gate.velocity) / step).max())


# --- stops asked for by somebody: this very command stays ----------------------------------------


@pytest.mark.parametrize("reason", ["cancelled", "goal replaced", ""])
def test_hold_latches_the_last_published_command_in_its_tick(reason: str) -> None:
    driven = moving()
    last = driven.tick().command
    driven.core.on_hold(reason)
    for result in driven.ticks(30):
        np.testing.assert_array_equal(result.command, last)
        assert not result.velocity.any()
        assert result.mode is Mode.HOLD
        assert result.hold_cause == (reason.replace(" ", "_") or "stopped")
    assert send(driven, 2).late  # chunks on their way are dropped


def test_after_a_hold_only_a_run_moves_and_from_rest() -> None:
    driven = moving()
    driven.core.on_hold("cancelled")
    judge = Judge(LIMITS, driven.core.period_s)
    judge.see(driven.tick().command)
    driven.core.on_run(2)
    assert driven.tick().hold_cause == Cause.NO_CHUNK
    assert not send(driven, 2, generation=1).accepted
    assert send(driven, 1, generation=2).accepted
    for result in driven.ticks(30):
        judge.see(result.command)
    assert result.mode is Mode.RUNNING


def test_a_run_of_another_generation_brakes_and_waits_for_its_chunks() -> None:
    driven = moving()
    judge = Judge(LIMITS, driven.core.period_s)
    judge.see(driven.core.gate.position)
    judge.speed = driven.core.gate.velocity
    needed = braking_ticks(driven)
    driven.core.on_run(2)
    for result in driven.ticks(needed):
        judge.see(result.command)
        assert result.hold_cause == Cause.NO_CHUNK
    assert not result.velocity.any()


def test_the_same_run_again_changes_nothing() -> None:
    driven = moving()
    driven.core.on_run(1)
    assert driven.tick().mode is Mode.RUNNING


def test_estop_latches_and_publishes_nothing_by_default() -> None:
    driven = moving()
    last = driven.tick().command
    driven.core.on_estop()
    driven.core.on_estop(False)  # the button comes out again: still latched
    for result in driven.ticks(20):
        assert (result.mode, result.hold_cause) == (Mode.ESTOP, Cause.EMERGENCY_STOP)
        assert not result.publish
        np.testing.assert_array_equal(result.command, last)
    driven.core.on_run(2)
    assert send(driven, 1, 2).late
    assert driven.tick().mode is Mode.ESTOP


def test_a_latched_stop_is_said_without_ticks_as_well() -> None:
    driven = moving()
    driven.core.deactivate()
    assert driven.core.status(driven.now).hold_cause == ""
    driven.core.on_estop_call()
    assert driven.core.status(driven.now).hold_cause == Cause.EMERGENCY_STOP
    assert driven.core.status(driven.now).mode == int(Mode.INACTIVE)


def test_estop_output_repeats_the_held_command() -> None:
    driven = moving(estop_output=True)
    driven.core.on_estop()
    assert all(result.publish for result in driven.ticks(5))


def test_reset_only_while_inputs_are_healthy() -> None:
    driven = moving()
    assert driven.core.reset(driven.now) == "there is no emergency stop to reset"
    driven.core.on_estop()
    driven.tick()
    assert driven.core.reset(driven.now) == "the stop is still pressed"
    driven.core.on_estop(False)
    driven.feed_state = False
    driven.ticks(15)
    assert driven.core.reset(driven.now) == "no fresh joint states"
    driven.feed_state = True
    driven.tick()
    assert driven.core.reset(driven.now) == ""
    assert driven.tick().hold_cause == Cause.RESET
    assert not send(driven, 9).accepted
    driven.core.on_run(1)
    assert send(driven, 9).accepted
    assert driven.ticks(3)[-1].mode is Mode.RUNNING


def test_a_stop_by_call_has_no_button_to_release() -> None:
    driven = Driven()
    driven.tick()
    driven.core.on_estop_call()
    assert driven.tick().mode is Mode.ESTOP
    assert driven.core.reset(driven.now) == ""
    assert driven.tick().mode is Mode.HOLD
    driven.core.on_estop()  # a button that is in keeps it, whoever stopped last
    driven.core.on_estop_call()
    assert "pressed" in driven.core.reset(driven.now)


def test_arms_that_sagged_during_the_stop_are_held_where_they_are() -> None:
    driven = moving()
    driven.core.on_estop()
    driven.core.on_estop(False)
    driven.feed_state = False
    driven.ticks(3)
    sagged = driven.measured() - np.array([0.0, 0.3, 0.0, 0.0, 0.0, 0.0])
    driven.now += PERIOD
    driven.core.on_state(driven.now, sagged)
    driven.core.tick(driven.now)
    before = driven.core.gate.position.copy()
    assert driven.core.reset(driven.now) == ""
    assert driven.core.gate.position[1] == pytest.approx(before[1] - 0.3)


def test_small_sag_keeps_the_command_and_so_the_grip() -> None:
    driven = moving()
    driven.core.on_estop()
    driven.core.on_estop(False)
    driven.feed_state = False
    measured = driven.measured()
    measured[1] -= 0.01
    measured[2] += 0.03  # fingers are held apart by what they hold
    driven.now += PERIOD
    driven.core.on_state(driven.now, measured)
    before = driven.core.tick(driven.now).command
    assert driven.core.reset(driven.now) == ""
    np.testing.assert_array_equal(driven.core.gate.position, before)


def test_deactivate_ends_the_commands() -> None:
    driven = moving()
    driven.core.deactivate()
    result = driven.tick()
    assert result.command is None and result.mode is Mode.INACTIVE and not result.publish
    assert send(driven, 2).late


# --- activation ----------------------------------------------------------------------------------


def test_activation_holds_the_measured_pose_latched_once() -> None:
    core = ControlCore(robot())
    core.activate(SECOND, HOME)
    for tick in range(1, 20):
        sagging = HOME - 0.001 * tick
        core.on_state(SECOND + tick * PERIOD, sagging)
        result = core.tick(SECOND + tick * PERIOD)
        np.testing.assert_allclose(result.command, HOME_COMMAND)
        assert result.hold_cause == Cause.NOT_STARTED


def test_activation_names_every_joint_outside_of_its_limits() -> None:
    core = ControlCore(robot())
    wrong = HOME.copy()
    wrong[0], wrong[4] = -1.6, 2.4
    with pytest.raises(ContractError) as caught:
        core.activate(SECOND, wrong)
    assert len(caught.value.problems) == 2
    assert "left/a" in str(caught.value) and "right/b" in str(caught.value)
    assert core.tick(SECOND).command is None
    slightly = HOME.copy()
    slightly[1] = -0.25  # 2 % of the range below the limit: encoder noise
    core.activate(SECOND, slightly)
    assert core.tick(SECOND).command[1] == -0.2  # type: ignore[index]


def test_hold_output_off_publishes_only_while_something_moves() -> None:
    driven = moving(hold_output=False)
    driven.feed_heartbeat = False
    results = driven.ticks(120)
    braking = [r for r in results if r.mode is Mode.HOLD]
    assert braking[0].publish and not braking[-1].publish


# --- doubt: brake inside the limits, hold, resume ------------------------------------------------


def lose_state(driven: Driven) -> None:
    driven.feed_state = False


def lose_policy(driven: Driven) -> None:
    driven.feed_heartbeat = False


@pytest.mark.parametrize(
    ("lose", "cause", "bound_s"),
    [(lose_state, Cause.STATE_STALE, 0.2), (lose_policy, Cause.POLICY_LOST, 1.0)],
)
def test_doubt_brakes_holds_and_resumes(lose: object, cause: str, bound_s: float) -> None:
    driven = moving()
    judge = Judge(LIMITS, driven.core.period_s)
    judge.see(driven.core.gate.position)
    judge.speed = driven.core.gate.velocity
    lose(driven)  # type: ignore[operator]
    lost = driven.now
    results = driven.ticks(70)
    for result in results:
        judge.see(result.command)
    first = next(r for r in results if r.mode is Mode.HOLD)
    assert first.hold_cause == cause
    assert first.now_ns - lost <= bound_s * SECOND + PERIOD
    assert not results[-1].velocity.any()
    driven.feed_state = driven.feed_heartbeat = True
    assert send(driven, 2, speed=-0.6).accepted  # type: ignore[attr-defined]
    for result in driven.ticks(20):
        judge.see(result.command)
    assert result.mode is Mode.RUNNING and result.velocity[0] < -0.3


def test_a_heartbeat_alone_moves_nothing_after_the_policy_was_lost() -> None:
    """A policy that was started again: the rest of the old one's chunk is forgotten."""
    driven = moving()  # 2 s of rows, the heartbeat is lost after 1 s
    driven.feed_heartbeat = False
    rested = driven.ticks(70)[-1]
    assert rested.hold_cause == Cause.POLICY_LOST
    driven.feed_heartbeat = True
    for result in driven.ticks(30):
        np.testing.assert_array_equal(result.command, rested.command)
        assert result.hold_cause == Cause.NO_CHUNK
    assert send(driven, 1, speed=-0.2).accepted  # type: ignore[attr-defined]
    assert driven.ticks(5)[-1].mode is Mode.RUNNING


def test_a_state_whose_stamp_is_ahead_does_not_hide_a_dead_driver() -> None:
    driven = moving()
    driven.feed_state = False
    driven.core.on_state(driven.now + 100 * SECOND, driven.measured())
    results = driven.ticks(15)
    assert results[-1].hold_cause == Cause.STATE_STALE


def test_the_first_topic_to_time_out_counts() -> None:
    driven = moving()
    driven.feed_state = False
    driven.core.on_state(driven.now, driven.measured(), driven.now + PERIOD)
    assert driven.tick().mode is Mode.RUNNING
    assert driven.tick().hold_cause == Cause.STATE_STALE


def test_arms_that_do_not_follow_are_a_doubt() -> None:
    """Blocked arms: the command runs ahead no further than allowed, then holds."""
    driven = moving()
    driven.feed_state = False
    stuck = driven.measured()
    allowed = driven.core.limits.tracking[0]
    for _ in range(80):
        driven.now += PERIOD
        driven.core.on_heartbeat(driven.now)
        driven.core.on_state(driven.now, stuck)
        result = driven.core.tick(driven.now)
        assert abs(result.command[0] - stuck[0]) <= allowed + 0.01
    assert result.hold_cause == Cause.TRACKING_ERROR
    assert driven.core.status(driven.now).step_clips[0] > 0
    driven.feed_state = True
    assert driven.ticks(5)[-1].hold_cause != Cause.TRACKING_ERROR


def test_a_gripper_that_holds_something_is_no_doubt() -> None:
    driven = Driven()
    driven.ticks(2)
    rows = np.tile(HOME_COMMAND, (100, 1))
    rows[:, 2] = np.linspace(0.5, 1.0, 100)  # closes onto an object at 0.04 m
    driven.core.on_chunk(chunk(rows, driven.now), driven.now)
    for _ in range(60):
        driven.now += PERIOD
        driven.core.on_heartbeat(driven.now)
        driven.core.on_state(driven.now, HOME)
        result = driven.core.tick(driven.now)
    assert result.mode is Mode.RUNNING and result.command[2] > 0.75


def test_a_chunk_that_does_not_come_has_two_names() -> None:
    driven = Driven()
    driven.ticks(2)
    driven.core.on_chunk(chunk(ramp(5, 0.2), driven.now), driven.now)
    causes = [result.hold_cause for result in driven.ticks(50)]
    assert causes[2] == "" and causes[6] == Cause.CHUNK_EXHAUSTED
    assert causes[-1] == Cause.CHUNK_LOST
    assert causes.index(Cause.CHUNK_LOST) == pytest.approx(4 + 25, abs=1)


# --- clocks --------------------------------------------------------------------------------------


def test_a_clock_that_goes_back_drops_the_motion() -> None:
    driven = moving()
    judge = Judge(LIMITS, driven.core.period_s)
    judge.see(driven.core.gate.position)
    judge.speed = driven.core.gate.velocity
    driven.now -= 5 * SECOND
    results = driven.ticks(20)
    for result in results:
        judge.see(result.command)
    assert results[0].hold_cause == Cause.CLOCK_JUMP
    assert send(driven, 2).accepted  # type: ignore[attr-defined]
    assert driven.tick().mode is Mode.RUNNING


def test_a_slewed_clock_does_not_run_backwards() -> None:
    driven = moving()
    before = driven.tick()
    driven.now -= 3 * PERIOD // 2
    after = driven.tick()
    assert after.mode is Mode.RUNNING and after.now_ns == before.now_ns
    assert after.row == before.row


def test_a_stalled_process_resumes_from_where_the_arms_are() -> None:
    driven = moving()
    judge = Judge(LIMITS, driven.core.period_s)
    judge.see(driven.core.gate.position)
    judge.speed = driven.core.gate.velocity
    driven.now += SECOND // 2
    for result in driven.ticks(40):
        judge.see(result.command)
    assert result.mode is Mode.RUNNING
    assert result.command[0] == pytest.approx(
        0.6 * (result.now_ns - 10.04 * SECOND) / SECOND, abs=0.02
    )


# --- chunks that are refused ---------------------------------------------------------------------


def test_refusals_in_a_row_abort_and_need_a_run() -> None:
    driven = moving()
    bad = np.full((5, J), np.nan)
    verdicts = [driven.core.on_chunk(chunk(bad, driven.now, 50 + n), driven.now) for n in range(3)]
    assert [v.aborted for v in verdicts] == [False, False, True]
    assert "not finite: left/a" in verdicts[0].reason
    results = driven.ticks(20)
    assert results[0].hold_cause == Cause.REJECTED_CHUNKS
    assert not results[-1].velocity.any()
    assert send(driven, 60).late  # type: ignore[attr-defined]
    driven.core.on_run(1)
    assert send(driven, 60).accepted  # type: ignore[attr-defined]


def test_a_good_chunk_ends_a_row_of_refusals() -> None:
    driven = moving()
    bad = np.full((5, J), np.inf)
    for number in range(2, 12):
        if number % 3 == 0:
            assert send(driven, number).accepted  # type: ignore[attr-defined]
        else:
            assert not driven.core.on_chunk(chunk(bad, driven.now), driven.now).aborted
        driven.tick()
    assert driven.core.status(driven.now).rejected_chunks == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dt_s": 0.0}, "dt: expected 0.001 to 10 s, got 0"),
        ({"dt_s": 1e300}, "dt: expected 0.001 to 10 s, got 1e+300"),
        ({"dt_s": 5e-324}, "dt: expected 0.001 to 10 s, got 4.94066e-324"),
        ({"chunk_id": 2**64 - 1}, "chunk_id: expected 1 to"),
        ({"stamp_ns": -(2**31) * SECOND}, "s in the past: synchronise the clocks"),
        ({"names": ("left/a",) * J}, "joint names differ or repeat"),
        ({"names": (*robot().joint_ids[:-1], "right/x")}, "right/g, right/x"),
        ({"stamp_ns": 1000 * SECOND}, "in the future"),
    ],
)
def test_refusals_say_why(change: dict[str, object], words: str) -> None:
    driven = moving()
    fields = {"stamp_ns": driven.now, "chunk_id": 9} | change
    verdict = driven.core.on_chunk(chunk(ramp(5, 0.1), **fields), driven.now)  # type: ignore[arg-type]
    assert not verdict.accepted and not verdict.late and words in verdict.reason


def test_beyond_a_limit_is_clipped_and_beyond_the_hard_bound_refused() -> None:
    driven = moving()
    rows = ramp(60, 0.0)
    rows[:, 1] = 2.2  # limit 2.0, hard bound 0.3 further
    assert driven.core.on_chunk(chunk(rows, driven.now, 2), driven.now).accepted
    rows[:, 1] = 2.31
    verdict = driven.core.on_chunk(chunk(rows, driven.now, 3), driven.now)
    assert verdict.reason == "beyond a hard bound: left/b"


def test_start_guard_refuses_a_far_first_row_or_ramps_slowly() -> None:
    far = np.tile(HOME_COMMAND, (200, 1))
    far[:, 0] += 0.5
    refusing = Driven()
    refusing.ticks(2)
    verdict = refusing.core.on_chunk(chunk(far, refusing.now), refusing.now)
    assert "starts too far from the measured pose: left/a by 0.5" in verdict.reason
    ramping = Driven(start_ramp=True, start_ramp_speed=0.1)
    ramping.ticks(2)
    assert ramping.core.on_chunk(chunk(far, ramping.now), ramping.now).accepted
    results = ramping.ticks(60)
    assert max(abs(r.velocity[0]) for r in results) <= 0.1 * LIMITS.velocity[0] + 1e-9
    results = ramping.ticks(100)
    assert results[-1].command[0] == pytest.approx(0.5, abs=1e-6)


def test_speed_scale_takes_effect_in_motion_inside_the_acceleration_limit() -> None:
    driven = moving()
    judge = Judge(LIMITS, driven.core.period_s)
    judge.see(driven.core.gate.position)
    judge.speed = driven.core.gate.velocity
    driven.core.change(max_speed_scale=0.1)
    for result in driven.ticks(10):
        judge.see(result.command)
    assert abs(result.velocity[0]) <= 0.1 * LIMITS.velocity[0] + 1e-9
    with pytest.raises(ValueError, match="fixed while active: strategy"):
        driven.core.change(strategy="sync")  # type: ignore[arg-type]
