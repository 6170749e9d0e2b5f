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
from control_rig import Process, Rig, wait_until
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


def longest_gap(rig: Rig, begin: float) -> float:
    """s without a command, from ``begin`` on."""
    times = [sample.at for sample in rig.probe.commands["follower_left/joint_commands"]]
    times = [begin, *(at for at in times if at > begin)]
    return float(np.diff(times).max())


def policy_ports(rig: PolicyRig) -> set[int]:
    """Those that its pictures come through; process-wide ports of Fast DDS have low numbers."""
    return shared_memory.ports_read(rig.processes["policy"].child.pid)


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
    locked = (
        time.monotonic()
    )  # whoever sends to the policy has met the lock soon: 10 statuses a second
    rig.probe.wait(lambda: time.monotonic() - locked > 0.3, "the senders")
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


def foreign(folder: Path) -> dict[str, str]:
    """Environment of a process that is not ours: every topic of it goes over shared memory."""
    profile = folder / "own.xml"
    profile.write_text((ROOT / "config" / "fastdds.xml").read_text().replace(*OLD))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FAST")}
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    environment["FASTDDS_DEFAULT_PROFILES_FILE"] = str(profile)
    return environment


def over_udp(environment: dict[str, str]) -> dict[str, str]:
    """What doc/control_node.md gives to whoever sends an emergency stop."""
    kept = {key: value for key, value in environment.items() if not key.startswith("FAST")}
    return {
        **kept,
        "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
    }


STOPPER = """
import sys, rclpy
from std_msgs.msg import Bool
rclpy.init()
node = rclpy.create_node("button")
publisher = node.create_publisher(Bool, "emergency_stop", 10)
while not publisher.get_subscription_count():
    rclpy.spin_once(node, timeout_sec=0.05)
print("ready", flush=True)
sys.stdin.readline()
publisher.publish(Bool(data=True))
rclpy.spin(node)
"""


def test_a_users_driver_that_dies_with_its_lock_delays_neither_commands_nor_a_users_stop(
    tmp_path: Path,
) -> None:
    with Rig(tmp_path) as rig:
        rig.processes["loopback"].stop()
        command = rig._commands["loopback"]
        log = tmp_path / "driver.log"
        driver = rig.processes["loopback"] = Process(command, log, foreign(tmp_path))
        rig.holding()
        words, pipe = [sys.executable, "-c", STOPPER], subprocess.PIPE
        button = subprocess.Popen(
            words, stdin=pipe, stdout=pipe, text=True, env=over_udp(dict(os.environ))
        )
        try:
            assert button.stdin is not None and button.stdout is not None
            assert button.stdout.readline() == "ready\n"
            assert not shared_memory.files_in_use(button.pid)
            rig.move(20.0)
            os.kill(driver.child.pid, signal.SIGSTOP)
            locked = dead_reader.ports(driver.child.pid)
            assert locked
            for path in locked:
                dead_reader.lock(path)
            driver.child.kill()
            begin = time.monotonic()
            button.stdin.write("stop\n")
            button.stdin.flush()
            took = first_status(rig.probe, begin, ControlStatus.ESTOP)
            rig.probe.wait(lambda: time.monotonic() - begin > 1.5, "what a locked port would cost")
            assert took < SOON
            assert longest_gap(rig, begin) < SOON
        finally:
            button.kill()
            button.communicate()


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
        threads = Path(f"/proc/{process.child.pid}/task").glob("*/comm")
        named = {path.read_text().strip() for path in threads}
        assert any(name.startswith("dds.") for name in named), named
        assert not [name for name in named if name.startswith("dds.tls")]  # types are not looked up
    finally:
        process.stop()


def test_a_node_says_when_a_users_own_settings_share_memory(tmp_path: Path) -> None:
    environment = foreign(tmp_path)
    chosen = f"FASTDDS_DEFAULT_PROFILES_FILE={environment['FASTDDS_DEFAULT_PROFILES_FILE']}"
    process = Process(control_alone(), tmp_path / "control.log", environment)
    line = f"expected UDP alone, got shared memory by {chosen}"
    try:
        wait_until(lambda: line in process.text, lambda: process.text, START)
        doctor = [sys.executable, "-m", "adamoe_ros.cli.main", "doctor"]
        done = subprocess.run(doctor, capture_output=True, text=True, env=environment, check=False)
    finally:
        process.stop()
    assert f"[FAIL] control_node {process.child.pid}: has" in done.stdout
    assert f"our nodes take {chosen}" in done.stdout


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
    lost, mine = shared_memory.lost_ports(), policy_ports(rig)
    assert mine
    assert not mine & lost  # it reads another port; it did not have to find out by its silence


def test_a_policy_whose_driver_lost_it_listens_anew(rig: PolicyRig) -> None:
    """As after a pause in which the driver gave the port up: it writes to a file that nobody reads."""
    rig.processes["loopback"].stop()
    for path in dead_reader.ports(rig.processes["policy"].child.pid):
        path.unlink()
    rig.start("loopback", rig._commands["loopback"])
    wait_until(lambda: "listening anew (1 of 2)" in rig.policy_log, lambda: rig.policy_log, START)
    wait_until(lambda: not rig.policy_statuses[-1].missing, lambda: rig.policy_log, START)


ALONE = """<?xml version="1.0"?><dds xmlns="http://www.eprosima.com"><profiles>
  <participant profile_name="alone" is_default_profile="true"><rtps><participantID>90</participantID>
    <builtin><metatrafficUnicastLocatorList><locator/></metatrafficUnicastLocatorList>
      <initialPeersList>{peers}</initialPeersList></builtin>
  </rtps></participant></profiles></dds>"""
PEER = "<locator><udpv4><address>127.0.0.1</address><port>{}</port></udpv4></locator>"


def test_a_policy_whose_main_participant_knows_no_driver_says_so_and_ends(rig: PolicyRig) -> None:
    """As when Fast DDS loses an announcement: here the driver tells every participant but that one."""
    rig.processes["loopback"].stop()
    policy = rig.processes["policy"].child
    threads = Path(f"/proc/{policy.pid}/task").glob("*/comm")
    named = [path.read_text().strip() for path in threads]
    first = 7410 + 250 * int(os.environ["ROS_DOMAIN_ID"])  # where participants hear of each other
    ports = [int(name[8:]) for name in named if name.startswith("dds.udp.")]
    main = min(port for port in ports if port >= first)  # its participant was made before the other
    profile = rig.robot.parent / "alone.xml"
    others = [port for port in range(first, first + 60, 2) if port != main]
    profile.write_text(ALONE.format(peers="".join(map(PEER.format, others))))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FAST")}
    environment |= {
        "FASTDDS_DEFAULT_PROFILES_FILE": str(profile),
        "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT",
    }
    log = rig.robot.parent / "driver.log"
    rig.processes["loopback"] = Process(rig._commands["loopback"], log, environment)
    wait_until(lambda: policy.poll() is not None, lambda: rig.policy_log, START)
    assert "joint_states by loopback_node" in rig.policy_log
    assert "got nothing for 3 s, though it reaches this process" in rig.policy_log
    assert policy.returncode == 3  # a launch file with respawn starts it again


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
