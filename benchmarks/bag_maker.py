# SPDX-License-Identifier: Apache-2.0
"""Bags for benchmarks: three JPEG cameras at 30 Hz, joints and commands of two arms at 100 Hz."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import machine

from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import command_topics, state_topics
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.bag.writer import BagWriter
from adamoe_ros.data.to_bag import JOINTS, STRING, MessageMaker

COMPRESSED = "sensor_msgs/msg/CompressedImage"
START = 1_700_000_000_000_000_000
PICTURES = 30  # different ones, in turn
_SHIPPED = load_profile(robots_dir() / "aloha_sim.yaml")


def _profile() -> Any:
    """The simulator's profile with JPEG cameras."""
    changes = {"type": "compressed", "rate": 30.0, "width": 640, "height": 480}
    cameras = {slot: camera.model_copy(update=changes) for slot, camera in _SHIPPED.cameras.items()}
    return _SHIPPED.model_copy(update={"cameras": cameras})


PROFILE = _profile()


def jpegs() -> list[bytes]:
    """640 x 480 with shapes, gradients and grain, 48 kB on average."""
    rng = np.random.default_rng(0)
    height, width = 480, 640
    made = []
    for number in range(PICTURES):
        rows, columns = np.mgrid[0:height, 0:width]
        base = np.stack([rows, columns, rows + columns], axis=-1) * 255.0 / (height + width)
        picture = (base + rng.normal(0, 4, base.shape)).clip(0, 255).astype(np.uint8)
        for _ in range(12):
            x, y = int(rng.integers(width)), int(rng.integers(height))
            colour = [int(value) for value in rng.integers(0, 255, 3)]
            cv2.circle(picture, (x + number, y), height // 10, colour, -1)
        good, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
        assert good
        made.append(data.tobytes())
    return made


def make_bag(folder: Path, seconds: float) -> Path:
    """Write one."""
    robot, make = PROFILE, MessageMaker()
    pictures = [np.frombuffer(data, np.uint8) for data in jpegs()]
    kinds = make.types
    home = np.array([value for _, arm in robot.ordered_arms for value in arm.home])
    with BagWriter(folder) as writer:
        writer.add_topic("/instruction", STRING)
        writer.write("/instruction", START, make.text("benchmark"))
        for camera in robot.cameras.values():
            writer.add_topic(f"/{camera.topic}", COMPRESSED)
        parts = [(f"/{t.source.topic}", t.names, list(t.columns)) for t in state_topics(robot)]
        parts += [(f"/{t.target.topic}", t.names, list(t.columns)) for t in command_topics(robot)]
        for topic, *_ in parts:
            writer.add_topic(topic, JOINTS)
        picture = 0
        for step in range(round(seconds * 100)):
            stamp = START + step * 10_000_000
            values = home + 0.1 * np.sin(step / 50 + np.arange(len(home)))
            for topic, names, columns in parts:
                writer.write(topic, stamp + 10**6, make.joints(names, values[columns], stamp))
            if picture * 100 <= step * 30:
                data = pictures[picture % PICTURES]
                message = kinds[COMPRESSED](make.header(stamp), "jpeg", data)
                packed = make.bytes(message, COMPRESSED)
                for camera in robot.cameras.values():
                    writer.write(f"/{camera.topic}", stamp + 2 * 10**6, packed)
                picture += 1
    return folder


def repeat_bag(source: Path, folder: Path, seconds: float, times: int) -> Path:
    """A long bag: a short one's messages again and again, with later stamps.

    Args:
        source: of ``make_bag``.
        seconds: of it.
    """
    with Bag(source) as bag, BagWriter(folder) as writer:
        for entry in bag.topics.values():
            writer.add_entry(entry)
        for number in range(times):
            shift = number * round(seconds * 1e9)
            for message in bag.raw(bag.topics):
                if message.topic != "/instruction":
                    data = _shifted(message.data, shift)
                    writer.write(message.topic, message.time_ns + shift, data)
                elif not number:
                    writer.write(message.topic, message.time_ns, message.data)
    return folder


def _shifted(data: bytes, shift_ns: int) -> bytes:
    """A message whose header is its first field, later."""
    sec, nanosec = struct.unpack_from("<iI", data, 4)
    later = divmod(sec * 10**9 + nanosec + shift_ns, 10**9)
    return data[:4] + struct.pack("<iI", *later) + data[12:]


def settings_facts(options: dict[str, Any]) -> dict[str, Any]:
    """Machine, settings and commit, for the JSON; call it before the work."""
    chosen = {key: str(value) for key, value in options.items() if key != "out"}
    return {**machine(), "settings": chosen}


def load_now() -> list[float]:
    """Load averages: above the number of cores, others were at work, too."""
    return [round(value, 2) for value in os.getloadavg()]
