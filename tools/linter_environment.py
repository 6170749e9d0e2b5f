#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes ``.venv-linters``: public linters of LeRobot datasets, for ``make conformance-linters``.

Standard library only; done again only when the pins changed (about a minute, 600 MB). lerobot-lint is
not among them: it installs the whole of LeRobot.
"""

from __future__ import annotations

import sys
from pathlib import Path

from machine import diagnose_pip
from steps import Steps

VENV = Path(__file__).resolve().parents[1] / ".venv-linters"
LINTERS = ("lerobot-doctor==0.2.0", "robovet==0.2.2", "rdq==0.3.4", "deepen-grade==0.4.1")


def main() -> None:
    """Every step whose inputs changed; a failure ends the program with one line."""
    steps = Steps(VENV / "setup", VENV / "setup.log", total=2)
    make: list[str | Path] = [sys.executable, "-m", "venv", VENV]
    pip: list[str | Path] = [VENV / "bin/python", "-m", "pip", "install", "-q", *LINTERS]
    problem = "pip: a linter could not be installed"
    steps.step(
        "venv",
        "making .venv-linters",
        sys.version,
        lambda: steps.run(make, "venv: could not be made"),
    )
    steps.step(
        "packages",
        "installing the linters",
        str(LINTERS),
        lambda: steps.run(pip, problem, None, diagnose_pip),
    )


if __name__ == "__main__":
    main()
