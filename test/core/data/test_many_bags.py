# SPDX-License-Identifier: Apache-2.0
"""Hundreds of bags to one dataset: on all cores, killed and continued, in the memory of a few."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import many_bags
import pytest
import yaml

from adamoe_ros.data.lerobot.dataset_reader import Dataset

COUNT, FEW = 200, 12
MORE = 60e6  # bytes that a worker may take more for many bags than for few


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    cameras = {slot: {"width": 32, "height": 24} for slot in many_bags.PROFILE.cameras}
    (folder / "robot.yaml").write_text(yaml.safe_dump({"extends": "aloha_sim", "cameras": cameras}))
    many_bags.make_bags(folder / "bags", COUNT)
    many_bags.make_bags(folder / "few", FEW)
    return folder


def command(bags: Path, name: str, out: Path) -> list[str]:
    words = [sys.executable, many_bags.__file__, "dataset", "convert", str(bags / name)]
    words += ["--robot", str(bags / "robot.yaml"), "--out", str(out), "--images", "png"]
    return [*words, "--gripper", "driver", "--workers", "2"]


def peaks(text: str) -> tuple[int, int]:
    own, worker = text.splitlines()[-1].split()
    return int(own), int(worker)


def finished(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=400, check=False)


def _whole(path: Path) -> bool:
    """Written when the episode is, and once more when all of its bag is."""
    return '"fingerprint"' in path.read_text()


def test_killed_continued_and_flat_in_memory(bags: Path, tmp_path: Path) -> None:
    out, staging = tmp_path / "out", tmp_path / ".out.staging"
    child = subprocess.Popen(
        command(bags, "bags", out), start_new_session=True, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while len(list(filter(_whole, staging.glob("*/done.json")))) < COUNT // 4:
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)  # workers, too
    child.wait(10)
    assert not out.exists()
    done = finished(command(bags, "bags", out))
    assert done.returncode == 3, done.stdout + done.stderr  # one bag is bad
    assert "1 bags skipped: b0007" in done.stdout
    assert f"{COUNT - 1} episodes" in done.stdout
    reused = next(line for line in done.stdout.splitlines() if "earlier run" in line)
    assert COUNT // 4 <= int(reused.split()[0]) < COUNT
    assert not staging.exists()
    dataset = Dataset(out)
    expected = [f"task {n % many_bags.KINDS}" for n in range(COUNT) if n != 7]
    assert [entry.tasks[0] for entry in dataset.episodes] == expected
    assert all(entry.length == 5 for entry in dataset.episodes)
    few = finished(command(bags, "few", tmp_path / "few"))
    assert few.returncode == 3, few.stdout + few.stderr
    for many, little in zip(peaks(done.stdout), peaks(few.stdout), strict=True):
        assert many < little + MORE, (many, little)
