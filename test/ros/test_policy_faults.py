# SPDX-License-Identifier: Apache-2.0
"""Faults with the policy in the loop: real processes, the reactions of ``doc/policy_node.md``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest
from control_rig import wait_until
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from policy_rig import MAX_AGE, POISON, SENTENCE, START, PolicyRig, Result
from reactions import assert_comes_to_rest, check_time, first_status

from adamoe_ros.msg import ControlStatus
from adamoe_ros.ros.security_policy import (
    COMMON_PUBLISH,
    COMMON_SUBSCRIBE,
    LIFECYCLE,
    PARAMETERS,
    rules,
)

WATCH = 0.02  # s between the policy's looks at a goal


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicyRig]:
    with PolicyRig(tmp_path_factory.mktemp("policy")) as rig:
        rig.wait_active()
        yield rig


@pytest.fixture
def rig(shared: PolicyRig) -> Iterator[PolicyRig]:
    shared.settle_policy()
    yield shared


def period(rig: PolicyRig) -> float:
    return 1.0 / rig.profile.command_rate


def rests(rig: PolicyRig) -> None:
    assert_comes_to_rest(rig.probe, rig.probe.commands["follower_left/joint_commands"])


def moves(rig: PolicyRig) -> None:
    samples = rig.probe.commands["follower_left/joint_commands"]
    count = len(samples)

    def moved() -> bool:
        values = [sample.values for sample in samples[count:]]
        return len(values) > 2 and float(np.ptp(values, axis=0).max()) > 1e-3

    rig.probe.wait(moved, "motion", START)


def test_a_goal_moves_the_arms_until_its_time_is_over(rig: PolicyRig) -> None:
    goal = rig.goal(max_duration=4.0)
    moves(rig)
    result = goal.result()
    assert result.code == Result.DURATION_REACHED, result.message
    assert result.elapsed >= 4.0
    assert result.chunks >= 1
    assert goal.feedback
    assert len(goal.feedback[-1].experts) == 2
    rig.probe.wait_mode(ControlStatus.HOLD, "duration_reached")
    rests(rig)


def test_cancel(rig: PolicyRig) -> None:
    goal = rig.running()
    begin = time.monotonic()
    goal.cancel()
    took = first_status(rig.probe, begin, ControlStatus.HOLD, "cancelled")
    check_time("cancel by the action client", took, period(rig))
    rests(rig)
    assert goal.result().code == Result.CANCELLED


def test_policy_killed_and_started_again(rig: PolicyRig) -> None:
    rig.running()
    generation = rig.probe.status.generation
    begin = time.monotonic()
    rig.processes["policy"].child.kill()
    took = first_status(rig.probe, begin, ControlStatus.HOLD, "policy_lost")
    check_time("kill -9 of policy_node", took, rig.profile.watchdogs.policy + period(rig))
    rests(rig)
    samples = rig.probe.commands["follower_left/joint_commands"]
    resting = len(samples) - 1
    rig.restart_policy()
    rig.probe.wait_mode(ControlStatus.HOLD, "no_goal")
    # starting again moves nothing
    assert np.ptp([sample.values for sample in samples[resting:]], axis=0).max() == 0.0
    goal = rig.running()
    assert rig.probe.status.generation > generation
    moves(rig)
    goal.cancel()
    goal.result()


CAMERA_FAULTS = {
    "silent": ("one camera stopped", "cam_high"),
    "truncated": ("truncated images", "the image is truncated"),
    "wrong_encoding": ("images of a wrong encoding", "expected rgb8, got mono8"),
}


@pytest.mark.parametrize("fault", CAMERA_FAULTS)
def test_a_camera_fails(rig: PolicyRig, fault: str) -> None:
    event, line = CAMERA_FAULTS[fault]
    goal = rig.running()
    begin = time.monotonic()
    rig.probe.set("loopback_node", camera_fault=fault)
    took = first_status(rig.probe, begin, ControlStatus.HOLD, "input_lost")
    check_time(event, took, MAX_AGE + WATCH + period(rig))
    result = goal.result()
    assert result.code == Result.INPUT_LOST
    assert line in result.message
    assert "\n" not in result.message
    rests(rig)
    refused = rig.goal().result()
    assert refused.code == Result.REJECTED_INPUTS
    assert line in refused.message
    if fault != "silent":
        assert rig.policy_log.count(line) >= 1
    rig.probe.set("loopback_node", camera_fault="none")
    wait_until(lambda: not rig.policy_statuses[-1].missing, "the camera again", START)
    rig.running().cancel()


def newest_diagnostics(rig: PolicyRig) -> dict[str, DiagnosticStatus]:
    """The policy's part of /diagnostics, by name."""
    return {
        status.name.split(": ")[1]: status
        for status in list(rig.probe.diagnostics)
        if status.name.startswith("policy_node: ")
    }


def test_diagnostics_have_levels_figures_and_what_to_do(rig: PolicyRig) -> None:
    def level(name: str, wanted: bytes, text: str) -> bool:
        diagnostic = newest_diagnostics(rig).get(name)
        return diagnostic is not None and diagnostic.level == wanted and text in diagnostic.message

    rig.probe.diagnostics.clear()
    goal = rig.running()
    rig.probe.wait(lambda: level("goal", DiagnosticStatus.OK, SENTENCE), "the goal")
    rig.probe.wait(lambda: level("device", DiagnosticStatus.OK, "cpu"), "the device")
    rig.probe.set("loopback_node", camera_fault="silent")
    missing = "missing: cam_high (silent for"
    rig.probe.wait(lambda: level("inputs", DiagnosticStatus.ERROR, missing), "the lost camera")
    assert goal.result().code == Result.INPUT_LOST
    failed = "the last goal failed: inputs: expected all live, got nothing from cam_high"
    rig.probe.wait(lambda: level("goal", DiagnosticStatus.WARN, failed), "the failed goal")
    # its driver runs: the network may have lost it, and nobody is sent to start what is there
    for text in (
        "published by loopback_node_pictures",
        "the network loses it (doc/two_machines.md)",
    ):
        assert text in goal.result().message
    assert "start its driver" not in goal.result().message
    found = newest_diagnostics(rig)
    assert set(found) == {"goal", "inputs", "inference", "device", "others"}
    assert {status.hardware_id for status in found.values()} == {"rig"}
    figures = {item.key: item.value for item in found["inputs"].values}
    for stream in ("cam_high", "cam_right_wrist", "follower_left/joint_states"):
        assert float(figures[f"{stream} rate (Hz)"]) > 0
        assert int(figures[f"{stream} received"]) > 0
        assert f"{stream} age (s)" in figures
    assert float(figures["cam_high age (s)"]) > 1.0
    stages = {item.key: item.value for item in found["inference"].values}
    assert 0 < float(stages["total p50 (s)"]) <= float(stages["total p99 (s)"])
    assert float(stages["stamp_to_chunk p95 (s)"]) > 0
    assert int(stages["chunks"]) >= 1
    said = "inputs: missing: cam_high ("  # and the log names the next action
    wait_until(lambda: said in rig.policy_log, lambda: rig.policy_log, START)
    assert "the network loses it (doc/two_machines.md)" in rig.policy_log


@pytest.mark.parametrize("fault", ["silent", "missing_joint"])
def test_joint_states_fail(rig: PolicyRig, fault: str) -> None:
    goal = rig.running()
    begin = time.monotonic()
    rig.probe.set("loopback_node", fault=fault)
    took = first_status(rig.probe, begin, ControlStatus.HOLD, "state_stale")
    event = {"silent": "joint states stopped", "missing_joint": "a joint missing"}[fault]
    check_time(event, took, rig.profile.arms["left"].state.timeout + period(rig))
    rests(rig)
    took = first_status(rig.probe, begin, ControlStatus.HOLD, "input_lost")
    check_time(f"{event}: the goal ends", took, MAX_AGE + WATCH + period(rig))
    result = goal.result()
    assert result.code == Result.INPUT_LOST
    wanted = {"silent": "follower_left/joint_states", "missing_joint": "gripper"}
    assert wanted[fault] in result.message


def test_joint_states_freeze(rig: PolicyRig) -> None:
    rig.go_home()
    rig.probe.set("loopback_node", fault="freeze")
    goal = rig.goal()
    began = time.monotonic()
    took = first_status(rig.probe, began, ControlStatus.HOLD, "tracking_error")
    # the arms are told to leave the frozen pose only by the first chunk, so no time is documented
    assert took < START
    samples = rig.probe.commands["follower_left/joint_commands"]
    commanded = np.array([sample.values for sample in samples if sample.at > began])
    frozen = np.array(rig.probe.status.measured)[: commanded.shape[1]]
    speed = np.abs(np.diff(commanded, axis=0)).max() / period(rig)
    acceleration = rig.profile.arms["left"].joints[0].limits.acceleration
    braking = speed**2 / (2 * acceleration) + speed * period(rig)  # nothing stops at once
    bound = rig.profile.gate.max_tracking_error + braking
    assert np.abs(commanded - frozen).max() <= bound
    rests(rig)
    assert not goal.done
    rig.probe.set("loopback_node", fault="none")
    rig.probe.wait_mode(ControlStatus.RUNNING, timeout=START)  # goes on when the arms follow
    goal.cancel()
    assert goal.result().code == Result.CANCELLED


def test_joints_in_another_order_are_harmless(rig: PolicyRig) -> None:
    goal = rig.running()
    rig.probe.set("loopback_node", fault="reverse_order")
    chunks = rig.policy_statuses[-1].chunks
    wait_until(lambda: rig.policy_statuses[-1].chunks > chunks + 2, "chunks to go on", START)
    rig.probe.wait_mode(ControlStatus.RUNNING)
    assert not goal.done
    gap = np.array(rig.probe.status.commanded) - np.array(rig.probe.status.measured)
    assert np.abs(gap).max() < 0.2
    goal.cancel()
    assert goal.result().code == Result.CANCELLED


def test_a_chunk_that_is_not_finite(rig: PolicyRig) -> None:
    goal = rig.running()
    begin = time.monotonic()
    rig.say(f"lift the {POISON}")
    result = goal.result()
    assert result.code == Result.POLICY_FAILED
    assert "expected a finite chunk" in result.message
    first_status(rig.probe, begin, ControlStatus.HOLD, "policy_failed")
    rests(rig)
    assert rig.probe.status.rejected_chunks == 0  # it was not even sent
    again = rig.running()
    again.cancel()
    assert again.result().code == Result.CANCELLED


def test_a_flood_of_instructions(rig: PolicyRig) -> None:
    goal = rig.running()
    sentences = ("lift the yellow", "lift both arms", "with both arms")
    for number in range(300):  # ten times and more what the cameras send
        rig.say(f"{sentences[number % 3]} the")
        time.sleep(0.004)
    rig.say("both arms lift")
    chunks = rig.policy_statuses[-1].chunks
    wait_until(lambda: rig.policy_statuses[-1].instruction == "both arms lift", "the last", START)
    wait_until(lambda: rig.policy_statuses[-1].chunks > chunks + 2, "chunks to go on", START)
    rig.probe.wait_mode(ControlStatus.RUNNING)
    assert not goal.done
    goal.cancel()
    assert goal.result().code == Result.CANCELLED


def test_an_empty_instruction(rig: PolicyRig) -> None:
    result = rig.goal("   ").result()
    assert result.code == Result.REJECTED_INSTRUCTION
    assert result.message == "instruction: expected a sentence, got an empty one; write one"
    rig.probe.wait_mode(ControlStatus.HOLD, timeout=START)
    goal = rig.running()
    rig.say("  ")
    said = "instruction: expected a sentence, got an empty one; it is ignored"
    wait_until(lambda: said in rig.policy_log, "the line", START)
    assert rig.policy_statuses[-1].instruction == SENTENCE
    goal.cancel()
    assert goal.result().code == Result.CANCELLED


def test_a_sentence_of_300_tokens(rig: PolicyRig) -> None:
    """Refused with the number before anything moves; on the topic it is ignored."""
    words = " ".join(["lift"] * 300)
    result = rig.goal(words).result()
    assert result.code == Result.REJECTED_INSTRUCTION
    assert "tokens, got 300 tokens; shorten it" in result.message
    rig.probe.wait_mode(ControlStatus.HOLD, timeout=START)
    goal = rig.running()
    rig.say(words)
    wait_until(lambda: "got 300 tokens" in rig.policy_log.split("ignored:")[-1], "the line", START)
    assert rig.policy_statuses[-1].instruction == SENTENCE
    goal.cancel()
    assert goal.result().code == Result.CANCELLED


def test_two_action_clients(rig: PolicyRig) -> None:
    first = rig.running()
    generation = rig.probe.status.generation
    second = rig.goal("lift both arms")
    result = first.result()
    assert (result.code, result.message) == (Result.PREEMPTED, "a newer goal took over")
    rig.probe.wait(lambda: rig.probe.status.generation > generation, "the newer goal")
    rig.probe.wait_mode(ControlStatus.RUNNING, timeout=START)
    assert rig.probe.set("policy_node", preempt=False) == []
    try:
        third = rig.goal().result()
    finally:
        rig.probe.set("policy_node", preempt=True)
    assert third.code == Result.REJECTED_BUSY
    assert "set preempt:=true" in third.message
    assert not second.done
    second.cancel()
    assert second.result().code == Result.CANCELLED


def test_emergency_stop_ends_the_goal(rig: PolicyRig) -> None:
    goal = rig.running()
    sent = rig.probe.emergency_stop()
    check_time(
        "emergency stop by topic", first_status(rig.probe, sent, ControlStatus.ESTOP), period(rig)
    )
    assert goal.result().code == Result.EMERGENCY_STOP


def test_deactivated_in_the_middle_of_a_motion(rig: PolicyRig) -> None:
    goal = rig.running()
    assert rig.probe.transition("policy_node", Transition.TRANSITION_DEACTIVATE)
    rig.probe.wait_mode(ControlStatus.HOLD, "deactivated")
    assert goal.result().code == Result.DEACTIVATED
    rests(rig)
    refused = rig.goal().result()
    assert refused.code == Result.REJECTED_INACTIVE
    assert rig.probe.transition("policy_node", Transition.TRANSITION_ACTIVATE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_policy_ended_by_a_signal_in_the_middle_of_a_motion(rig: PolicyRig, number: int) -> None:
    rig.running()
    begin = time.monotonic()
    os.kill(rig.processes["policy"].child.pid, number)
    took = first_status(rig.probe, begin, ControlStatus.HOLD, "deactivated")
    check_time(f"{signal.Signals(number).name} to policy_node", took, 0.1 + period(rig))
    rests(rig)
    assert rig.processes["policy"].child.wait(START) == 0
    assert "Traceback" not in rig.policy_log
    rig.restart_policy()


def test_a_control_that_is_there_but_never_heard(rig: PolicyRig) -> None:
    rig.restart_policy("-r", "control_status:=not_heard")
    try:
        begin = time.monotonic()
        result = rig.goal().result()
        check_time("control_node is never heard: the goal ends", time.monotonic() - begin, 2.1)
    finally:
        rig.restart_policy()
    assert result.code == Result.CONTROL_REFUSED
    assert "start it again" in result.message


def test_control_ended_in_the_middle_of_a_motion(rig: PolicyRig) -> None:
    goal = rig.running()
    begin = time.monotonic()
    assert rig.processes["control"].stop(signal.SIGTERM, START) == 0
    result = goal.result()
    check_time("control_node ended: the goal ends", time.monotonic() - begin, 5.0)
    assert result.code == Result.CONTROL_REFUSED
    assert "start it again" in result.message
    held = rig.probe.commands["follower_left/joint_commands"][-1].values
    begin = time.monotonic()
    again = rig.goal().result()  # control_node may be coming back: this goal waits for it as well
    assert again.code == Result.CONTROL_REFUSED
    assert time.monotonic() - begin > 1.9
    rig.start("control", rig._commands["control"])
    begin = time.monotonic()
    first_status(rig.probe, begin, ControlStatus.HOLD)
    samples = rig.probe.commands["follower_left/joint_commands"]
    assert samples[-1].values == pytest.approx(held)  # it takes over where the arms are


def test_the_security_policy_allows_what_the_running_nodes_have(rig: PolicyRig) -> None:
    """A topic or service that is added to a node and not to its enclave would be refused on a secured robot."""
    # a node that was killed stays in the graph for up to 20 s, under the name of its successor
    wait_until(
        lambda: not endpoint_differences(rig),
        lambda: f"endpoints as in the policy; other: {endpoint_differences(rig)}",
        START,
    )


def endpoint_differences(rig: PolicyRig) -> dict[str, set[str]]:
    """Topics and services that only the running nodes have, or only their enclaves."""
    node, allowed, found = rig.probe.node, rules(rig.profile), {}
    for rule in (allowed["control"], allowed["policy"]):
        have = {
            "publish": node.get_publisher_names_and_types_by_node(rule.node, "/"),
            "subscribe": node.get_subscriber_names_and_types_by_node(rule.node, "/"),
            "reply": node.get_service_names_and_types_by_node(rule.node, "/"),
        }
        pictures = f"{rule.node}_pictures"  # the same process's and enclave's second participant
        if pictures in node.get_node_names():
            have["subscribe"] += node.get_subscriber_names_and_types_by_node(pictures, "/")
        own = {
            "publish": {*rule.publish, *COMMON_PUBLISH, "~/transition_event"},
            "subscribe": {*rule.subscribe, *COMMON_SUBSCRIBE},
            "reply": {*rule.reply, *(f"~/{name}" for name in (*PARAMETERS, *LIFECYCLE))},
        }
        for kind, items in have.items():
            here = {name for name, _ in items if "/_action/" not in name}
            names = {
                item.replace("~", f"/{rule.node}") if item[0] in "~/" else f"/{item}"
                for item in own[kind]
            }
            # only with simulation time, only in shadow mode, only from Kilted on
            sometimes = {"/clock", "/diagnostics", "/parameter_events"}
            sometimes |= {name for name in names if "/shadow/" in name}
            found[f"{rule.node} {kind}"] = (here - names) | (names - sometimes - here)
    return {where: names for where, names in found.items() if names}
