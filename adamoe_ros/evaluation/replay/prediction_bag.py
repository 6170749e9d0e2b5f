# SPDX-License-Identifier: Apache-2.0
"""A bag with predictions beside the original messages, for Foxglove, PlotJuggler and RViz.

Per policy below ``/prediction/<name>/``: ``action_chunk`` (adamoe_ros/ActionChunk), the same as
``joint_trajectory`` (trajectory_msgs), and ``joint_states``: the commands that control would have
sent, which a robot_state_publisher shows. Types come along in the file. Imports: rosbags, numpy.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.joint_map import command_names
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.bag.types import distro_store
from adamoe_ros.data.bag.writer import BagWriter, type_store
from adamoe_ros.evaluation.replay.schedule import Actor

CHUNK, TRAJECTORY, JOINTS = (
    "adamoe_ros/msg/ActionChunk",
    "trajectory_msgs/msg/JointTrajectory",
    "sensor_msgs/msg/JointState",
)


class _Entry(NamedTuple):
    time_ns: int
    topic: str
    data: bytes


class PredictionBag:
    """Collects predictions of one bag and writes them beside its messages.

    Args:
        profile: of the robot.
        policies: as in the replay.
        latency_s: after an observation's stamp at which its chunk stands in the bag.
        command_rate: Hz at which the commands are kept.
    """

    def __init__(
        self,
        profile: RobotProfile,
        policies: Mapping[str, Actor],
        latency_s: float,
        command_rate: float = 50.0,
    ) -> None:
        self._names = command_names(profile)
        self._ids = profile.joint_ids
        self._dt_s = [actor.dt_s for actor in policies.values()]
        self._latency = round(latency_s * 1e9)
        self._period = round(1e9 / command_rate)
        self._entries: list[_Entry] = []
        self._last: dict[int, int] = {}
        self._ids_given: dict[int, int] = {}
        self._store, self._chunk_store = distro_store(""), type_store(CHUNK)
        self._roots = [f"/prediction/{_plain(name)}" for name in policies]

    def predicted(self, number: int, observation: Observation, made: Inference) -> None:
        """A chunk."""
        root, dt_s = self._roots[number], self._dt_s[number]
        self._ids_given[number] = self._ids_given.get(number, 0) + 1
        when = observation.stamp_ns + self._latency
        chunk = self._chunk(observation, made, dt_s, self._ids_given[number])
        self._entries.append(_Entry(when, f"{root}/action_chunk", chunk))
        path = self._trajectory(observation.stamp_ns, made.positions, dt_s)
        self._entries.append(_Entry(when, f"{root}/joint_trajectory", path))

    def commanded(self, number: int, time_ns: int, command: NDArray[np.float64]) -> None:
        """A command of the simulated control."""
        if time_ns - self._last.get(number, -self._period) < self._period:
            return
        self._last[number] = time_ns
        none = np.zeros(0)
        message = self._store.types[JOINTS](
            self._header(time_ns), list(self._names), np.array(command), none, none
        )
        data = bytes(self._store.serialize_cdr(message, JOINTS))
        self._entries.append(_Entry(time_ns, f"{self._roots[number]}/joint_states", data))

    def write(self, bag: Bag, folder: Path) -> int:
        """Everything in order of time; the number of messages.

        Raises:
            ContractError: the folder exists.
        """
        with BagWriter(folder, compress=True) as writer:
            skipped = set()
            for name, entry in bag.topics.items():
                try:
                    writer.add_entry(entry)
                except Exception:  # a type nobody knows cannot be declared
                    skipped.add(name)
            for root in self._roots:
                writer.add_topic(f"{root}/action_chunk", CHUNK, self._chunk_store)
                writer.add_topic(f"{root}/joint_trajectory", TRAJECTORY, self._store)
                writer.add_topic(f"{root}/joint_states", JOINTS, self._store)
            self._entries.sort(key=lambda item: item.time_ns)
            for item in heapq.merge(
                self._originals(bag, skipped), self._entries, key=lambda item: item.time_ns
            ):
                writer.write(item.topic, item.time_ns, item.data)
            return sum(writer.counts.values())

    @staticmethod
    def _originals(bag: Bag, skipped: set[str]) -> Iterator[_Entry]:
        for message in bag.raw(set(bag.topics) - skipped):
            yield _Entry(message.time_ns, message.topic, message.data)

    # --- messages -------------------------------------------------------------------------------

    def _time(self, time_ns: int, store: Any) -> Any:
        sec, nanosec = divmod(time_ns, 1_000_000_000)
        return store.types["builtin_interfaces/msg/Time"](sec, nanosec)

    def _header(self, stamp_ns: int, store: Any | None = None) -> Any:
        store = store or self._store
        return store.types["std_msgs/msg/Header"](self._time(stamp_ns, store), "")

    def _chunk(self, observation: Observation, made: Inference, dt_s: float, number: int) -> bytes:
        store = self._chunk_store
        stamps = observation.image_stamps_ns
        message = store.types[CHUNK](
            header=self._header(observation.stamp_ns, store),
            chunk_id=number,
            generation=1,
            instruction=observation.instruction,
            joint_names=list(self._ids),
            dt=dt_s,
            rows=len(made.positions),
            positions=np.ascontiguousarray(made.positions).ravel(),
            committed_rows=made.committed_rows,
            camera_slots=list(stamps),
            camera_stamps=[self._time(stamp, store) for stamp in stamps.values()],
            state_stamp=self._time(observation.state_stamp_ns, store),
            skew=observation.skew_s,
            inference=float(made.stages.get("total", 0.0)),
        )
        return bytes(store.serialize_cdr(message, CHUNK))

    def _trajectory(self, stamp_ns: int, rows: NDArray[np.float64], dt_s: float) -> bytes:
        types, none = self._store.types, np.zeros(0)
        points = []
        for number, row in enumerate(rows):
            sec, nanosec = divmod(round(number * dt_s * 1e9), 1_000_000_000)
            duration = types["builtin_interfaces/msg/Duration"](sec, nanosec)
            point = types["trajectory_msgs/msg/JointTrajectoryPoint"]
            points.append(point(np.array(row), none, none, none, duration))
        message = types[TRAJECTORY](self._header(stamp_ns), list(self._names), points)
        return bytes(self._store.serialize_cdr(message, TRAJECTORY))


def _plain(name: str) -> str:
    """A label as part of a topic name."""
    word = re.sub(r"\W+", "_", name).strip("_") or "policy"
    return word if not word[0].isdigit() else f"policy_{word}"
