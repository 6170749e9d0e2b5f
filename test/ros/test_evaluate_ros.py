# SPDX-License-Identifier: Apache-2.0
"""``adamoe evaluate --ros``: the real nodes run the cases, the simulator's states judge them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_demo import left_behind

pytestmark = pytest.mark.side_by_side

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["--ros", "--tasks", "lift_bar", "--episodes", "1", "--seed", "1000", "--videos", "1"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One episode as it is used, and two with another sentence for the policy alone, at first or to
    the end."""
    folder = tmp_path_factory.mktemp("evaluate") / "out"
    command = [sys.executable, "-m", "adamoe_ros.cli.entry", "evaluate", *WORDS]
    command += ["--control", "wrong-sentence", "--control", "changed"]
    command += ["--max-time", "4", "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_cases_over_the_nodes(out: Path) -> None:
    document = json.loads((out / "results.json").read_text())
    assert document["settings"]["path"] == "ros" and document["settings"]["latency_s"] == 0
    plain, wrong, changed = document["episodes"]
    assert changed["instruction"] == changed["scene"] == plain["scene"] != changed["first"]
    assert plain["instruction"] == plain["scene"] == wrong["scene"] != wrong["instruction"]
    assert plain["followed"] == plain["success"]
    assert wrong["followed"] is None or not (wrong["followed"] and wrong["success"])
    for episode in (plain, wrong, changed):
        assert episode["inferences"] >= 2 and 0 < episode["seconds"] < 6
        assert episode["details"]["rejected_chunks"] == 0
    assert document["experts"]["inferences"] >= 2
    assert all(abs(sum(row) - 1) < 1e-3 for row in document["experts"]["share_by_layer"])
    assert set(document["experts"]["share_by_phase"]) <= {"reach", "contact", "carry", "done"}


def test_states_phases_and_leftovers(out: Path) -> None:
    lines = (out / "episodes.jsonl").read_text().splitlines()
    assert len(lines) == 4
    shown = [episode for line in lines[1:] for episode in json.loads(line)["episodes"]]
    failed = [e for e in shown if (e["success"] if e["followed"] is None else not e["followed"])]
    videos = sorted(path.name for path in (out / "videos").glob("*.mp4"))
    assert videos == sorted(f"{e['control']}-{e['task']}-{e['seed']}.mp4" for e in failed)
    assert not (out / "sim").exists()
    assert left_behind(out) == []
