# SPDX-License-Identifier: Apache-2.0
"""Bags for benchmarks: three JPEG cameras at 30 Hz, joints and commands of two arms at 100 Hz."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import command_topics, state_topics
from adamoe_ros.data.bag.writer import BagWriter
from adamoe_ros.data.to_bag import JOINTS, STRING, MessageMaker

COMPRESSED = "sensor_msgs/msg/CompressedImage"
START = 1_700_000_000_000_000_000
PICTURES = 30  # different ones, in turn
_SHIPPED = load_profile(robots_dir() / "aloha_sim.yaml")


def profile(small: bool) -> Any:
    """The simulator's profile with JPEG cameras."""
    size = {"width": 64, "height": 48} if small else {"width": 640, "height": 480}
    cameras = {
        slot: camera.model_copy(update={"type": "compressed", "rate": 30.0, **size})
        for slot, camera in _SHIPPED.cameras.items()
    }
    return _SHIPPED.model_copy(update={"cameras": cameras})


PROFILE = profile(False)
SMALL = profile(True)


def _jpegs(small: bool) -> list[bytes]:
    """Pictures with shapes, gradients and grain, about 60 kB each at full size."""
    rng = np.random.default_rng(0)
    height, width = (48, 64) if small else (480, 640)
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


def make_bag(folder: Path, seconds: float, small: bool = False) -> Path:
    """Write one; with ``small`` the pictures are 64x48, and to be read with any picture size."""
    robot, make = SMALL if small else PROFILE, MessageMaker()
    pictures = [np.frombuffer(data, np.uint8) for data in _jpegs(small)]
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


def settings_facts(options: dict[str, Any]) -> dict[str, Any]:
    """Hardware, settings and commit, for the JSON."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "commit": commit,
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_at_the_end": [round(value, 2) for value in os.getloadavg()],
        "settings": {key: str(value) for key, value in options.items() if key != "out"},
    }
