# SPDX-License-Identifier: Apache-2.0
"""The whole loop: simulated cameras and joints over real topics, the shipped policy, real commands."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import SHARED_MEMORY, Child

from adamoe_ros.cli.demo import TOUR
from adamoe_ros.data.recording import read_recording

pytestmark = pytest.mark.side_by_side

DEMO = [sys.executable, "-m", "adamoe_ros.cli.entry", "demo"]
NODES = (
    "adamoe_ros.ros.sim.sim_node",
    "adamoe_ros.ros.policy.policy_node",
    "adamoe_ros.ros.control.control_node",
)


def left_behind(out: Path) -> list[str]:
    """Node processes that write to this folder's logs, and shared memory of ended processes."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_text().split("\0")
            output = os.readlink(entry / "fd" / "1")
        except OSError:
            continue
        if output.startswith(str(out)) and any(node in words for node in NODES):
            found.append(" ".join(words[:3]))
    return found


def shared_memory(root: int) -> set[str]:
    """Segments (not ports, which the whole domain shares) that a process and its children map."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    family = {root} | {pid for pid, parent in parents.items() if parent == root}
    found = set()
    for pid in family:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/maps").read_text().split()
            found |= {word for word in words if word.startswith(SHARED_MEMORY)}
    return {name for name in found if not name.startswith(f"{SHARED_MEMORY}port")}


def test_two_arms_do_what_the_sentence_says(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    command = [*DEMO, "--out", str(out), "--seed", "3", "--max-duration", "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((out / "results.json").read_text())
    assert [episode["task"] for episode in results["episodes"]] == [row[0] for row in TOUR]
    for episode in results["episodes"]:
        assert episode["chunks"] >= 3
        assert episode["rejected_chunks"] == 0
        assert episode["command_rate"] > 0
    assert set(results["latency"]) >= {"images", "prefix", "flow", "total", "stamp_to_chunk"}
    recorded = read_recording(out / "recording.json").episodes[0]
    moved = np.ptp(np.array(recorded.measured.values), axis=0)
    assert moved[:6].max() > 0.2  # rad: both arms went somewhere
    assert moved[7:13].max() > 0.2
    assert all(record.experts for record in recorded.inferences)
    page = (out / "report.html").read_text()
    assert "data:video/mp4;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (out / "demo.mp4").stat().st_size > 10_000
    assert left_behind(out) == []


def test_interrupted_it_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    with Child([*DEMO, "--out", str(out), "--no-video"]) as demo:
        demo.wait_for_line("policy ready", timeout=120)
        used = shared_memory(demo.process.pid)
        assert len(used) >= 2  # of the pictures' participants: the simulator's and the policy's
        demo.process.send_signal(signal.SIGINT)
        assert demo.wait(timeout=60) == 130
        assert [line for line in demo.lines if "Traceback" in line] == []
    assert left_behind(out) == []
    assert [name for name in used if Path(name).exists()] == []


def test_a_wrong_camera_encoding_is_one_line_and_nothing_moves(tmp_path: Path) -> None:
    profile = tmp_path / "wrong.yaml"
    profile.write_text("extends: aloha_sim\nname: wrong\ncameras:\n  cam_high: {encoding: 16UC1}\n")
    command = [*DEMO, "--out", str(tmp_path / "out"), "--no-video", "--robot", str(profile)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("adamoe demo: ")]
    assert len(lines) == 1
    assert "16UC1" in lines[0]
    assert not (tmp_path / "out" / "results.json").exists()
