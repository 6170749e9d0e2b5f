# SPDX-License-Identifier: Apache-2.0
"""Bags for tests: a robot's topics written by rosbags, or byte for byte as Humble's rosbag2 does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import command_topics, state_topics
from adamoe_ros.data.bag.types import distro_store
from adamoe_ros.data.bag.writer import BagWriter

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
STORE = distro_store("jazzy")
IMAGE, COMPRESSED, JOINTS, STRING = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/JointState",
    "std_msgs/msg/String",
)
Record = tuple[int, str, str, Any]  # time ns, topic, type, message


def simulated_robot(**camera: Any) -> RobotProfile:
    """The shipped simulator's profile, its cameras changed by keyword."""
    profile = load_profile(robots_dir() / "aloha_sim.yaml")
    cameras = {
        slot: item.model_copy(update={"width": 64, "height": 48, **camera})
        for slot, item in profile.cameras.items()
    }
    return profile.model_copy(update={"cameras": cameras})


def _header(stamp_ns: int) -> Any:
    sec, nanosec = divmod(stamp_ns, SECOND)
    types = STORE.types
    time = types["builtin_interfaces/msg/Time"](sec, nanosec)
    return types["std_msgs/msg/Header"](time, "")


def joints(names: tuple[str, ...], positions: np.ndarray, stamp_ns: int) -> Any:
    """A JointState."""
    empty = np.zeros(0)
    return STORE.types[JOINTS](_header(stamp_ns), list(names), positions, empty, empty)


def raw_image(pixels: np.ndarray, stamp_ns: int) -> Any:
    """An rgb8 Image of (H, W, 3) uint8."""
    height, width, _ = pixels.shape
    data = np.ascontiguousarray(pixels).reshape(-1)
    return STORE.types[IMAGE](_header(stamp_ns), height, width, "rgb8", 0, 3 * width, data)


def jpeg_image(pixels: np.ndarray, stamp_ns: int) -> Any:
    """A CompressedImage of (H, W, 3) uint8 RGB."""
    good, data = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert good
    return STORE.types[COMPRESSED](
        _header(stamp_ns), "rgb8; jpeg compressed bgr8", data.reshape(-1)
    )


def picture(number: int, slot: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture that differs by number and slot; (H, W, 3) uint8."""
    rows, columns = np.mgrid[0:height, 0:width]
    shift = 7.0 * number + 40.0 * slot
    waves = [np.sin((rows * (c + 1) + columns + shift) / 15.0) for c in range(3)]
    return np.asarray((np.stack(waves, axis=-1) + 1) * 120, np.uint8)


def pose(profile: RobotProfile, time_s: float, lead_s: float = 0.0) -> np.ndarray:
    """(J,) a smooth motion inside of the limits, driver's units."""
    values = []
    for _, arm in profile.ordered_arms:
        for index, (home, limits) in enumerate(zip(arm.home, arm.limits, strict=True)):
            low, high = limits.position
            reach = 0.4 * min(max(high - home, home - low), 0.5)
            swing = np.sin((1.3 + 0.1 * index) * (time_s + lead_s) + index)
            inwards = np.clip(home, low + reach, high - reach)
            values.append(inwards + reach * swing)
    return np.array(values)


def motion(
    profile: RobotProfile,
    seconds: float = 2.0,
    camera_hz: float = 25.0,
    state_hz: float = 50.0,
    instruction: str = "lift the bar",
    start_ns: int = START,
) -> Iterator[Record]:
    """What a robot's topics carry, in order of time; arrivals are 1 ms after the stamps."""
    yield start_ns, "/instruction", STRING, STORE.types[STRING](instruction)
    cameras = list(profile.present_cameras.items())
    steps = round(seconds * state_hz)
    every = round(state_hz / camera_hz)
    for step in range(steps):
        time_s = step / state_hz
        stamp = start_ns + round(time_s * SECOND)
        measured, commanded = pose(profile, time_s), pose(profile, time_s, 0.02)
        for topic in state_topics(profile):
            values = measured[list(topic.columns)]
            yield (
                stamp + 10**6,
                f"/{topic.source.topic}",
                JOINTS,
                joints(topic.names, values, stamp),
            )
        for command in command_topics(profile):
            values = commanded[list(command.columns)]
            message = joints(command.names, values, stamp)
            yield stamp + 10**6, f"/{command.target.topic}", JOINTS, message
        if step % every == 0:
            for number, (_, camera) in enumerate(cameras):
                pixels = picture(step // every, number, camera.height, camera.width)
                compressed = camera.type == "compressed"
                message = (jpeg_image if compressed else raw_image)(pixels, stamp)
                kind = COMPRESSED if compressed else IMAGE
                yield stamp + 10**6, f"/{camera.topic}", kind, message


def write_mcap(
    folder: Path, records: Iterator[Record] | list[Record], compress: bool = False
) -> Path:
    """A bag as this package's recorder writes it."""
    with BagWriter(folder, compress=compress, flush_s=0.0 if compress else 1.0) as writer:
        for time_ns, topic, kind, message in records:
            writer.add_topic(topic, kind)
            writer.write(topic, time_ns, STORE.serialize_cdr(message, kind))
    return folder


def write_rosbags(folder: Path, records: Iterator[Record] | list[Record], **how: Any) -> Path:
    """A bag through rosbags' writer: any storage, version, and compression."""
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    writer = Writer(
        folder,
        version=how.get("version", 9),
        storage_plugin=StoragePlugin[how.get("storage", "SQLITE3")],
    )
    if "mode" in how:
        writer.set_compression(CompressionMode[how["mode"]], CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for time_ns, topic, kind, message in records:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], time_ns, STORE.serialize_cdr(message, kind))
    return folder


HUMBLE_TABLES = """
CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
  serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
  data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
INSERT INTO schema(schema_version, ros_distro) VALUES (3, 'humble');
"""


def write_humble_sqlite(
    folder: Path,
    records: Iterator[Record] | list[Record],
    change: Callable[[sqlite3.Connection], None] | None = None,
) -> Path:
    """A .db3 as Humble's rosbag2 lays it out: no definitions, no hashes, no metadata.yaml."""
    folder.mkdir(parents=True)
    connection = sqlite3.connect(folder / f"{folder.name}_0.db3")
    connection.executescript(HUMBLE_TABLES)
    numbers: dict[str, int] = {}
    for time_ns, topic, kind, message in records:
        if topic not in numbers:
            numbers[topic] = len(numbers) + 1
            row = (numbers[topic], topic, kind, "cdr", "")
            connection.execute("INSERT INTO topics VALUES (?, ?, ?, ?, ?)", row)
        data = bytes(STORE.serialize_cdr(message, kind))
        row = (None, numbers[topic], time_ns, data)
        connection.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", row)
    if change is not None:
        change(connection)
    connection.commit()
    connection.close()
    return folder
