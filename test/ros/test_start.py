# SPDX-License-Identifier: Apache-2.0
"""How processes start, or do not: what ROS refuses is one line; a signal ends them at any moment."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_rig import Process, Rig, node_command
from harness import Child
from lifecycle_msgs.msg import Transition
from policy_rig import write_profile, write_rig_checkpoint

pytestmark = pytest.mark.side_by_side

NODES = {
    "control": ("adamoe_ros.ros.control.control_node", "ControlNode", 1),
    "policy": ("adamoe_ros.ros.policy.policy_node", "PolicyNode", 4),
    "recorder": ("adamoe_ros.ros.recorder.recorder_node", "RecorderNode", 1),
    "sim": ("adamoe_ros.ros.sim.sim_node", "SimNode", 1),
    "loopback": ("adamoe_ros.ros.sim.loopback_node", "LoopbackNode", 1),
}
ENFORCED = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce"}
END = 10.0  # s from a signal to the end


def node(name: str, *words: str, **parameters: object) -> list[str]:
    module, attribute, threads = NODES[name]
    values = {"robot": "aloha_sim", **parameters}
    return [*node_command(module, attribute, values, threads=threads), *words]


def adamoe(*words: str) -> list[str]:
    return [sys.executable, "-m", "adamoe_ros.cli.entry", *words]


def refusal(command: list[str], **environment: str) -> str:
    """Output of a process that must end with 2, without a traceback."""
    with Child(command, {**os.environ, **environment}) as child:
        code = child.wait(90.0)
        text = "\n".join(child.lines)
    assert code == 2, text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(
    "command",
    [
        *(node(name) for name in NODES),
        adamoe("doctor", "--robot", "aloha_sim", "--live", "--seconds", "1"),
        adamoe("record", "--robot", "aloha_sim"),
    ],
    ids=[*NODES, "doctor", "record"],
)
def test_security_without_a_keystore(command: list[str]) -> None:
    text = refusal(command, **ENFORCED)
    assert "ROS_SECURITY_KEYSTORE: expected a keystore's folder, got none; set it" in text


@pytest.mark.parametrize("enclave", ["wrong", "there"])
def test_security_with_an_enclave_that_cannot_be_used(tmp_path: Path, enclave: str) -> None:
    """One that is not in the keystore, and one whose files are none."""
    (tmp_path / "enclaves" / "there").mkdir(parents=True)
    for name in ("identity_ca.cert.pem", "cert.pem", "key.pem", "permissions.p7s"):
        (tmp_path / "enclaves" / "there" / name).write_text("none")
    environment = {**ENFORCED, "ROS_SECURITY_KEYSTORE": str(tmp_path)}
    text = refusal(node("control", "--enclave", f"/{enclave}"), **environment)
    line = next(line for line in text.splitlines() if ": expected " in line)
    assert "unset ROS_SECURITY_ENABLE" in line
    if enclave == "wrong":
        assert f"got no {tmp_path}/enclaves/wrong; create it" in line


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        (["-p", "robot"], {}, "ROS: expected it to start, got .*parameter override rule"),
        (["-r", "__ns:=bad//x"], {}, "ROS: expected it to start, got .*remap rule"),
        (["--bogus"], {}, "ROS: expected it to start, got .*--bogus"),
        (["--params-file", "/none"], {}, "ROS: expected it to start, got .*/none"),
        ([], {"ROS_DOMAIN_ID": "300"}, "ROS_DOMAIN_ID: expected a number of 0 to 232, got 300"),
        ([], {"ROS_DOMAIN_ID": "abc"}, "ROS_DOMAIN_ID: expected a number of 0 to 232, got abc"),
    ],
)
def test_what_ros_refuses(words: list[str], environment: dict[str, str], expected: str) -> None:
    assert re.search(expected, refusal(node("control", *words), **environment))


# --- signals --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def policy_words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A policy that loads, and then waits for inputs that never come."""
    folder = tmp_path_factory.mktemp("policy")
    robot = write_profile(folder)
    checkpoint = write_rig_checkpoint(folder / "checkpoint", robot)
    words = {"robot": robot, "checkpoint": checkpoint, "device": "cpu", "threads": 1}
    return node("policy", autostart=True, input_timeout=60.0, **words)


def moments() -> Iterator[tuple[str, int, float]]:
    """Spread over the start: interpreter, imports, participant, discovery, model, wait for inputs."""
    rng = random.Random(13)
    longest = {"control": 4.0, "recorder": 3.0, "policy": 10.0}
    for number in range(20):
        name = ("policy", "control", "policy", "recorder")[number % 4]
        signalled = (signal.SIGINT, signal.SIGTERM)[number // 4 % 2]
        yield name, signalled, round(rng.uniform(0.0, longest[name]), 2)


@pytest.mark.parametrize(("name", "number", "after"), moments())
def test_a_signal_at_any_moment_of_the_start(
    policy_words: list[str], name: str, number: int, after: float
) -> None:
    words = policy_words if name == "policy" else node(name, **_started(name))
    with Child(words) as child:
        threading.Event().wait(after)  # the moment is what is tried: there is no event for it
        begin = time.monotonic()
        code = child.stop(number, 3 * END)
        took = time.monotonic() - begin
    text = "\n".join(child.lines)
    # before the first line of ours, the interpreter itself ends as the system says
    assert code in (0, -number), text
    assert code == 0 or "[INFO]" not in text
    assert took < END, text
    assert "by force" not in text
    assert code or "Traceback" not in text


def _started(name: str) -> dict[str, object]:
    return {"autostart": True} if name == "control" else {}


def test_a_signal_while_activation_waits_for_inputs(policy_words: list[str]) -> None:
    with Child(policy_words) as child:
        child.wait_for_line("inference takes", 90.0)
        begin = time.monotonic()
        assert child.stop(signal.SIGINT, 30.0) == 0, child.lines
    assert time.monotonic() - begin < END
    assert "Traceback" not in "\n".join(child.lines)


# --- activation right after configure ---------------------------------------------------------------


@pytest.mark.parametrize("simulated", [False, True])
def test_control_activated_right_after_configure(tmp_path: Path, simulated: bool) -> None:
    """As lifecycle managers do: joint states that come are waited for."""
    with Rig(tmp_path, autostart=False, use_sim_time=simulated, sim_probe=simulated) as rig:
        if simulated:
            sim = node("sim", publish_clock=True, camera_rate=2.0)
            rig.processes.pop("loopback").stop()
            rig.processes["sim"] = Process(sim, tmp_path / "sim.log")
        probe = rig.probe
        probe.wait(lambda: probe.node.count_publishers(_state_topic(rig)), "the driver", 60.0)
        if simulated:  # it stands still while the first picture waits for the renderer to open
            probe.wait(lambda: probe.now_ns() > 3_000_000_000, "the simulator to run", 60.0)
        for _ in range(3):
            assert probe.transition("control_node", Transition.TRANSITION_CONFIGURE)
            assert probe.transition("control_node", Transition.TRANSITION_ACTIVATE), rig.processes[
                "control"
            ].text
            assert probe.transition("control_node", Transition.TRANSITION_DEACTIVATE)
            assert probe.transition("control_node", Transition.TRANSITION_CLEANUP)


def test_control_without_a_driver_is_refused_soon(tmp_path: Path) -> None:
    with Rig(tmp_path, loopback={"fault": "silent"}, autostart=False) as rig:
        probe = rig.probe
        assert probe.transition("control_node", Transition.TRANSITION_CONFIGURE)
        begin = time.monotonic()
        assert not probe.transition("control_node", Transition.TRANSITION_ACTIVATE)
        assert 0.5 < time.monotonic() - begin < 5.0
        assert probe.transition("control_node", Transition.TRANSITION_CLEANUP)


def _state_topic(rig: Rig) -> str:
    return next(iter(rig.profile.arms.values())).state.topic
