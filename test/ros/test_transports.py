# SPDX-License-Identifier: Apache-2.0
"""Processes that die or freeze with shared memory in their hands: nothing that stops arms waits for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dead_reader
import numpy as np
import pytest
from control_rig import Process, wait_until
from policy_rig import START, PolicyRig
from reactions import first_status

from adamoe_ros.msg import ControlStatus
from adamoe_ros.ros import shared_memory

SOON = 0.3  # s; a port that is locked costs a second, and the machine may be busy
OLD = (
    "adamoe_participant",
    "somebodys_own",
)  # a profile with shared memory that is a user's choice
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[PolicyRig]:
    with PolicyRig(tmp_path, {"start_ramp": False}) as made:
        made.wait_active()
        yield made


def freeze(rig: PolicyRig) -> int:
    """Stop policy_node as if it held the locks of all its ports; its pid."""
    pid = rig.processes["policy"].child.pid
    os.kill(pid, signal.SIGSTOP)
    for path in dead_reader.ports(pid):
        dead_reader.lock(path)
    return pid


def longest_gap(rig: PolicyRig, begin: float) -> float:
    """s without a command, from ``begin`` on."""
    times = [sample.at for sample in rig.probe.commands["follower_left/joint_commands"]]
    times = [begin, *(at for at in times if at > begin)]
    return float(np.diff(times).max())


def used_by(rig: PolicyRig) -> dict[str, set[str]]:
    return {
        name: shared_memory.files_in_use(process.child.pid)
        for name, process in rig.processes.items()
    }


@pytest.mark.parametrize("death", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize("way", ["topic", "service"])
def test_an_emergency_stop_waits_for_no_dead_or_frozen_policy(
    rig: PolicyRig, death: int, way: str
) -> None:
    rig.running()
    pid = freeze(rig)
    if death == signal.SIGKILL:
        rig.processes["policy"].child.kill()
    begin = time.monotonic()
    if way == "topic":
        rig.probe.emergency_stop()
    else:
        assert rig.probe.trigger("emergency_stop").success
    took = first_status(rig.probe, begin, ControlStatus.ESTOP)
    rig.probe.wait(lambda: time.monotonic() - begin > 1.5, "what a locked port would cost")
    gap = longest_gap(rig, begin)
    if death == signal.SIGSTOP:
        os.kill(pid, signal.SIGKILL)
    assert took < SOON
    assert gap < SOON  # neither control_node nor the robot stood still
    assert "state_stale" not in rig.processes["control"].text


def test_only_pictures_share_memory(rig: PolicyRig) -> None:
    used = used_by(rig)
    assert used["control"] == set()
    for name in ("policy", "loopback"):  # their pictures do
        assert any("_port" not in file for file in used[name])
    assert "transports: expected" not in "".join(p.text for p in rig.processes.values())


@pytest.mark.parametrize("discovery", ["LOCALHOST", "SUBNET", ""])
def test_a_node_without_any_environment_of_ours_is_safe(tmp_path: Path, discovery: str) -> None:
    ours = ("FASTDDS", "FASTRTPS", "ADAMOE", "ROS_AUTOMATIC")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    if discovery:
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = discovery
    process = Process(control_alone(), tmp_path / "control.log", environment)
    try:
        wait_until(lambda: "joint states on" in process.text, lambda: process.text, START)
        assert shared_memory.files_in_use(process.child.pid) == set()
    finally:
        process.stop()


def test_a_node_says_when_a_users_own_settings_share_memory(tmp_path: Path) -> None:
    profile = tmp_path / "own.xml"
    profile.write_text((ROOT / "config" / "fastdds.xml").read_text().replace(*OLD))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FAST")}
    environment["FASTDDS_DEFAULT_PROFILES_FILE"] = str(profile)
    process = Process(control_alone(), tmp_path / "control.log", environment)
    line = f"expected UDP alone, got shared memory by FASTDDS_DEFAULT_PROFILES_FILE={profile}"
    try:
        wait_until(lambda: line in process.text, lambda: process.text, START)
        doctor = [sys.executable, "-m", "adamoe_ros.cli.main", "doctor"]
        done = subprocess.run(doctor, capture_output=True, text=True, env=environment, check=False)
    finally:
        process.stop()
    assert f"[FAIL] control_node {process.child.pid}: has" in done.stdout
    assert f"our nodes take FASTDDS_DEFAULT_PROFILES_FILE={profile}" in done.stdout


def control_alone() -> list[str]:
    script = ROOT / "scripts" / "control_node"
    return [
        sys.executable,
        str(script),
        "--ros-args",
        "-p",
        "robot:=aloha_sim",
        "-p",
        "autostart:=true",
    ]


def test_a_restarted_policy_hears_through_a_port_that_senders_lost(rig: PolicyRig) -> None:
    """The driver keeps the dead reader's port for ever where it did not die waiting."""
    policy = rig.processes["policy"].child
    os.kill(policy.pid, signal.SIGSTOP)
    for path in dead_reader.ports(policy.pid):
        dead_reader.leave_between(path)
    policy.kill()
    policy.wait()
    rig.restart_policy()
    wait_until(lambda: not rig.policy_statuses[-1].missing, lambda: rig.policy_log, START)
    assert "listening anew" not in rig.policy_log  # it did not even have to find out


def test_a_policy_whose_driver_lost_it_listens_anew(rig: PolicyRig) -> None:
    """As after a pause in which the driver gave the port up: it writes to a file that nobody reads."""
    rig.processes["loopback"].stop()
    for path in dead_reader.ports(rig.processes["policy"].child.pid):
        path.unlink()
    rig.start("loopback", rig._commands["loopback"])
    wait_until(lambda: "listening anew (1 of 2)" in rig.policy_log, lambda: rig.policy_log, START)
    wait_until(lambda: not rig.policy_statuses[-1].missing, lambda: rig.policy_log, START)


def test_leftovers_of_dead_processes_are_removed_by_the_next_node(rig: PolicyRig) -> None:
    policy = rig.processes["policy"].child
    segments = {file for file in shared_memory.files_in_use(policy.pid) if "_port" not in file}
    own = {file for file in segments if (shared_memory.FOLDER / f"{file}_el").exists()}
    assert own
    policy.kill()
    policy.wait()
    for file in own:
        path = shared_memory.FOLDER / file
        os.utime(path, (0, 0))  # old enough to be no segment in the making
    rig.restart_policy()
    alive = shared_memory.files_in_use(rig.processes["loopback"].child.pid)
    left = {file for file in own if (shared_memory.FOLDER / file).exists()}
    assert left <= alive
    assert left < own
