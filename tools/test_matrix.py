#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""``make test-matrix``: what needs no torch, on every other Python and ROS 2 this machine can run.

For each cell an environment of its own is made (``matrix_environment``); then the core tests of the
layers without torch run as on a machine without ROS, and the tests with real nodes that need neither
policy nor simulator. What was not run is named. Exit code 1 when a test failed, 2 when an environment
could not be made or there was nothing to run.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from matrix_environment import ROOT, Cell, Environment

# Humble has no wheels; Jazzy's own Python (Ubuntu 24.04) is 3.12, Humble's (22.04) is 3.10
CELLS = (
    Cell("3.10", "kilted"),
    Cell("3.11", "kilted"),
    Cell("3.12", "jazzy"),
    Cell("3.13", "kilted"),
)
CORE = ("contract", "control", "streams", "data", "ros_free")
ALONE = ("test_layering.py", "cli/test_ros_env.py", "tools/test_ros_source.py")
# of the core tests above: these need torch or the simulator
CORE_WITH_TORCH = (
    "data/test_fuzzing.py",
    "data/test_joint_order.py",
    "ros_free/test_doctor_model.py",
    "ros_free/test_policy_worker.py",
    "policy/test_actor.py",
    "ros_free/test_gpu.py",
)
# these need the policy or the simulator, or test the checkout's own build
ROS_WITH_TORCH = (
    "test_demo.py",
    "test_evaluate_ros.py",
    "test_launch.py",
    "test_message_fuzz.py",
    "test_overlay.py",
    "test_policy_control.py",
    "test_policy_faults.py",
    "test_policy_remote.py",
    "test_replay_parity.py",
    "test_sim_round_trip.py",
    "test_start.py",
    "test_transports.py",
)


@dataclass(frozen=True)
class Run:
    """One pytest run.

    Attributes:
        name: for people.
        tests: arguments of pytest.
        ros: with ROS and the overlay, or as on a machine without.
    """

    name: str
    tests: tuple[str, ...]
    ros: bool


def runs(only: str, torch: bool) -> list[Run]:
    """What is run in every cell.

    Args:
        only: ``core``, ``ros`` or empty for both.
        torch: also what needs torch.
    """
    core, ros = ROOT / "test" / "core", ROOT / "test" / "ros"
    skipped = () if torch else tuple(str(core / name) for name in CORE_WITH_TORCH)
    paths = [str(core / name) for name in (*ALONE, *CORE)]
    first = Run("core tests", (*paths, *(f"--ignore={path}" for path in skipped)), ros=False)
    left_out = ("test_overlay.py",) if torch else ROS_WITH_TORCH
    files = tuple(str(p) for p in sorted(ros.glob("test_*.py")) if p.name not in left_out)
    second = Run("ROS tests", files, ros=True)
    return [run for run in (first, second) if only in ("", "ros" if run.ros else "core")]


def find(version: str) -> Path | None:
    """An interpreter of a version: of pyenv, or on PATH; with venv."""
    pyenv = Path.home() / ".pyenv" / "versions"
    found = [str(path / "bin" / "python") for path in sorted(pyenv.glob(f"{version}.*"))[::-1]]
    found += [shutil.which(f"python{version}") or ""]
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for path in filter(None, found):
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return Path(path)
    return None


def own() -> str:
    """Python version of ``.venv``, which ``make test`` tests (with Kilted's wheels)."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    command = [str(ROOT / ".venv" / "bin" / "python"), "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def test(environment: Environment, run: Run, arguments: list[str]) -> bool:
    """Run pytest in a cell; whether everything passed."""
    print(f"[{environment.cell}] {run.name}", flush=True)
    variables = environment.with_ros() if run.ros else environment.without_ros()
    command = [str(environment.python), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    begin = time.monotonic()
    code = subprocess.run(
        [*command, *run.tests, *arguments], cwd=ROOT, env=variables, check=False
    ).returncode
    print(f"[{environment.cell}] {run.name}: exit {code}, {time.monotonic() - begin:.0f} s")
    return code == 0


def main() -> int:
    """Test every cell; say what passed, failed and was not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", help="only these versions, e.g. 3.12")
    parser.add_argument("--only", choices=("core", "ros"), default="", help="only these tests")
    parser.add_argument(
        "--torch", action="store_true", help="with torch and simulator: all tests with nodes"
    )
    options, arguments = parser.parse_known_args()
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        print("test-matrix: expected Linux on x86_64 (ROS 2 wheels exist for no other)")
        return 2
    mine = own()
    passed: list[str] = []
    failed: list[str] = []
    missing: list[str] = []
    for cell in CELLS:
        if (cell.python, cell.distro) == (mine, "kilted"):
            print(f"[{cell}] is .venv's: make test")
            continue
        if options.python and cell.python not in options.python:
            continue
        interpreter = find(cell.python)
        if interpreter is None:
            missing.append(str(cell))
            continue
        environment = Environment(cell, interpreter, options.torch)
        environment.make()
        wanted = runs(options.only, options.torch)
        results = [test(environment, run, arguments) for run in wanted]
        (passed if all(results) else failed).append(str(cell))
    for title, cells in (("passed", passed), ("failed", failed), ("no such Python", missing)):
        if cells:
            print(f"test-matrix: {title}: {', '.join(cells)}")
    if not passed and not failed:
        print("test-matrix: expected another Python from 3.10 to 3.13, found none")
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
