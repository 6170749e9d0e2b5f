# SPDX-License-Identifier: Apache-2.0
"""An episode of a dataset -> a bag with the topics of a robot, to play it back or to look at it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import command_topics, state_topics
from adamoe_ros.data.bag.types import distro_store
from adamoe_ros.data.bag.writer import BagWriter
from adamoe_ros.data.episode_info import EpisodeInfo
from adamoe_ros.data.lerobot.dataset_reader import Dataset, EpisodeEntry
from adamoe_ros.data.units import Units

JOINTS, IMAGE, STRING = "sensor_msgs/msg/JointState", "sensor_msgs/msg/Image", "std_msgs/msg/String"


class MessageMaker:
    """Messages as rosbags makes them, and their bytes."""

    def __init__(self) -> None:
        self._store = distro_store("")
        self.types = self._store.types

    def header(self, stamp_ns: int, frame: str = "") -> Any:
        """std_msgs/Header."""
        sec, nanosec = divmod(stamp_ns, 1_000_000_000)
        time = self.types["builtin_interfaces/msg/Time"](sec, nanosec)
        return self.types["std_msgs/msg/Header"](time, frame)

    def joints(self, names: tuple[str, ...], values: NDArray[Any], stamp_ns: int) -> bytes:
        """JointState."""
        none = np.zeros(0)
        message = self.types[JOINTS](
            self.header(stamp_ns), list(names), np.asarray(values, np.float64), none, none
        )
        return self.bytes(message, JOINTS)

    def image(self, pixels: NDArray[np.uint8], stamp_ns: int, frame: str) -> bytes:
        """Image, rgb8."""
        height, width, _ = pixels.shape
        data = np.ascontiguousarray(pixels).reshape(-1)
        header = self.header(stamp_ns, frame)
        message = self.types[IMAGE](header, height, width, "rgb8", 0, 3 * width, data)
        return self.bytes(message, IMAGE)

    def text(self, words: str) -> bytes:
        """String."""
        return self.bytes(self.types[STRING](words), STRING)

    def bytes(self, message: Any, kind: str) -> bytes:
        """CDR of a message."""
        return bytes(self._store.serialize_cdr(message, kind))


def episode_to_bag(
    dataset: Dataset, entry: EpisodeEntry, folder: Path, profile: RobotProfile, units: Units
) -> int:
    """Write one episode; messages have the original stamps where the dataset has them.

    Returns:
        Number of messages.

    Raises:
        ContractError: the profile's cameras or joints are not those of the dataset.
    """
    _check(dataset, profile)
    if not entry.length:
        where = f"{dataset.folder}: episode {entry.index}"
        raise ContractError(problem(where, "rows", "none", "choose another"))
    dataset.check(entry, list(dataset.cameras.values()))
    make, written = MessageMaker(), 0
    states = [
        (f"/{item.source.topic}", item.names, list(item.columns)) for item in state_topics(profile)
    ]
    commands = [
        (f"/{item.target.topic}", item.names, list(item.columns))
        for item in command_topics(profile)
        if item.target.type == "joint_state"
    ]
    spoken = ""
    with _new_bag(folder) as writer:
        for topic, *_ in (*states, *commands):
            writer.add_topic(topic, JOINTS)
        for slot in dataset.cameras:
            writer.add_topic(f"/{profile.cameras[slot].topic}", IMAGE)
        writer.add_topic("/instruction", STRING)
        start: int | None = None
        for number, (observation, action) in enumerate(dataset.observations(entry)):
            start = observation.stamp_ns if start is None else start
            now = start + round(number * 1e9 / dataset.fps)
            if observation.instruction != spoken:
                spoken = observation.instruction
                writer.write("/instruction", now, make.text(spoken))
            state = units.state.invert(np.asarray(observation.state, np.float64))
            command = units.command.invert(np.asarray(action, np.float64))
            for topic, names, columns in states:
                writer.write(topic, now, make.joints(names, state[columns], observation.stamp_ns))
            for topic, names, columns in commands:
                writer.write(topic, now, make.joints(names, command[columns], now))
            for slot, pixels in observation.images.items():
                topic = f"/{profile.cameras[slot].topic}"
                stamp = observation.image_stamps_ns.get(slot, observation.stamp_ns)
                writer.write(topic, now, make.image(pixels, stamp, f"{slot}_optical"))
        written = sum(writer.counts.values())
        said = dataset.sentences(entry)
        one = said[0] if len(set(said)) == 1 else ""  # else the bag's own topic says which when
        info = EpisodeInfo(instruction=one, heard=said[0], robot=profile.name)
        writer.note({"adamoe_episode": info.text()})
    return written


@contextmanager
def _new_bag(folder: Path) -> Iterator[BagWriter]:
    """A bag of which nothing stays behind when it is not finished."""
    with BagWriter(folder) as writer:
        try:
            yield writer
        except BaseException:
            writer.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _check(dataset: Dataset, profile: RobotProfile) -> None:
    unknown = [slot for slot in dataset.cameras if slot not in profile.present_cameras]
    lines = []
    if unknown:
        known = ", ".join(profile.present_cameras)
        lines.append(problem("cameras", f"some of {known}", ", ".join(unknown), "check --robot"))
    width = dataset.width("action")
    if width != len(profile.joint_ids):
        joints = f"{len(profile.joint_ids)} joints"
        lines.append(problem(f"profile {profile.name}", f"{width} joints", joints, "check --robot"))
    if lines:
        raise ContractError(lines)
