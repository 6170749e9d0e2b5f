#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes ``.venv-ray``: everything of ``.venv`` and Ray, for ``make scale``.

Standard library only; done again only when the pin changed (about a minute, 250 MB).
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

from machine import diagnose_pip
from steps import Steps, digest

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-ray"
PINS = ROOT / "requirements" / "ray.txt"


def main() -> None:
    """Run with the Python of ``.venv``; a failure ends the program with one line."""
    steps = Steps(VENV / "setup", VENV / "setup.log", total=2)
    below = sysconfig.get_path("purelib")
    steps.step("venv", "making .venv-ray", sys.version + below, lambda: _make(steps, below))
    key = digest([sys.version, PINS])
    steps.step("packages", "installing Ray", key, lambda: _install(steps))


def _make(steps: Steps, below: str) -> None:
    if (VENV / "bin").exists():
        shutil.rmtree(VENV)
    steps.run([sys.executable, "-m", "venv", VENV], "venv: could not be made")
    own = sysconfig.get_path("purelib", vars={"base": str(VENV)})
    line = f"import site; site.addsitedir({below!r})\n"
    (Path(own) / "below.pth").write_text(line, encoding="utf-8")


def _install(steps: Steps) -> None:
    pip: list[str | Path] = [
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "-r",
        PINS,
    ]
    steps.run([VENV / "bin/python", *pip], "pip: Ray could not be installed", None, diagnose_pip)


if __name__ == "__main__":
    main()
