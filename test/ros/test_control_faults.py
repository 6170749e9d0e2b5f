# SPDX-License-Identifier: Apache-2.0
"""Faults played by real processes: each has the reaction and the time of ``doc/control_node.md``."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from control_rig import Rig
from reactions import assert_comes_to_rest, check_time, first_status

from adamoe_ros.msg import ControlStatus


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("faults")) as rig:
        rig.holding()
        yield rig


@pytest.fixture
def rig(shared: Rig) -> Iterator[Rig]:
    shared.settle()
    yield shared


def period(rig: Rig) -> float:
    return 1.0 / rig.profile.command_rate


def assert_still(rig: Rig) -> None:
    """Commands go on and do not move."""
    assert_comes_to_rest(rig.probe, rig.probe.commands["follower_left/joint_commands"])


def test_policy_process_killed(rig: Rig, tmp_path: Path) -> None:
    rig.probe.alive = False
    command = [sys.executable, str(Path(__file__).with_name("chunk_sender.py")), "aloha_sim"]
    command += ["--ros-args", "-r", "__node:=probe"]  # in its place: there is one policy at a time
    sender = rig.start("sender", command)
    rig.probe.wait_mode(ControlStatus.RUNNING)
    killed = time.monotonic()
    os.kill(sender.child.pid, signal.SIGKILL)
    took = first_status(rig.probe, killed, ControlStatus.HOLD, "policy_lost")
    check_time("policy process killed", took, rig.profile.watchdogs.policy + period(rig))
    sender.child.wait()
    assert_still(rig)


def test_joint_states_stop(rig: Rig) -> None:
    rig.move(20.0)
    begin = time.monotonic()
    rig.probe.set("loopback_node", fault="silent")
    took = first_status(rig.probe, begin, ControlStatus.HOLD, "state_stale")
    check_time("joint states stop", took, rig.profile.arms["left"].state.timeout + period(rig))
    assert_still(rig)
    rig.probe.set("loopback_node", fault="none")
    rig.probe.wait_mode(ControlStatus.RUNNING)


def test_joint_states_freeze_while_the_arms_are_told_to_move(rig: Rig) -> None:
    rig.probe.set("loopback_node", fault="freeze")
    rig.probe.run()
    rig.probe.chunk(rig.wave(6.0, amplitude=1.2))
    rig.probe.wait_mode(ControlStatus.HOLD, "tracking_error")
    assert sum(rig.probe.status.step_clips) > 0
    assert_still(rig)
    worst = np.abs(np.array(rig.probe.status.commanded) - np.array(rig.probe.status.measured)).max()
    assert worst <= rig.profile.gate.max_tracking_error + 0.1


@pytest.mark.parametrize("fault", ["missing_joint", "nan"])
def test_joint_states_that_do_not_fit_count_as_none(rig: Rig, fault: str) -> None:
    rig.move(5.0)
    begin = time.monotonic()
    rig.probe.set("loopback_node", fault=fault)
    took = first_status(rig.probe, begin, ControlStatus.HOLD, "state_stale")
    documented = rig.profile.arms["left"].state.timeout + period(rig)
    check_time(f"joint states with {fault}", took, documented)
    assert_still(rig)
    said = {"missing_joint": "fresh stamps of left/gripper", "nan": "expected finite positions"}
    rig.probe.wait(lambda: said[fault] in rig.processes["control"].text, "the log line")


def test_swapped_joint_order_is_harmless(rig: Rig) -> None:
    rig.move(20.0)
    rig.probe.set("loopback_node", fault="reverse_order")
    ticks = rig.probe.status.ticks
    rig.probe.wait(lambda: rig.probe.status.ticks > ticks + 25, "ticks to go on")
    rig.probe.wait_mode(ControlStatus.RUNNING)
    gap = np.array(rig.probe.status.commanded) - np.array(rig.probe.status.measured)
    assert np.abs(gap).max() < 0.1


def broken_chunks(rig: Rig) -> dict[str, dict[str, Any]]:
    rows = rig.wave(1.0)
    with_nan, too_far, jump = rows.copy(), rows.copy(), rows.copy()
    with_nan[10, 3] = np.nan
    too_far[20, 1] = 9.0
    jump[:, 0] += 1.5
    names = list(rig.profile.joint_ids)
    return {
        "not finite": {"positions": with_nan.ravel().tolist()},
        "hard bound": {"positions": too_far.ravel().tolist()},
        "too far from the measured pose": {"positions": jump.ravel().tolist()},
        "joint names": {"joint_names": ["left/waste", *names[1:]]},
        "shape": {"positions": rows.ravel().tolist()[:-3]},
        "row spacing": {"dt": 0.0},
    }


@pytest.mark.parametrize(
    "kind",
    [
        "not finite",
        "hard bound",
        "too far from the measured pose",
        "joint names",
        "shape",
        "row spacing",
    ],
)
def test_a_broken_chunk_is_refused_whole(rig: Rig, kind: str) -> None:
    rig.probe.run()
    rejected = rig.probe.status.rejected_chunks
    rig.probe.chunk(rig.wave(1.0), **broken_chunks(rig)[kind])
    rig.probe.wait(lambda: rig.probe.status.rejected_chunks == rejected + 1, "the refusal")
    assert rig.probe.status.mode == ControlStatus.HOLD
    assert_still(rig)
    rig.probe.chunk(rig.wave(1.0))
    rig.probe.wait_mode(ControlStatus.RUNNING)


def test_joints_of_a_chunk_are_mapped_by_name(rig: Rig) -> None:
    rows = rig.wave(1.5)
    names = list(rig.profile.joint_ids)
    rig.probe.run()
    rig.probe.chunk(rows, joint_names=names[::-1], positions=rows[:, ::-1].ravel().tolist())
    rig.probe.wait_mode(ControlStatus.RUNNING)
    rig.probe.wait_mode(ControlStatus.HOLD, "chunk_exhausted")
    assert np.array(rig.probe.status.commanded) == pytest.approx(rows[-1], abs=0.02)


def refusals_are(rig: Rig, count: int) -> bool:
    return rig.probe.status.rejected_chunks == count


def test_refusals_in_a_row_end_the_motion_until_the_next_goal(rig: Rig) -> None:
    rig.move(6.0)
    bad = {"positions": np.full(rig.wave(1.0).size, np.nan).tolist()}
    before = rig.probe.status.rejected_chunks
    for count in range(1, rig.profile.gate.rejected_chunks_to_abort + 1):
        rig.probe.chunk(rig.wave(1.0), **bad)
        refused = partial(refusals_are, rig, before + count)
        rig.probe.wait(refused, "a refusal")  # one by one: only the newest two chunks are kept
    rig.probe.wait_mode(ControlStatus.HOLD, "rejected_chunks")
    rig.probe.chunk(rig.wave(1.0))
    assert_still(rig)
    rig.move(1.0)


def test_a_chunk_that_comes_too_late_is_dropped(rig: Rig) -> None:
    rig.probe.run()
    late = rig.probe.status.late_chunks
    header = rig.probe.chunk(rig.wave(1.0), generation=0).header
    header.stamp.sec -= 10
    rig.probe.chunk(rig.wave(1.0), header=header)
    rig.probe.wait(lambda: rig.probe.status.late_chunks >= late + 2, "both to be dropped")
    assert rig.probe.status.mode == ControlStatus.HOLD


def test_chunks_run_out(rig: Rig) -> None:
    rig.move(0.5)
    rig.probe.wait_mode(ControlStatus.HOLD, "chunk_exhausted")
    rig.probe.wait_mode(ControlStatus.HOLD, "chunk_lost")
    assert_still(rig)
