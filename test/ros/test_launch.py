# SPDX-License-Identifier: Apache-2.0
"""bringup.launch.py by the real launch: two robots on one machine; a policy that is killed.

Needs launch and launch_ros, which are not on the package index: skipped where they do not import.
``tools/check_launch.py`` checks every launch file without nodes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from control_rig import START, Probe, Process, node_command, wait_until
from policy_rig import write_profile, write_rig_checkpoint
from reactions import assert_comes_to_rest

from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.msg import ControlStatus, PolicyStatus
from adamoe_ros.ros import names, qos

pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed here")
ROOT = Path(__file__).resolve().parents[2]
COMMANDS = "follower_left/joint_commands"


@contextmanager
def bringup(folder: Path, **arguments: str) -> Iterator[Process]:
    """bringup.launch.py, ended with SIGINT as a terminal does."""
    words = [f"{name}:={value}" for name, value in arguments.items()]
    command = [sys.executable, str(ROOT / "tools" / "ros2_launch.py"), "bringup.launch.py", *words]
    process = Process(command, folder / "launch.log")
    try:
        yield process
    finally:
        assert process.stop(timeout=START) == 0, process.text


@contextmanager
def robot(
    folder: Path, profile: str, namespace: str = "", cameras: bool = False
) -> Iterator[Probe]:
    """A loopback robot in a namespace, and a probe there that plays no policy."""
    parameters = {"robot": profile, "autostart": True, "cameras": cameras}
    command = node_command(
        "adamoe_ros.ros.sim.loopback_node", "LoopbackNode", parameters, namespace=namespace
    )
    loopback = Process(command, folder / "loopback.log")
    probe = Probe(load_profile(profile_path(profile, robots_dir())), namespace=namespace)
    probe.alive = False
    try:
        yield probe
    finally:
        loopback.stop(timeout=START)
        probe.close()


def child(launch: Process, name: str) -> int | None:
    """PID of a node that launch has started."""
    for process in psutil.Process(launch.child.pid).children(recursive=True):
        try:
            if any(word.endswith(f"/{name}") for word in process.cmdline()):
                return int(process.pid)
        except psutil.NoSuchProcess:
            continue
    return None


def test_two_robots_in_two_namespaces(tmp_path: Path) -> None:
    with ExitStack() as stack:
        probes = []
        for name in ("cell_a", "cell_b"):
            folder = tmp_path / name
            folder.mkdir()
            probes.append(stack.enter_context(robot(folder, "aloha_sim", name)))
            arguments = {"robot": "aloha_sim", "namespace": name, "policy": "false"}
            stack.enter_context(bringup(folder, **arguments, use_sim_time="false"))
        for probe in probes:
            probe.wait_mode(ControlStatus.HOLD)
        one, other = probes
        one.emergency_stop()
        one.wait_mode(ControlStatus.ESTOP)
        seen = len(other.statuses)
        other.wait(lambda: len(other.statuses) > seen + 5, "statuses of the other robot")
        assert other.status.mode == ControlStatus.HOLD


def test_a_killed_policy_comes_back_and_the_arms_hold(tmp_path: Path) -> None:
    profile = write_profile(tmp_path)
    checkpoint = write_rig_checkpoint(tmp_path / "checkpoint", profile)
    statuses: list[PolicyStatus] = []
    text = "policy_node:\n  ros__parameters: {threads: 1, input_timeout: 20.0}\n"
    (tmp_path / "parameters.yaml").write_text(text)
    arguments = {"robot": str(profile), "checkpoint": str(checkpoint), "device": "cpu"}
    with (
        robot(tmp_path, str(profile), cameras=True) as probe,
        bringup(tmp_path, params_file=str(tmp_path / "parameters.yaml"), **arguments) as launch,
    ):
        probe.node.create_subscription(
            PolicyStatus, names.POLICY_STATUS, statuses.append, qos.POLICY_STATUS
        )
        wait_until(lambda: statuses and statuses[-1].state == "active", lambda: launch.text, START)
        probe.wait_mode(ControlStatus.HOLD)
        control, policy = child(launch, "control_node"), child(launch, "policy_node")
        assert control and policy
        samples = probe.commands[COMMANDS]
        probe.wait(lambda: samples, "commands")
        held = samples[-1].values
        os.kill(policy, signal.SIGKILL)
        wait_until(lambda: child(launch, "policy_node") not in (None, policy), lambda: launch.text)
        statuses.clear()
        wait_until(lambda: statuses and statuses[-1].state == "active", lambda: launch.text, START)
        assert child(launch, "control_node") == control
        assert_comes_to_rest(probe, samples)
        assert np.ptp([held, *(sample.values for sample in samples)], axis=0).max() == 0.0
        assert probe.status.mode == ControlStatus.HOLD
