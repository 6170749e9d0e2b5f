# SPDX-License-Identifier: Apache-2.0
"""The GPU's nine minutes: order, limits and what remains of a run that fails; the rehearsal itself."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import gpu_check
import pytest
from gpu_check import Run, Step

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import json, pathlib, subprocess, sys, time
step, result = sys.argv[1], pathlib.Path(sys.argv[sys.argv.index("--result") + 1])
result.write_text(json.dumps({"lines": [f"{step} began"]}))
if step == "fails":
    raise SystemExit("the reason")
if step == "hangs":
    child = subprocess.Popen(["sleep", "60"])
    pathlib.Path("child").write_text(str(child.pid))
    time.sleep(60)
if step == "absent":
    result.write_text(json.dumps({"status": "not there yet: no such preset"}))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu_check, "_LEAST", 0.1)
    script = tmp_path / "steps.py"
    script.write_text(SCRIPT)
    return Run(tmp_path / "out", 60.0, False, script)


def saved(run: Run):
    return json.loads((run.folder / "gpu_check.json").read_text())["steps"]


def test_a_failing_step_does_not_stop_the_later_ones(run):
    for name in ("works", "fails", "absent", "works_too"):
        run.do(Step(name, 20.0, name))
        assert list(saved(run))[-1] == name  # written as they come
    steps = saved(run)
    assert [steps[name]["status"] for name in steps] == [
        "done", "failed: exit code 1", "not there yet: no such preset", "done",
    ]  # fmt: skip
    page = (run.folder / "page.txt").read_text()
    assert "| the reason" in page and "fails began" in page
    assert page.endswith("not done: fails\n")


def test_a_step_ends_at_its_limit_with_all_it_started(run):
    begun = time.monotonic()
    record = run.do(Step("hangs", 5.0, "hangs"))
    assert time.monotonic() - begun < 30.0
    assert record["status"] == "stopped at its limit of 5 s"
    assert record["result"]["lines"] == ["hangs began"]
    child = int(Path("child").read_text())
    deadline = time.monotonic() + 10.0
    while _runs(child):
        assert time.monotonic() < deadline
    assert run.do(Step("works", 20.0, "works"))["status"] == "done"


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_nothing_begins_when_time_is_used_up(tmp_path):
    run = Run(tmp_path, 5.0, False, tmp_path / "steps.py")  # what the page is given
    assert run.do(Step("works", 20.0, "works"))["status"] == "left out: no time left"


def test_all_limits_but_the_soak_fit_into_the_time():
    """So that the last measurements are not the ones that are always left out."""
    expected = sum(step.limit for step in gpu_check.STEPS[:-1]) * 2 / 3
    assert expected < 530.0 - 30.0


@pytest.mark.timeout(1700)
def test_rehearsal(tmp_path):
    done = subprocess.run(
        [str(ROOT / "tools" / "gpu_check.sh"), str(tmp_path), "--rehearse", "--seconds", "1500"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "gpu_check.json", "log.txt", "page.txt",
    ]  # fmt: skip
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    assert list(found["steps"]) == [step.name for step in gpu_check.STEPS]
    assert all(gpu_check.fine(record["status"]) for record in found["steps"].values())
    assert found["rehearsal"]
    page = (tmp_path / "page.txt").read_text()
    assert page.startswith("REHEARSAL on the CPU: no figure below is one\n")
    for form in ("wide", "grouped", "triton"):
        result = found["steps"][f"engine adamoe_pi0 {form}"]["result"]
        assert result["deviation_from_eager"] < 1e-3 and result["kernels"] > 0
        assert set(result["fraction_of_ceilings"]) == {"encode", "flow", "whole"}
    assert found["steps"]["peer"]["result"]["ours_is_faster"] > 0
    assert 0 < found["steps"]["int8"]["result"]["deviation"]["max"] < 0.1
    assert set(found["steps"]["batches"]["result"]["batches"]) == {"1", "2", "4", "8"}
    assert found["steps"]["soak"]["result"]["wrong"] == 0
