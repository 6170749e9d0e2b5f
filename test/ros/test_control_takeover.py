# SPDX-License-Identifier: Apache-2.0
"""A human takes the arms over from chunks, and back; leader and dead-man are lost. Real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from control_rig import Rig, Sample
from human import PROFILE, Human
from reactions import assert_comes_to_rest, check_time, first_status

from adamoe_ros.control.limits import joint_limits
from adamoe_ros.control.settings import Cause
from adamoe_ros.msg import ControlStatus

TIMEOUT = 1.0  # s, of leader and dead-man in the profile
HOLD, RUNNING = ControlStatus.HOLD, ControlStatus.RUNNING


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, Human]]:
    folder = tmp_path_factory.mktemp("takeover")
    robot = folder / "led.yaml"
    robot.write_text(PROFILE)
    with Rig(folder, str(robot)) as rig:
        rig.holding()
        yield rig, Human(rig.probe)


@pytest.fixture
def rig(shared: tuple[Rig, Human]) -> Rig:
    rig, human = shared
    human.let_go()
    human.leader.bring(np.zeros(0))
    rig.probe.set("control_node", takeover_release="hold")
    rig.settle()
    return rig


@pytest.fixture
def human(shared: tuple[Rig, Human]) -> Human:
    return shared[1]


def left(rig: Rig) -> list[Sample]:
    return rig.probe.commands["follower_left/joint_commands"]


def moving(rig: Rig) -> bool:
    recent = [sample.values for sample in left(rig)[-5:]]
    return len(recent) == 5 and float(np.ptp(recent, axis=0).max()) > 1e-3


def assert_inside_limits(rig: Rig) -> None:
    """Every command so far, from the commands alone; periods are those of their stamps."""
    limits, period = joint_limits(rig.profile), 1.0 / rig.profile.command_rate
    samples = left(rig)
    stamps = np.array([sample.stamp_ns for sample in samples]) / 1e9
    ticks = np.maximum(1.0, np.round(np.diff(stamps) / period))[:, None]
    moved = np.array([sample.values for sample in samples])
    assert (moved >= limits.low[:7] - 1e-9).all() and (moved <= limits.high[:7] + 1e-9).all()
    speed = np.diff(moved, axis=0) / (period * ticks)
    assert (np.abs(speed) <= limits.velocity[:7] * (1 + 1e-6) + 1e-9).all()
    change = np.abs(np.diff(speed, axis=0))
    room = limits.acceleration[:7] * period * np.maximum(ticks[1:], ticks[:-1])
    assert (change <= room * (1 + 1e-6) + 1e-9).all()


def test_over_in_the_middle_of_a_motion_and_back(rig: Rig, human: Human) -> None:
    probe = rig.probe
    rig.move(20.0)
    probe.wait(lambda: moving(rig), "motion")
    accepted = probe.status.accepted_chunks
    human.take_over()
    assert probe.status.takeover and probe.status.mode == RUNNING
    probe.chunk(rig.wave(2.0))
    probe.wait(lambda: moving(rig), "the leader to be followed")
    assert probe.status.accepted_chunks == accepted
    human.let_go()
    probe.wait_mode(HOLD, Cause.TAKEOVER_RELEASED)
    assert probe.status.takeover
    assert_comes_to_rest(probe, left(rig))
    assert probe.trigger("resume").success
    probe.wait(lambda: not probe.status.takeover, "the policy to have the arms back")
    assert probe.status.hold_cause == Cause.TAKEOVER
    probe.run()
    probe.chunk(np.tile(np.array(probe.status.commanded), (100, 1)))
    probe.wait(lambda: probe.status.source == ControlStatus.SOURCE_POLICY, "chunks to be followed")
    assert_inside_limits(rig)
    assert not probe.trigger("resume").success


def test_a_killed_leader_is_a_hold_in_time(rig: Rig, human: Human, tmp_path: Path) -> None:
    probe, command = rig.probe, [sys.executable, str(Path(__file__).with_name("human.py"))]
    driver = rig.start("leader", [*command, str(rig.robot_file)])
    probe.wait(lambda: 0 <= probe.status.leader_age < 0.5, "the leader's driver")
    human.press()
    probe.wait(lambda: moving(rig), "the leader to be followed")
    killed = time.monotonic()
    os.kill(driver.child.pid, signal.SIGKILL)
    took = first_status(probe, killed, HOLD, Cause.LEADER_STALE)
    check_time("leader killed", took, TIMEOUT + 1.0 / rig.profile.command_rate)
    assert_comes_to_rest(probe, left(rig))
    assert "silent: left/waist" in rig.processes["control"].text


def test_the_doctor_looks_at_leader_and_dead_man(rig: Rig, human: Human, tmp_path: Path) -> None:
    human.leader.bring(np.array(rig.probe.status.commanded))
    human.held, out = True, tmp_path / "doctor.json"
    words = ["doctor", "--robot", str(rig.robot_file), "--live", "--seconds", "1"]
    command = [sys.executable, "-m", "adamoe_ros.cli.main", *words, "--json", str(out)]
    subprocess.run(command, capture_output=True, timeout=180, check=False)
    checks = json.loads(out.read_text())["checks"]
    found = {check["name"]: check for check in checks if check["outcome"] != "warn"}
    assert found["teleop"]["text"] == "leaders of left, right, dead-man deadman"
    assert found["leader positions"]["text"] == "14 joints inside of the arms' limits"
    assert "Hz" in found["leader_left/joint_states"]["text"]
    held = [check for check in checks if check["outcome"] == "warn" and "held now" in check["text"]]
    assert [check["name"] for check in held] == ["deadman"]


@pytest.mark.parametrize("release", ["hold", "policy"])
def test_a_dead_man_that_falls_silent_is_a_hold_in_time(
    rig: Rig, human: Human, release: str
) -> None:
    rig.probe.set("control_node", takeover_release=release)
    human.take_over()
    rig.probe.wait(lambda: moving(rig), "the leader to be followed")
    human.held, silent = None, time.monotonic()
    took = first_status(rig.probe, silent, HOLD, Cause.DEADMAN_LOST)
    check_time("dead-man silent", took, TIMEOUT + 1.0 / rig.profile.command_rate)
    assert_comes_to_rest(rig.probe, left(rig))
    human.held = True  # back, but nobody let go: nothing moves
    rig.probe.wait(lambda: 0 <= rig.probe.status.deadman_age < 0.2, "the dead-man to be heard")
    assert_comes_to_rest(rig.probe, left(rig))
    assert_inside_limits(rig)
