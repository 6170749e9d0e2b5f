# SPDX-License-Identifier: Apache-2.0
"""Collects from the topics what a report shows, episode by episode, and what is live now.

It only listens, on the director's node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import command_topics, state_topics
from adamoe_ros.data.recording import (
    ChunkRecord,
    ControlRecord,
    Episode,
    InferenceRecord,
    InstructionChange,
    Samples,
    SeamRecord,
)
from adamoe_ros.msg import ActionChunk, ControlStatus, PolicyStatus, TaskStatus
from adamoe_ros.ros import names, qos
from adamoe_ros.streams.messages import stamp_ns

COUNTERS = (
    "ticks",
    "missed_ticks",
    "holds",
    "accepted_chunks",
    "rejected_chunks",
    "late_chunks",
    "position_clips",
    "velocity_clips",
    "acceleration_clips",
    "step_clips",
    "seams",
    "repeated_rows",
    "skipped_rows",
)


@dataclass
class Live:
    """What the terminal shows."""

    policy: PolicyStatus = field(default_factory=PolicyStatus)
    control: ControlStatus = field(default_factory=ControlStatus)
    task: TaskStatus = field(default_factory=TaskStatus)
    policy_heard: bool = False
    control_heard: bool = False

    def policy_sees_episode(self) -> bool:
        """Whether the policy's newest observation is of the scene that was set up last."""
        policy, task = self.policy, self.task
        begun = stamp_ns(task.header.stamp) - round(task.elapsed * 1e9)
        newest = stamp_ns(policy.header.stamp) - round(policy.observation_age * 1e9)
        return policy.observation_age >= 0 and newest > begun


class JointRows:
    """Joint states of several topics as rows of one vector; a row per message of the last topic.

    Args:
        node: subscriptions are made on it.
        topics: (topic, driver's names, columns) each.
        width: of the vector.
        time: stamp -> s of the episode.
    """

    def __init__(
        self,
        node: Node,
        topics: Sequence[tuple[str, Sequence[str], Sequence[int]]],
        width: int,
        time: Callable[[Any], float],
    ) -> None:
        self.samples: Samples | None = None
        self._row = np.full(width, np.nan)
        self._time = time
        for index, (topic, joints, columns) in enumerate(topics):
            places = dict(zip(joints, columns, strict=True))
            last = index == len(topics) - 1
            node.create_subscription(
                JointState,
                topic,
                lambda message, places=places, last=last: self._take(message, places, last),
                qos.sensor(reliable=False, depth=50),
            )

    def _take(self, message: JointState, places: Mapping[str, int], last: bool) -> None:
        for name, value in zip(message.name, message.position, strict=False):
            if name in places:
                self._row[places[name]] = value
        if last and self.samples is not None and np.isfinite(self._row).all():
            self.samples.time.append(self._time(message.header.stamp))
            self.samples.values.append(self._row.tolist())


class SessionRecorder:
    """Subscriptions on a node that fill the current episode.

    Args:
        node: uses simulation time.
        profile: of the robot whose topics are recorded.
    """

    def __init__(self, node: Node, profile: RobotProfile) -> None:
        self.live = Live()
        self.frames_before = 0
        self._episode: Episode | None = None
        self._start = 0.0
        self._names = list(profile.joint_ids)
        self._first: dict[str, Any] = {}
        self._inferred = 0
        self._seams = 0

        def listen(
            kind: type, topic: str, callback: Callable[[Any], None], quality: QoSProfile
        ) -> None:
            node.create_subscription(kind, topic, callback, quality)

        deep = 50  # the recorder may lag behind a burst, but must not miss a status
        listen(PolicyStatus, names.POLICY_STATUS, self._on_policy, _deep(qos.POLICY_STATUS, deep))
        listen(
            ControlStatus, names.CONTROL_STATUS, self._on_control, _deep(qos.CONTROL_STATUS, deep)
        )
        listen(TaskStatus, names.TASK_STATUS, self._on_task, _deep(qos.TASK_STATUS, deep))
        listen(ActionChunk, names.ACTION_CHUNK, self._on_chunk, _deep(qos.CHUNK, deep))
        self._clock = node.get_clock()
        states = [(item.source.topic, item.names, item.columns) for item in state_topics(profile)]
        commands = [
            (item.target.topic, item.names, item.columns) for item in command_topics(profile)
        ]
        self._measured = JointRows(node, states, len(self._names), self._time)
        self._commanded = JointRows(node, commands, len(self._names), self._time)

    def begin(self, episode: Episode) -> None:
        """Record into this episode from now on."""
        episode.joint_names = list(self._names)
        self._start = episode.start = self._clock.now().nanoseconds / 1e9
        self._first = {}
        self._inferred = self.live.policy.chunks
        self._seams = self.live.control.seams
        self._episode = episode
        self._measured.samples = episode.measured
        self._commanded.samples = episode.commanded

    def note_instruction(self, instruction: str) -> None:
        """The sentence was replaced now."""
        if self._episode is not None:
            now = self._clock.now().nanoseconds / 1e9 - self._start
            self._episode.changes.append(InstructionChange(now, instruction))

    def end(self) -> None:
        """Record no longer; the episode's counters and judgement are complete."""
        episode, self._episode = self._episode, None
        self._measured.samples = self._commanded.samples = None
        if episode is None:
            return
        task = self.live.task
        episode.ever_success = bool(task.ever_success)
        episode.success = episode.ever_success
        episode.frames_sent = int(task.frames)

    def _time(self, stamp: Any) -> float:
        return float(stamp.sec + stamp.nanosec / 1e9 - self._start)

    def _on_task(self, message: TaskStatus) -> None:
        self.live.task = message

    def _on_chunk(self, message: ActionChunk) -> None:
        if self._episode is None:
            return
        self._episode.chunks.append(
            ChunkRecord(
                chunk_id=int(message.chunk_id),
                stamp=self._time(message.header.stamp),
                received=self._clock.now().nanoseconds / 1e9 - self._start,
                rows=int(message.rows),
                dt=float(message.dt),
                skew=float(message.skew),
                inference=float(message.inference),
            )
        )

    def _on_policy(self, message: PolicyStatus) -> None:
        self.live.policy, self.live.policy_heard = message, True
        if self._episode is None or message.chunks == self._inferred or not message.stages:
            return
        self._inferred = message.chunks
        self._episode.stages = list(message.stages)
        self._episode.dropped_frames = int(message.dropped_frames)
        experts = [
            {
                "layer": int(load.layer),
                "selected": [float(value) for value in load.selected],
                "probability": [float(value) for value in load.probability],
                "scale": [float(value) for value in load.scale],
            }
            for load in message.experts
        ]
        time = self._time(message.header.stamp)
        self._episode.inferences.append(
            InferenceRecord(time, [float(value) for value in message.latency_last], experts)
        )

    def _on_control(self, message: ControlStatus) -> None:
        self.live.control, self.live.control_heard = message, True
        episode = self._episode
        if episode is None:
            return
        time = self._time(message.header.stamp)
        episode.control.append(
            ControlRecord(
                time=time,
                mode=int(message.mode),
                hold_cause=message.hold_cause,
                command_age=float(message.command_age),
                rate=float(message.rate),
                jitter_p99=float(message.jitter_p99),
            )
        )
        if message.seams > self._seams:
            self._seams = message.seams
            episode.seams.append(
                SeamRecord(
                    time,
                    list(message.seam_position_jump),
                    list(message.seam_velocity_jump),
                    list(message.seam_jerk),
                )
            )
        elif episode.seams:  # it grows until the seam's window is over
            episode.seams[-1].jerk = list(message.seam_jerk)
        self._count(episode, message)

    def _count(self, episode: Episode, message: ControlStatus) -> None:
        """Counters since the episode began; control_node counts from its activation."""
        for name in COUNTERS:
            value = getattr(message, name)
            now = np.asarray(value, dtype=np.int64)
            first = self._first.setdefault(name, now)
            if (now < first).any():  # control_node was activated anew
                self._first[name] = first = np.zeros_like(now)
            episode.counters[name] = (now - first).tolist()
        episode.counters["hold_share"] = float(message.hold_share)


def _deep(profile: QoSProfile, depth: int) -> QoSProfile:
    """The same quality of service with a deeper queue."""
    return QoSProfile(
        history=profile.history,
        depth=depth,
        reliability=profile.reliability,
        durability=profile.durability,
    )
