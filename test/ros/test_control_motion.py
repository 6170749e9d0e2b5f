# SPDX-License-Identifier: Apache-2.0
"""control_node and a loopback robot as real processes: hold, follow, cancel, stop, reset, speed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from control_rig import Rig, Sample
from reactions import check_time, first_status

from adamoe_ros.control.limits import joint_limits
from adamoe_ros.msg import ControlStatus
from adamoe_ros.streams.messages import stamp_ns


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("motion")) as rig:
        rig.holding()
        yield rig


@pytest.fixture
def rig(shared: Rig) -> Iterator[Rig]:
    """Holding, at full speed, with nothing recorded."""
    shared.settle()
    yield shared


def positions(samples: list[Sample]) -> np.ndarray:
    return np.array([sample.values for sample in samples])


def left(rig: Rig) -> list[Sample]:
    return rig.probe.commands["follower_left/joint_commands"]


def period(rig: Rig) -> float:
    return 1.0 / rig.profile.command_rate


def ticks_between(rig: Rig, samples: list[Sample]) -> np.ndarray:
    """Control periods from each command to the next: one, or more where some were lost on their way."""
    stamps = np.array([sample.stamp_ns for sample in samples]) / 1e9
    return np.maximum(1.0, np.round(np.diff(stamps) / period(rig)))


def unbroken(rig: Rig, samples: list[Sample]) -> list[np.ndarray]:
    """Runs of commands of which none was lost."""
    cuts = np.flatnonzero(ticks_between(rig, samples) > 1) + 1
    return list(np.split(positions(samples), cuts))


def fastest(rig: Rig) -> float:
    """rad/s of the quickest joint in any period."""
    steps = np.abs(np.diff(positions(left(rig)), axis=0)).max(axis=1)
    return float((steps / ticks_between(rig, left(rig))).max() / period(rig))


def moving(rig: Rig) -> None:
    """Wait until commands really move."""
    rig.probe.wait(
        lambda: (
            len(left(rig)) > 5
            and float(np.abs(left(rig)[-1].values - left(rig)[-5].values).max()) > 1e-4
        ),
        "motion",
    )


def stamp_of(rig: Rig, since: float, mode: int, cause: str) -> int:
    """Stamp (ns) of the first control_status of a mode and cause."""
    first_status(rig.probe, since, mode, cause)
    return next(
        stamp_ns(status.header.stamp)
        for at, status in rig.probe.statuses
        if at >= since and status.mode == mode and cause in status.hold_cause
    )


def test_holds_the_measured_pose_at_the_command_rate_until_a_goal(rig: Rig) -> None:
    rig.probe.wait(lambda: len(left(rig)) > 25, "commands")
    assert rig.probe.status.mode == ControlStatus.HOLD
    assert np.ptp(positions(left(rig)), axis=0).max() == 0.0
    assert left(rig)[0].names == rig.profile.arms["left"].names
    wanted = rig.profile.command_rate
    rig.probe.wait(lambda: abs(rig.probe.status.rate - wanted) < 0.2 * wanted, "the command rate")


def test_follows_chunks_inside_every_limit(rig: Rig) -> None:
    rig.move(1.5)
    rig.probe.wait_mode(ControlStatus.HOLD, "chunk_")
    limits = joint_limits(rig.profile)
    moved = positions(left(rig))
    velocity = np.diff(moved, axis=0) / (period(rig) * ticks_between(rig, left(rig))[:, None])
    whole = [part for part in unbroken(rig, left(rig)) if len(part) > 2]
    acceleration = np.concatenate([np.diff(part, n=2, axis=0) for part in whole]) / period(rig) ** 2
    assert np.ptp(moved[:, 0]) > 0.1
    assert (moved >= limits.low[:7] - 1e-9).all()
    assert (moved <= limits.high[:7] + 1e-9).all()
    assert (np.abs(velocity) <= limits.velocity[:7] * (1 + 1e-6) + 1e-9).all()
    assert (np.abs(acceleration) <= limits.acceleration[:7] * (1 + 1e-6) + 1e-6).all()
    assert rig.probe.status.accepted_chunks >= 1
    assert not any(rig.probe.status.position_clips)


def test_cancel_stops_the_arms_within_a_period_of_its_arrival(rig: Rig) -> None:
    rig.move(20.0, amplitude=0.5)
    moving(rig)
    sent = rig.probe.hold("cancelled")
    held = stamp_of(rig, sent, ControlStatus.HOLD, "cancelled")
    check_time("HOLD (cancel)", first_status(rig.probe, sent, ControlStatus.HOLD), period(rig))

    def after() -> list[Sample]:
        return [sample for sample in left(rig) if sample.stamp_ns > held]

    rig.probe.wait(lambda: len(after()) > 10, "commands after the stop")
    assert np.ptp(positions(after()), axis=0).max() == 0.0
    assert after()[0].values == pytest.approx(rig.probe.status.commanded[:7], abs=0)


def test_chunks_after_a_cancel_do_not_move_the_arms(rig: Rig) -> None:
    rig.move(2.0)
    rig.probe.hold("cancelled")
    rig.probe.wait_mode(ControlStatus.HOLD, "cancelled")
    rig.probe.wait(lambda: np.ptp(positions(left(rig)[-3:]), axis=0).max() == 0.0, "rest")
    held = left(rig)[-1].values
    late = rig.probe.status.late_chunks
    rig.probe.chunk(rig.wave(2.0))
    rig.probe.wait(lambda: rig.probe.status.late_chunks > late, "the chunk to be dropped")
    assert (left(rig)[-1].values == held).all()


def test_after_an_emergency_stop_not_one_command_moves(rig: Rig) -> None:
    rig.move(20.0, amplitude=0.5)
    moving(rig)
    sent = rig.probe.emergency_stop()
    stopped = stamp_of(rig, sent, ControlStatus.ESTOP, "emergency_stop")
    check_time("emergency stop", first_status(rig.probe, sent, ControlStatus.ESTOP), period(rig))
    rig.probe.chunk(rig.wave(2.0))
    rig.probe.wait_quiet(left(rig))
    after = [sample for sample in left(rig) if sample.stamp_ns > stopped]
    assert after == []  # by default the stopped command is sent once, then nothing
    rig.probe.set("control_node", max_speed_scale=0.9)
    assert rig.probe.status.mode == ControlStatus.ESTOP
    answer = rig.probe.trigger("reset")
    assert not answer.success
    assert "pressed" in answer.message


def test_a_stop_by_service_is_reset_by_service(rig: Rig) -> None:
    assert rig.probe.trigger("emergency_stop").success
    rig.probe.wait_mode(ControlStatus.ESTOP)
    assert rig.probe.trigger("reset").success
    rig.probe.wait_mode(ControlStatus.HOLD, "reset")


def test_reset_needs_a_released_button_and_live_joints(rig: Rig) -> None:
    rig.probe.emergency_stop()
    rig.probe.wait_mode(ControlStatus.ESTOP)
    assert "pressed" in rig.probe.trigger("reset").message
    rig.probe.set("loopback_node", fault="silent")
    rig.probe.wait(lambda: rig.probe.status.state_age > 0.3, "stale joints")
    rig.probe.emergency_stop(False)
    answer = rig.probe.trigger("reset")
    assert not answer.success
    assert "joint states" in answer.message
    rig.probe.set("loopback_node", fault="none")
    rig.probe.wait(lambda: rig.probe.status.state_age < 0.1, "live joints")
    rig.probe.wait(lambda: rig.probe.trigger("reset").success, "the reset")
    rig.probe.wait_mode(ControlStatus.HOLD, "reset")


def test_speed_scale_takes_effect_while_moving(rig: Rig) -> None:
    rig.probe.set("control_node", max_speed_scale=0.05)
    rig.move(1.5, amplitude=0.5)
    rig.probe.wait_mode(ControlStatus.HOLD, "chunk_")
    slow = fastest(rig)
    assert slow <= 0.05 * 3.14 * (1 + 1e-6)
    assert sum(rig.probe.status.velocity_clips) > 0


def test_a_far_first_row_is_approached_slowly_when_asked(rig: Rig) -> None:
    far = rig.home
    far[0] += 0.8
    rig.probe.set("control_node", start_ramp=True)
    rig.probe.run()
    rig.probe.chunk(np.tile(far, (2, 1)), dt=3.0)
    rig.probe.wait(lambda: abs(rig.probe.status.measured[0] - far[0]) < 0.01, "the approach")
    speed = fastest(rig)
    assert speed <= 0.2 * 3.14 * (1 + 1e-6)  # start_ramp_speed of the joint's limit
    assert rig.probe.status.rejected_chunks == 0


def test_parameters_that_are_fixed_or_wrong_are_refused_with_a_reason(rig: Rig) -> None:
    (reason,) = rig.probe.set("control_node", shadow=True)
    assert "clean up the node first" in reason
    assert rig.probe.set("control_node", max_speed_scale=float("nan"))
    assert rig.probe.set("control_node", max_speed_scale=1.5)


def test_diagnostics_name_the_state_and_what_to_do(rig: Rig) -> None:
    rig.probe.trigger("emergency_stop")
    rig.probe.wait(
        lambda: any(
            status.name.endswith("control_node: motion") and "reset" in status.message
            for status in rig.probe.diagnostics
        ),
        "an error on /diagnostics",
    )
    names = {
        status.name.split(": ")[1] for status in rig.probe.diagnostics if "control" in status.name
    }
    assert names == {"motion", "inputs", "gate", "chunks", "timing", "others"}
