# SPDX-License-Identifier: Apache-2.0
"""A goal that control cannot follow ends with CONTROL_REFUSED and a line, at once; real processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from control_rig import wait_until
from human import Human
from lifecycle_msgs.msg import Transition
from policy_rig import START, PolicyRig, Result
from reactions import assert_comes_to_rest

from adamoe_ros.msg import ActionChunk, ControlStatus, MotionCommand
from adamoe_ros.ros import names, qos

TOPIC = "follower_left/joint_commands"
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicyRig]:
    with PolicyRig(tmp_path_factory.mktemp("policy"), {"start_ramp": True}) as rig:
        rig.wait_active()
        yield rig


@pytest.fixture
def rig(shared: PolicyRig) -> Iterator[PolicyRig]:
    shared.settle_policy()
    yield shared


def refused(rig: PolicyRig, goal: Any, *texts: str) -> float:
    """The goal ends with CONTROL_REFUSED and these texts; s that it took."""
    begin = time.monotonic()
    result = goal.result()
    took = time.monotonic() - begin
    assert result.code == Result.CONTROL_REFUSED, result.message
    assert all(text in result.message for text in texts), result.message
    assert "\n" not in result.message
    return took


def test_control_is_deactivated_in_the_middle(rig: PolicyRig) -> None:
    goal = rig.running()
    assert rig.probe.transition("control_node", DEACTIVATE)
    assert refused(rig, goal, "control_node: expected active, got inactive") < 2.0
    begin = time.monotonic()  # and one that is sent to it as it is now
    result = rig.goal(max_duration=5.0).result()
    assert result.code == Result.CONTROL_REFUSED
    assert "activate it" in result.message
    assert time.monotonic() - begin < 3.0
    assert rig.probe.transition("control_node", ACTIVATE)
    rig.holding()


def test_control_is_started_again_in_the_middle(rig: PolicyRig) -> None:
    goal = rig.running()
    rig.processes["control"].child.kill()
    rig.processes["control"].child.wait()
    rig.start("control", rig._commands["control"])
    refused(rig, goal, "control_node")
    rig.holding()


@pytest.mark.parametrize(
    ("command", "text"),
    [(MotionCommand.RUN, "of another RUN"), (MotionCommand.HOLD, "a hold (from_elsewhere)")],
)
def test_another_node_sends_a_motion_command(rig: PolicyRig, command: int, text: str) -> None:
    node = rig.probe.node
    publisher = node.create_publisher(MotionCommand, names.MOTION, qos.MOTION)
    rig.probe.wait(publisher.get_subscription_count, "control to listen")
    goal = rig.running()
    generation = 5 if command == MotionCommand.RUN else rig.probe.status.generation
    publisher.publish(
        MotionCommand(command=command, generation=generation, reason="from elsewhere")
    )
    assert refused(rig, goal, text, "another node publishes on motion") < 2.0
    assert_comes_to_rest(rig.probe, rig.probe.commands[TOPIC])
    node.destroy_publisher(publisher)


def test_a_stray_chunk_with_a_high_id(rig: PolicyRig) -> None:
    node = rig.probe.node
    goal = rig.running()
    publisher = node.create_publisher(ActionChunk, names.ACTION_CHUNK, qos.CHUNK)
    stray = ActionChunk(
        chunk_id=2**40,
        generation=rig.probe.status.generation,
        joint_names=list(rig.profile.joint_ids),
        dt=0.1,
        rows=1,
        positions=list(rig.probe.status.commanded),
    )
    stray.header.stamp = node.get_clock().now().to_msg()
    publisher.publish(stray)
    refused(rig, goal, "control_node", "stop")
    assert_comes_to_rest(rig.probe, rig.probe.commands[TOPIC])
    node.destroy_publisher(publisher)
    rig.probe.wait(lambda: rig.goal(max_duration=0.3).result().code == Result.DURATION_REACHED
                   or rig.probe.status.hold_cause != "conflict", "to be alone again")  # fmt: skip


def test_nothing_was_followed_within_the_time(rig: PolicyRig) -> None:
    """Arms that hold for the whole goal have not done what was asked, however short it was."""
    rig.probe.set("policy_node", inject_latency=2.0)
    try:
        result = rig.goal(max_duration=0.5).result()
    finally:
        rig.probe.set("policy_node", inject_latency=0.0)
    assert result.code == Result.CONTROL_REFUSED
    assert "to follow a chunk, got none within 0.5 s" in result.message


def test_a_goal_waits_for_late_pictures_and_goes_on(rig: PolicyRig) -> None:
    rig.probe.set("policy_node", input_patience=30.0, max_observation_age=0.5)
    try:
        goal = rig.running()
        generation = rig.probe.status.generation
        rig.probe.set("loopback_node", camera_fault="silent")
        rig.probe.wait_mode(ControlStatus.HOLD, "inputs_late")
        assert_comes_to_rest(rig.probe, rig.probe.commands[TOPIC])
        assert not goal.done
        rig.probe.set("loopback_node", camera_fault="none")
        rig.probe.wait_mode(ControlStatus.RUNNING, timeout=START)
        assert rig.probe.status.generation > generation
        assert not goal.done
        rig.probe.set("policy_node", input_patience=1.0)
        rig.probe.set("loopback_node", camera_fault="silent")
        result = goal.result()
        assert result.code == Result.INPUT_LOST
        assert "cam_high" in result.message
    finally:
        rig.probe.set("loopback_node", camera_fault="none")
        rig.probe.set("policy_node", input_patience=0.0, max_observation_age=2.0)


def test_a_goal_waits_while_a_human_has_the_arms_and_plans_anew(rig: PolicyRig) -> None:
    probe = rig.probe
    probe.set("control_node", takeover_release="policy")
    goal, human = rig.running(), Human(probe)
    generation = probe.status.generation
    human.take_over()
    wait_until(lambda: rig.policy_statuses[-1].phase == "taken_over", "the goal to wait", START)
    wait_until(lambda: goal.feedback[-1].phase == "taken_over", "the feedback to say so", START)
    chunks, elapsed = rig.policy_statuses[-1].chunks, goal.feedback[-1].elapsed
    human.let_go()
    probe.wait(lambda: probe.status.generation > generation, "a new plan", START)
    probe.wait(lambda: probe.status.source == ControlStatus.SOURCE_POLICY, "the policy", START)
    assert not goal.done
    wait_until(lambda: rig.policy_statuses[-1].phase == "executing", "the goal to go on", START)
    assert rig.policy_statuses[-1].chunks > chunks
    human.take_over()  # while the goal is cancelled the human goes on
    goal.cancel()
    assert goal.result().code == Result.CANCELLED
    probe.wait(lambda: probe.status.source == ControlStatus.SOURCE_HUMAN, "the human to go on")
    human.let_go()
    probe.wait_mode(ControlStatus.HOLD, "cancelled")
    assert elapsed < goal.result().elapsed < elapsed + 20.0


def test_a_second_policy_ends_the_goal_and_takes_none(rig: PolicyRig) -> None:
    goal = rig.running()
    second = rig.start("second", rig.policy_command)
    try:
        result = goal.result(2.0 * START)
        # whoever sees it first, or misses control while the second one loads torch on these cores
        assert result.code in (Result.CONFLICT, Result.CONTROL_REFUSED), result.message
        text = "/policy_status: expected one policy_node for this robot, got 2"
        wait_until(lambda: text in rig.policy_log, lambda: rig.policy_log, START)
        wait_until(lambda: f"activate: {text}" in second.text, lambda: second.text, 2.0 * START)
    finally:
        second.stop(timeout=START)
    rig.settle_policy()
