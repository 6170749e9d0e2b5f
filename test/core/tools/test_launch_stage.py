# SPDX-License-Identifier: Apache-2.0
"""The programs behind tools/check_launch.py: what they note, that they fail once, that scenes are real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import check_launch
from launch_stage import Stage

ROOT = Path(__file__).resolve().parents[3]


def start(stage: Stage, folder: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([folder / "prefix" / "lib" / "adamoe_ros" / "policy_node", *words])


def test_a_program_notes_how_it_was_started_and_fails_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    (tmp_path / "a.yaml").write_text(
        "/cell/policy_node:\n  ros__parameters: {device: cpu, seed: 1}\n"
    )
    (tmp_path / "b.yaml").write_text("/**:\n  ros__parameters: {seed: 2}\n")
    files = ["--params-file", str(tmp_path / "a.yaml"), "--params-file", str(tmp_path / "b.yaml")]
    before = dict(os.environ)
    with stage.set(fails="policy_node"):
        assert start(stage, tmp_path, "--ros-args", "-r", "__ns:=/cell", *files).wait(30) == 3
        (first,) = stage.started()
        second = start(stage, tmp_path)
        end = time.monotonic() + 30
        while len(stage.started()) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        assert second.poll() is None
        second.send_signal(signal.SIGTERM)
        second.wait(30)
    assert os.environ == before
    assert first.program == "policy_node"
    assert first.namespace == "cell"
    assert first.parameters == {"device": "cpu", "seed": 2}
    assert len(stage.started()) == 2


def test_every_launch_file_has_a_scene_that_starts_and_one_line_without_launch() -> None:
    files = {path.name.removesuffix(".launch.py") for path in (ROOT / "launch").glob("*.py")}
    assert {scene.file for scene in check_launch.SCENES if scene.programs} == files
    done = subprocess.run(
        [sys.executable, "-S", str(ROOT / "tools" / "check_launch.py")],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1
