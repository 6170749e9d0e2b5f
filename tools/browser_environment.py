#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes ``.venv-browser``: playwright and axe, which lead an installed Chromium for ``make console-check``.

Standard library only; done again only when the pins changed (half a minute, 190 MB). Playwright's own
browsers are not fetched.
"""

from __future__ import annotations

import sys
from pathlib import Path

from machine import diagnose_pip
from steps import Steps

FOLDER = Path(__file__).resolve().parents[1] / ".venv-browser"
PINS = ("playwright==1.65.2", "greenlet==3.5.6", "axe-playwright-python==0.1.8")


def main() -> None:
    """The environment; a failure ends the program with one line."""
    steps = Steps(FOLDER / "setup", FOLDER / "setup.log", total=2)
    python: list[str | Path] = [sys.executable, "-m", "venv", FOLDER]
    steps.step(
        "venv",
        "making .venv-browser",
        sys.version,
        lambda: steps.run(python, "venv: could not be made"),
    )
    pip: list[str | Path] = [FOLDER / "bin/python", "-m", "pip", "install", "-q", *PINS]
    failed = "pip: playwright could not be installed"
    steps.step(
        "packages",
        "installing playwright",
        str(PINS),
        lambda: steps.run(pip, failed, None, diagnose_pip),
    )


if __name__ == "__main__":
    main()
