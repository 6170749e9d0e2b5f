# SPDX-License-Identifier: Apache-2.0
"""Damaged bags through ``adamoe replay`` and ``adamoe dataset convert``: a clear line, and the exit code.

3: what could be read was read; 2: nothing could be done.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from bag_support import (
    SECOND,
    START,
    STORE,
    motion,
    simulated_robot,
    write_humble_sqlite,
    write_mcap,
    write_rosbags,
)

from adamoe_ros.cli.main import main
from adamoe_ros.data.lerobot.dataset_reader import Dataset

PROFILE = simulated_robot(type="compressed")
SECONDS = 2.0
FRAMES = round(25 * SECONDS)
Records = list[Any]


def records() -> Records:
    return list(motion(PROFILE, SECONDS))


def truncated(folder: Path) -> Path:
    path = write_mcap(folder, records())
    file = path / f"{folder.name}.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    return path


def without_index(folder: Path) -> Path:
    """As it is after a kill: everything flushed, no summary, no metadata.yaml."""
    path = truncated_at(folder, b"\x0f")
    (path / "metadata.yaml").unlink()
    return path


def truncated_at(folder: Path, data_end: bytes) -> Path:
    """Cut where the data section ends; the record's kind and its length of 4 bytes."""
    path = write_mcap(folder, records())
    file = path / f"{folder.name}.mcap"
    content = file.read_bytes()
    file.write_bytes(content[: content.rindex(data_end + (4).to_bytes(8, "little"))])
    return path


def sqlite_without_metadata(folder: Path) -> Path:
    path = write_rosbags(folder, records())
    (path / "metadata.yaml").unlink()
    return path


def wrong_hash(folder: Path) -> Path:
    """Of joint states."""
    path = write_mcap(folder, records())
    digest = STORE.hash_rihs01("sensor_msgs/msg/JointState")
    metadata = path / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace(digest, "RIHS01_" + "0" * 64))
    return path


def unknown_type(folder: Path) -> Path:
    """A joint topic of a type that nobody has a definition of: the robot's state is missing."""

    def renamed(connection: Any) -> None:
        kind = ("nobody/msg/Joints", "/follower_left/joint_states")
        connection.execute("UPDATE topics SET type = ? WHERE name = ?", kind)

    return write_humble_sqlite(folder, records(), renamed)


def unknown_beside(folder: Path) -> Path:
    """A topic that the profile does not ask for."""
    extra = [*records(), (START + SECOND, "/odd", "std_msgs/msg/String", _string("x"))]

    def renamed(connection: Any) -> None:
        connection.execute("UPDATE topics SET type = 'nobody/msg/Knows' WHERE name = '/odd'")

    return write_humble_sqlite(folder, extra, renamed)


def _string(text: str) -> Any:
    return STORE.types["std_msgs/msg/String"](text)


def empty_pictures(folder: Path) -> Path:
    found = records()
    for number, (_, topic, _, message) in enumerate(found):
        if topic == "/cam_high/image_raw" and number % 4 == 0:
            message.data = np.zeros(0, np.uint8)
    return write_mcap(folder, found)


def clock_back(folder: Path) -> Path:
    late = motion(PROFILE, 1.0, start_ns=START + SECOND // 2)
    return write_mcap(folder, [*records(), *((t + 3 * SECOND // 2, *rest) for t, *rest in late)])


def empty(folder: Path) -> Path:
    return write_mcap(folder, [])


def no_bag(folder: Path) -> Path:
    folder.mkdir()
    (folder / f"{folder.name}.mcap").write_bytes(b"nothing that anybody knows")
    return folder


class Case(NamedTuple):
    """A damage, its exit code, words of the line that tells it, frames that must be read."""

    make: Callable[[Path], Path]
    code: int
    words: str
    frames: int


CASES = {
    "truncated mcap": Case(truncated, 3, "truncated at byte", FRAMES // 2),
    "mcap without index": Case(without_index, 3, "metadata.yaml: not there", FRAMES - 1),
    "sqlite without metadata": Case(
        sqlite_without_metadata, 3, "metadata.yaml: not there", FRAMES - 1
    ),
    "wrong type hash": Case(wrong_hash, 3, "with the hash RIHS01_00000000", FRAMES - 1),
    "unknown type": Case(unknown_type, 2, "got nobody/msg/Joints", 0),
    "unknown type beside": Case(unknown_beside, 3, "metadata.yaml: not there", FRAMES - 1),
    "pictures of no bytes": Case(empty_pictures, 3, "cam_high", FRAMES // 2),
    "clock going back": Case(clock_back, 3, "the clock went back", FRAMES - 1),
    "empty bag": Case(empty, 2, "expected messages", 0),
    "no bag": Case(no_bag, 2, "expected an MCAP file", 0),
}


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("robot") / "robot.yaml"
    cameras = {slot: {"type": "compressed", "width": 64, "height": 48} for slot in PROFILE.cameras}
    path.write_text(yaml.safe_dump({"extends": "aloha_sim", "cameras": cameras}))
    return str(path)


def told(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return str(out + err)


@pytest.mark.parametrize("name", CASES)
def test_replay(name: str, robot: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    path, out = case.make(tmp_path / "bag"), tmp_path / "out"
    code = main(["replay", str(path), "--robot", robot, "--out", str(out), "--no-video"])
    text = told(capsys)
    assert (code, case.words in text) == (case.code, True), text
    assert "nobody/msg/Knows" not in text
    if code == 2:
        assert not out.exists()
        return
    (bag,) = json.loads((out / "results.json").read_text())["bags"]
    assert bag["observations"] >= case.frames
    assert bag["state"] == ("whole" if code == 0 else "partial")


@pytest.mark.parametrize("name", CASES)
def test_convert(name: str, robot: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    path, out = case.make(tmp_path / "bag"), tmp_path / "out"
    words = ["dataset", "convert", str(path), "--robot", robot, "--out", str(out)]
    code = main([*words, "--gripper", "driver", "--workers", "1"])
    text = told(capsys)
    assert (code, case.words in text) == (case.code, True), text
    assert "nobody/msg/Knows" not in text
    if code == 2:
        assert not out.exists()
        return
    assert sum(entry.length for entry in Dataset(out).episodes) >= case.frames
