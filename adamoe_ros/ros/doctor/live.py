# SPDX-License-Identifier: Apache-2.0
"""The running system against the profile: topics, types, QoS, rates, stamps, contents.

Listens for some seconds to every topic the profile names; publishes nothing and commands nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CompressedImage, Image, JointState

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile import Camera, RobotProfile, StateSource
from adamoe_ros.contract.topics import CommandTopic, StateTopic, command_topics, state_topics
from adamoe_ros.ros import names, qos
from adamoe_ros.ros.conflicts import HeardPublishers, publisher_gid
from adamoe_ros.ros.doctor.joint_checks import check_joints
from adamoe_ros.ros.doctor.node_checks import NodeStatuses
from adamoe_ros.ros.doctor.report import Check, Report
from adamoe_ros.ros.doctor.stream_checks import Arrivals, check_arrivals
from adamoe_ros.ros.doctor.teleop_checks import TeleopListener
from adamoe_ros.ros.runner import starting_ros
from adamoe_ros.ros.transports import PictureNode
from adamoe_ros.streams.commands import command_type
from adamoe_ros.streams.images import image_decoder
from adamoe_ros.streams.joint_states import listed

_AREA = "robot"
_DISCOVERY = 5.0  # s, longest wait for topics that never come
_SETTLED = 1.0  # s without a new publisher or subscription
_POLL = 0.1  # s


class _Stream:
    """One subscription and what came through it."""

    def __init__(
        self, node: Node, maker: Node, kind: Any, topic: str, source: StateSource | Camera
    ) -> None:
        self.parts: dict[tuple[str, ...], Arrivals] = {}  # by the joints of a message
        self.heard = HeardPublishers()
        self.last: Any = None
        self._joints: dict[str, float] = {}
        self._index = isinstance(source, StateSource) and source.match == "index"
        self._by_arrival = source.stamp == "arrival"
        self._clock = node.get_clock()
        self.name = node.resolve_topic_name(topic)
        self.subscription = maker.create_subscription(
            kind, self.name, self._note, qos.sensor(source.reliable, depth=10)
        )

    def _note(self, message: Any, info: Any) -> None:
        now = self._clock.now().nanoseconds
        stamp = now if self._by_arrival else Time.from_msg(message.header.stamp).nanoseconds
        joints = tuple(message.name) if isinstance(message, JointState) and not self._index else ()
        self.parts.setdefault(joints, Arrivals()).note(stamp, now)
        self.heard.note(publisher_gid(info), time.monotonic(), joints or ("",))
        self.last = message
        if isinstance(message, JointState) and len(message.name) == len(message.position):
            self._joints |= dict(zip(message.name, message.position, strict=True))

    def named_arrivals(self, joints: Sequence[str] = ()) -> list[tuple[str, Arrivals]]:
        """Arrivals with a name for them: several where publishers send parts of the joints."""
        own = [item for item in self.parts.items() if not item[0] or set(item[0]) & set(joints)]
        if len(own) < 2:
            return [(self.name, own[0][1] if own else Arrivals())]
        return [(f"{self.name} ({listed(part)})", arrivals) for part, arrivals in own]

    def joints(self, topic: StateTopic) -> Any:
        """The last message; where publishers send parts, the joints of all of them together."""
        if self._index or not self._joints:
            return self.last
        return JointState(name=list(self._joints), position=list(self._joints.values()))


@dataclass(frozen=True)
class Heard:
    """Last messages.

    Attributes:
        images: by camera slot, of those that sent one.
        joints: of the state topics that sent one.
    """

    images: dict[str, Any]
    joints: list[tuple[StateTopic, Any]]


def check_live(report: Report, profile: RobotProfile, namespace: str, seconds: float) -> Heard:
    """Listen, then judge.

    Args:
        namespace: of the robot; empty for none.
        seconds: how long to listen.
    """
    arguments = ["--ros-args", "-p", f"use_sim_time:={str(profile.use_sim_time).lower()}"]
    with starting_ros():
        rclpy.init(args=arguments)
        node = rclpy.create_node("adamoe_doctor", namespace=namespace)
    pictures = PictureNode(node, sends=False)
    executor = SingleThreadedExecutor()
    for each in {node, pictures.node}:
        executor.add_node(each)
    try:
        states = [
            (_Stream(node, node, JointState, topic.source.topic, topic.source), topic)
            for topic in state_topics(profile)
        ]
        cameras = {
            slot: (_camera_stream(node, pictures.node, camera), camera)
            for slot, camera in profile.present_cameras.items()
        }
        human = TeleopListener(node, profile)
        clock_ticks, nodes = _listen_to_clock(node), NodeStatuses(node, profile.use_sim_time)
        streams = [stream for stream, _ in (*states, *cameras.values())]
        commands = [
            node.resolve_topic_name(topic.target.topic) for topic in command_topics(profile)
        ]
        _discover(node, executor, streams, commands)
        for stream in streams:
            stream.parts = {}  # rates and gaps from here on
        human.restart()
        _spin(executor, seconds)
        for stream, topic in states:
            report.extend(_check_publishers(node, stream, topic.source.reliable))
            report.extend(nodes.joints(stream.name, stream.heard))
            rate, timeout = profile.command_rate, topic.source.timeout
            for name, arrivals in stream.named_arrivals(topic.names):
                report.extend(check_arrivals(name, arrivals, rate, timeout, seconds))
            if stream.last is not None:
                report.extend(check_joints(profile, topic, stream.name, stream.joints(topic)))
        for slot, (stream, camera) in cameras.items():
            report.extend(_check_publishers(node, stream, camera.reliable))
            for name, arrivals in stream.named_arrivals():
                report.extend(check_arrivals(name, arrivals, camera.rate, camera.timeout, seconds))
            report.extend(_check_image(slot, stream, camera))
        for target in command_topics(profile):
            report.extend(_check_command(node, target))
        report.extend(human.checks())
        report.extend(nodes.checks())
        report.extend(_check_clock(profile, clock_ticks))
        return Heard(
            {slot: stream.last for slot, (stream, _) in cameras.items() if stream.last},
            [(topic, stream.joints(topic)) for stream, topic in states if stream.last],
        )
    finally:
        executor.shutdown(timeout_sec=2.0)
        pictures.close()
        node.destroy_node()
        rclpy.try_shutdown()


def _discover(
    node: Node, executor: Executor, streams: Sequence[_Stream], commands: Sequence[str]
) -> None:
    """Wait until every topic has its other end, speaks, and nobody new has turned up for a while.

    Discovery takes a second or more on a busy machine or a slow network; what is found too late
    would be reported as missing.
    """

    def ends() -> tuple[int, ...]:
        publishers = [
            node.count_publishers(name) for name in (*commands, *(s.name for s in streams))
        ]
        return (*publishers, *(node.count_subscribers(name) for name in commands))

    begin = settled = time.monotonic()
    before = ends()
    while (now := time.monotonic()) < begin + _DISCOVERY:
        executor.spin_once(timeout_sec=_POLL)
        found = ends()
        if found != before:
            before, settled = found, now
        complete = all(found[len(commands) :]) and all(s.last is not None for s in streams)
        if complete and now - settled > _SETTLED:
            return


def _spin(executor: Executor, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=left)


def _camera_stream(node: Node, maker: Node, camera: Camera) -> _Stream:
    kind = CompressedImage if camera.type == "compressed" else Image
    return _Stream(node, maker, kind, camera.topic or "", camera)


def _listen_to_clock(node: Node) -> list[int]:
    ticks: list[int] = []
    node.create_subscription(ClockMessage, "/clock", lambda message: ticks.append(1), qos.CLOCK)
    return ticks


def _check_publishers(node: Node, stream: _Stream, reliable: bool) -> Iterator[Check]:
    publishers = node.get_publishers_info_by_topic(stream.name)
    wanted = stream.subscription.msg_type
    name = f"{stream.name} publisher"
    if not publishers:
        yield Check(_AREA, name, "fail", "none; start the driver, or correct the profile's topic")
        return
    types = {info.topic_type for info in publishers}
    expected = f"{wanted.__module__.split('.')[0]}/msg/{wanted.__name__}"
    if types != {expected}:
        do = "set 'type' of the camera, or put an adapter between"
        yield Check(_AREA, name, "fail", f"{', '.join(sorted(types))}, expected {expected}; {do}")
        return
    best_effort = [
        info for info in publishers if info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    ]
    if reliable and best_effort:
        text = "it offers best effort, the profile asks for reliable; set 'reliable: false'"
        yield Check(_AREA, name, "fail", text)
    elif len(publishers) > max(1, len(stream.parts)):
        drivers = ", ".join(f"{info.node_namespace}/{info.node_name}" for info in publishers)
        yield Check(
            _AREA, name, "warn", f"{len(publishers)} of them ({drivers}); one must be the driver"
        )
    else:
        yield Check(_AREA, name, "ok", f"{expected}, QoS matches")


def _check_image(slot: str, stream: _Stream, camera: Camera) -> Iterator[Check]:
    message, name = stream.last, f"{slot} image"
    if message is None:
        return
    compressed = camera.type == "compressed"
    try:
        height, width = image_decoder(slot, camera, any_size=True)(message).shape[:2]
    except ContractError as error:
        yield Check(_AREA, name, "fail", str(error))
        return
    kind = f"compressed, format '{message.format}'" if compressed else message.encoding
    found = f"{width}x{height} {kind}"
    if (width, height) == (camera.width, camera.height):
        yield Check(_AREA, name, "ok", found)
        return
    do = "set the driver, or width and height in the profile"
    yield Check(_AREA, name, "warn", f"{found}, expected {camera.width}x{camera.height}; {do}")


def _check_command(node: Node, topic: CommandTopic) -> Iterator[Check]:
    resolved = node.resolve_topic_name(topic.target.topic)
    name = f"{resolved} command"
    listeners = node.get_subscriptions_info_by_topic(resolved)
    expected = command_type(topic)
    if not listeners:
        yield Check(_AREA, name, "fail", "nobody listens; start the driver, or correct the topic")
    elif not all(info.topic_type == expected for info in listeners):
        types = ", ".join(sorted({info.topic_type for info in listeners}))
        yield Check(_AREA, name, "fail", f"the driver takes {types}; set 'type' in the profile")
    else:
        yield Check(_AREA, name, "ok", f"{listeners[0].node_name} listens for {expected}")
    others = [
        info.node_name
        for info in node.get_publishers_info_by_topic(resolved)
        if info.node_name != names.CONTROL_NODE
    ]
    if others:
        text = f"{', '.join(others)} publishes here too; two masters on one arm: stop one"
        yield Check(_AREA, name, "fail", text)


def _check_clock(profile: RobotProfile, ticks: list[int]) -> Iterator[Check]:
    if profile.use_sim_time and not ticks:
        text = (
            "use_sim_time is set and nothing publishes it; start the simulator or the bag, or say "
            "--use-sim-time false where the nodes were launched with use_sim_time:=false"
        )
        yield Check(_AREA, "/clock", "fail", text)
    elif not profile.use_sim_time and ticks:
        text = "somebody publishes it, but the profile uses wall time; set use_sim_time for a bag"
        yield Check(_AREA, "/clock", "warn", text)
