#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes ``.venv-lerobot``: LeRobot's own reader and writer, judges of ``make conformance``.

Standard library only; done again only when the requirements changed (about 2 minutes, 2 GB).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from machine import diagnose_pip
from steps import Steps, digest, fail
from test_matrix import find

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-lerobot"
PYTHONS = ("3.12", "3.13")  # lerobot 0.6.1 has the type parameters of Python 3.12


def main() -> None:
    """Every step whose inputs changed; a failure ends the program with one line."""
    interpreter = next(filter(None, map(find, PYTHONS)), None)
    if interpreter is None:
        fail("conformance: expected Python 3.12 or 3.13 with venv, got none; install one")
    files = [ROOT / f"requirements/{name}.txt" for name in ("conformance", "conformance-no-deps")]
    steps = Steps(VENV / "setup", VENV / "setup.log", total=3)
    key = digest([str(interpreter), *files])
    steps.step("venv", "making .venv-lerobot", str(interpreter), lambda: _make(steps, interpreter))
    steps.step("packages", "installing what LeRobot needs", key, lambda: _pip(steps, files[0]))
    steps.step("lerobot", "installing LeRobot", key, lambda: _pip(steps, files[1], "--no-deps"))


def _make(steps: Steps, interpreter: Path) -> None:
    if (VENV / "bin").exists():
        shutil.rmtree(VENV)
    steps.run([interpreter, "-m", "venv", VENV], "venv: could not be made")


def _pip(steps: Steps, requirements: Path, *options: str) -> None:
    index = os.environ.get("TORCH_INDEX")
    more = ["--extra-index-url", index] if index and not options else []
    command: list[str | Path] = [
        VENV / "bin/python",
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
    ]
    problem = "pip: a package could not be installed"
    steps.run([*command, *more, *options, "-r", requirements], problem, None, diagnose_pip)


if __name__ == "__main__":
    main()
