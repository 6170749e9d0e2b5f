# SPDX-License-Identifier: Apache-2.0
"""Other nodes with a hand in the same robot: named, and the arms hold; before motion and in it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from control_rig import Probe, Rig
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.node import Node
from reactions import assert_comes_to_rest
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from adamoe_ros.contract.topics import command_topics, state_topics
from adamoe_ros.msg import ActionChunk, ControlStatus, PolicyStatus
from adamoe_ros.ros import names, qos

TOPIC = "follower_left/joint_commands"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("conflicts")) as rig:
        rig.holding()
        yield rig


@pytest.fixture
def rig(shared: Rig) -> Iterator[Rig]:
    shared.settle()
    yield shared


@pytest.fixture
def rogue(rig: Rig) -> Iterator[Node]:
    """A node of another name, in the process of the probe."""
    node = rclpy.create_node("rogue", context=rig.probe.context)
    yield node
    node.destroy_node()
    rig.probe.wait(lambda: is_alone(rig.probe), "the rogue to be forgotten")


def others(probe: Probe) -> DiagnosticStatus | None:
    """The newest diagnostic about other nodes."""
    found = [item for item in probe.diagnostics if item.name == "control_node: others"]
    return found[-1] if found else None


def is_alone(probe: Probe) -> bool:
    found = others(probe)
    return found is not None and found.level == DiagnosticStatus.OK


def assert_held(rig: Rig, *texts: str) -> None:
    """The arms come to rest for a conflict that names who, and a RUN does not move them."""
    probe = rig.probe
    probe.wait_mode(ControlStatus.HOLD, "conflict")
    assert_comes_to_rest(probe, probe.commands[TOPIC])
    for text in texts:
        assert text in probe.status.hold_detail
        assert "stop" in probe.status.hold_detail
    probe.wait(lambda: not is_alone(probe), "the diagnostic")
    found = others(probe)
    assert found is not None and found.level == DiagnosticStatus.ERROR
    assert all(text in found.message for text in texts)
    accepted = probe.status.accepted_chunks
    probe.ask_run()
    probe.chunk(rig.wave(1.0))
    count = len(probe.statuses)
    probe.wait(lambda: len(probe.statuses) > count + 5, "statuses")
    assert probe.status.hold_cause == "conflict"
    assert probe.status.accepted_chunks == accepted


def command_publisher(rig: Rig, node: Node) -> Any:
    return node.create_publisher(JointState, command_topics(rig.profile)[0].target.topic, 1)


def chunk_publisher(rig: Rig, node: Node) -> Any:
    return node.create_publisher(ActionChunk, names.ACTION_CHUNK, qos.CHUNK)


@pytest.mark.parametrize("make", [command_publisher, chunk_publisher])
def test_a_foreign_publisher_stops_the_arms_and_is_named(
    rig: Rig, rogue: Node, make: Callable[[Rig, Node], Any]
) -> None:
    rig.move()
    make(rig, rogue)
    assert_held(rig, "/rogue")


def test_a_rogues_first_chunk_is_not_followed(rig: Rig, rogue: Node) -> None:
    rig.move(4.0)
    publisher = chunk_publisher(rig, rogue)
    rig.probe.wait(publisher.get_subscription_count, "control to listen")
    accepted = rig.probe.status.accepted_chunks
    rows = rig.wave(2.0)
    message = ActionChunk(
        chunk_id=2**40,
        generation=rig.probe.generation,
        joint_names=list(rig.profile.joint_ids),
        dt=0.02,
        rows=len(rows),
        positions=rows.ravel().tolist(),
    )
    message.header.stamp = rogue.get_clock().now().to_msg()
    publisher.publish(message)
    assert_held(rig, "/rogue")
    assert rig.probe.status.accepted_chunks == accepted


def test_the_same_joints_from_two_drivers_stop_the_arms(rig: Rig, rogue: Node) -> None:
    topic = state_topics(rig.profile)[0]
    publisher = rogue.create_publisher(JointState, topic.source.topic, qos.COMMAND)
    home = [value for _, arm in rig.profile.ordered_arms for value in arm.home]
    message = JointState(name=list(topic.names), position=[home[c] for c in topic.columns])

    def send() -> bool:
        message.header.stamp = rogue.get_clock().now().to_msg()
        publisher.publish(message)
        return rig.probe.status.hold_cause == "conflict"

    rig.move(4.0)
    rig.probe.wait(send, "the conflict")
    timer = rig.probe.node.create_timer(0.02, send)
    try:
        assert_held(rig, "/rogue", "/loopback_node")
    finally:
        rig.probe.node.destroy_timer(timer)


def test_other_joints_on_the_same_topic_are_no_conflict(rig: Rig, rogue: Node) -> None:
    topic = state_topics(rig.profile)[0].source.topic
    publisher = rogue.create_publisher(PolicyStatus, "elsewhere", 1)  # a node may have others
    wheels = rogue.create_publisher(JointState, topic, qos.COMMAND)
    rig.move(2.0)
    for _ in range(20):
        wheels.publish(JointState(name=["wheel"], position=[1.0]))
    rig.probe.wait(lambda: rig.probe.status.row > 20, "the motion to go on")
    assert rig.probe.status.hold_cause == ""
    rogue.destroy_publisher(publisher)


def test_a_stop_that_another_control_has_latched_counts_here(rig: Rig, rogue: Node) -> None:
    """The service may reach one of two: whose caller has its first answer is gone."""
    publisher = rogue.create_publisher(ControlStatus, names.CONTROL_STATUS, qos.CONTROL_STATUS)
    status = ControlStatus(hold_cause="emergency_stop")
    timer = rig.probe.node.create_timer(0.1, lambda: publisher.publish(status))
    try:
        rig.move(4.0)
        rig.probe.wait_mode(ControlStatus.ESTOP)
        for _ in range(5):
            # it stays with one word: neither what the other still says nor our own echo undoes a reset
            assert rig.probe.trigger(names.RESET).success
            count = len(rig.probe.statuses)
            rig.probe.wait(lambda count=count: len(rig.probe.statuses) > count + 10, "statuses")
            later = [s for _, s in rig.probe.statuses[count + 2 :] if s.joint_names]
            assert later and all(s.mode == ControlStatus.HOLD for s in later)
            assert rig.probe.trigger(names.EMERGENCY_STOP).success
            rig.probe.wait_mode(ControlStatus.ESTOP)
        assert rig.probe.trigger(names.RESET).success
    finally:
        rig.probe.node.destroy_timer(timer)


def test_a_second_policy_stops_the_arms(rig: Rig, rogue: Node) -> None:
    publisher = rogue.create_publisher(PolicyStatus, names.POLICY_STATUS, qos.POLICY_STATUS)
    timer = rig.probe.node.create_timer(0.1, lambda: publisher.publish(PolicyStatus()))
    try:
        rig.move(6.0)
        assert_held(rig, "/rogue", "/probe", "policy_status")
    finally:
        rig.probe.node.destroy_timer(timer)


@pytest.fixture
def second(rig: Rig, tmp_path: Path) -> Iterator[Callable[[bool], Any]]:
    """Starts a second control_node, told to activate itself or not."""
    started: list[Any] = []

    def start(autostart: bool) -> Any:
        command = [*rig._commands["control"], "-p", f"autostart:={str(autostart).lower()}"]
        started.append(rig.start("second", command))
        return started[-1]

    yield start
    for process in started:
        process.stop(signal.SIGINT)
    rig.probe.wait(lambda: is_alone(rig.probe), "the second to be forgotten")


def test_a_second_control_is_refused_and_the_first_holds(
    rig: Rig, second: Callable[[bool], Any]
) -> None:
    process = second(True)
    expected = "one control_node for this robot, got 2 (/control_node, /control_node)"
    rig.probe.wait(lambda: expected in rig.probe.status.hold_detail, "the first to hold")
    text = "activate: /control_status: expected one control_node for this robot"
    rig.probe.wait(lambda: text in process.text, "the refusal")
    # each hears the stop, whichever answers the caller
    rig.probe.call(Trigger, names.EMERGENCY_STOP, Trigger.Request())
    rig.probe.wait_mode(ControlStatus.ESTOP)
    process.stop(signal.SIGINT)
    rig.probe.wait(lambda: is_alone(rig.probe), "the second to be forgotten")
    rig.settle()
    rig.move()  # alone again, and all is well


def test_a_killed_control_does_not_keep_its_successor_waiting(
    rig: Rig, second: Callable[[bool], Any]
) -> None:
    """Its publishers stay in the graph for up to 20 s; it says nothing any more."""
    rig.processes["control"].child.kill()
    rig.processes["control"].child.wait()
    rig.start("control", rig._commands["control"])
    first = len(rig.probe.statuses)
    took = rig.probe.wait(
        lambda: any(s.mode == ControlStatus.HOLD for _, s in rig.probe.statuses[first:]), "to hold"
    )
    assert took < 15.0
    assert rig.probe.transition("control_node", Transition.TRANSITION_DEACTIVATE)
    assert rig.probe.transition("control_node", Transition.TRANSITION_ACTIVATE)
