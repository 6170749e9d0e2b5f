# SPDX-License-Identifier: Apache-2.0
"""An episode on the disk: in order, discarded, with a full disk, a slow one, and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bag_support import START, STORE

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.episode_info import EpisodeInfo, read_info
from adamoe_ros.data.episode_recorder import EpisodeRecorder, next_folder, summary

KIND = "std_msgs/msg/String"
WORDS = bytes(STORE.serialize_cdr(STORE.types[KIND]("x" * 1000), KIND))
TOPICS = {"/a": KIND, "/b": KIND}


def recorder(folder: Path, **changes: object) -> EpisodeRecorder:
    info = EpisodeInfo(instruction="lift", robot="aloha_sim")
    return EpisodeRecorder(folder, info, TOPICS, 1000, **changes)  # type: ignore[arg-type]


def test_everything_is_there_and_silent_topics_are_flagged(tmp_path: Path) -> None:
    episode = recorder(tmp_path / "e")
    for number in range(200):
        assert episode.put("/a", KIND, START + number, WORDS)
    info = episode.stop(success=True, notes="good")
    assert info.counts == {"/a": 200, "/b": 0} and info.end == "stopped"
    assert summary(info, 1.0)[1] == "NO MESSAGE on /b"
    with Bag(tmp_path / "e") as bag:
        assert sum(1 for _ in bag.messages(["/a"])) == 200 and bag.state == "whole"
        inside = json.loads(bag.files.custom["adamoe_episode"])
        assert inside["counts"] == {"/a": 200, "/b": 0}
        noted = read_info(tmp_path / "e", bag.files.custom)
    assert noted is not None
    assert (noted.instruction, noted.success, noted.notes) == ("lift", True, "good")
    assert not episode.put("/a", KIND, START, WORDS)
    episode.label(False)
    again = read_info(tmp_path / "e", {})
    assert again is not None and again.success is False and again.notes == "good"


def test_a_topic_of_a_type_nobody_knows_does_not_stop_the_others(tmp_path: Path) -> None:
    episode = recorder(tmp_path / "e")
    episode.put("/odd", "nobody/msg/Knows", START, b"\0\1\0\0")
    episode.put("/a", KIND, START, WORDS)
    info = episode.stop()
    assert info.counts["/a"] == 1 and info.counts["/odd"] == 0
    assert "nobody/msg/Knows" in info.notes


def test_discarded(tmp_path: Path) -> None:
    episode = recorder(tmp_path / "e")
    episode.put("/a", KIND, START, WORDS)
    episode.discard()
    assert not (tmp_path / "e").exists()


def test_a_disk_that_gets_full_ends_the_episode_in_order(tmp_path: Path) -> None:
    left = [10_000]
    episode = recorder(tmp_path / "e", free=lambda folder: left[0])
    episode.put("/a", KIND, START, WORDS)
    left[0] = 10
    deadline = time.monotonic() + 20
    while not episode.ended_by and time.monotonic() < deadline:
        episode.put("/a", KIND, START + 1, WORDS)
        time.sleep(0.01)
    assert episode.ended_by == "disk_full"
    info = episode.stop()
    assert info.end == "disk_full" and "ended by: disk_full" in summary(info, 1.0)
    found = counted(tmp_path / "e")
    assert found == info.counts["/a"] >= 1


def counted(folder: Path) -> int:
    with Bag(folder) as bag:
        return sum(1 for _ in bag.messages(["/a"]))


def test_a_disk_that_is_full_already(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="GiB free"):
        recorder(tmp_path / "e", free=lambda folder: 10)
    assert not (tmp_path / "e").exists()


def test_what_does_not_fit_into_the_queue_is_counted(tmp_path: Path) -> None:
    episode = recorder(tmp_path / "e", queue_bytes=len(WORDS) - 1)
    assert not episode.put("/a", KIND, START, WORDS)
    info = episode.stop()
    assert info.dropped == 1 and "1 messages DROPPED: the disk was too slow" in summary(info, 1.0)


def test_names_go_on_where_they_were(tmp_path: Path) -> None:
    assert next_folder(tmp_path).name == "episode_0000"
    (tmp_path / "episode_0007").mkdir()
    (tmp_path / "episode_x").mkdir()
    assert next_folder(tmp_path).name == "episode_0008"


def test_after_kill_9_the_bag_is_readable(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from adamoe_ros.data.episode_info import EpisodeInfo\n"
        "from adamoe_ros.data.episode_recorder import EpisodeRecorder\n"
        f"kind, words = {KIND!r}, {WORDS!r}\n"
        f"e = EpisodeRecorder(Path({str(tmp_path / 'e')!r}), EpisodeInfo('lift'), {TOPICS!r}, 1000)\n"
        "number = 0\n"
        "while True:\n"
        f"    e.put('/a', kind, {START} + number * 10**6, words)\n"
        "    number += 1\n"
        "    time.sleep(0.001)\n"
        "    if e.counts['/a'] > 1500: print(e.counts['/a'], flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert child.stdout is not None
        written = int(child.stdout.readline())
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(20)
        child.stdout.close()
    assert not (tmp_path / "e" / "metadata.yaml").exists()
    with Bag(tmp_path / "e") as bag:
        found = sum(1 for _ in bag.messages(["/a"]))
        assert bag.state == "partial"
    assert 0.3 * written < found <= written  # all but what came since the last flush, about 1 s
    noted = read_info(tmp_path / "e", {})
    assert noted is not None and noted.instruction == "lift" and noted.ended == ""
