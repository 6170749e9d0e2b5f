#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes ``.venv-clients/<name>``: real policy clients of other projects, for ``make conformance-clients``.

Standard library only; done again only when the pins changed (about a minute, 400 MB).
"""

from __future__ import annotations

import sys
from pathlib import Path

from machine import diagnose_pip
from steps import Steps

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv-clients"
# openpi-client pins numpy < 2 and forgets typing_extensions: installed without its dependencies
CLIENTS = {
    "openpi": (
        ("--no-deps", "openpi-client==0.1.2"),
        (
            "msgpack==1.2.4",
            "numpy>=2,<3",
            "pillow",
            "websockets>=15",
            "typing_extensions",
            "dm-tree",
        ),
    ),
    "vla-eval": (("vla-eval==0.8.0",),),
    "xpolicylab": (("inspect-robots-xpolicylab==0.1.0",),),
}


def main() -> None:
    """Every environment; a failure ends the program with one line."""
    for name, installs in CLIENTS.items():
        folder = FOLDER / name
        steps = Steps(folder / "setup", folder / "setup.log", total=2)
        _environment(steps, name, folder, installs)


def _environment(
    steps: Steps, name: str, folder: Path, installs: tuple[tuple[str, ...], ...]
) -> None:
    steps.step("venv", f"making {name}'s environment", sys.version, lambda: _make(steps, folder))
    install = f"installing {name}'s client"
    steps.step("packages", install, str(installs), lambda: _install(steps, folder, installs))


def _make(steps: Steps, folder: Path) -> None:
    steps.run([sys.executable, "-m", "venv", folder], "venv: could not be made")


def _install(steps: Steps, folder: Path, installs: tuple[tuple[str, ...], ...]) -> None:
    pip: list[str | Path] = [folder / "bin/python", "-m", "pip", "install", "-q"]
    for words in installs:
        steps.run([*pip, *words], "pip: a client could not be installed", None, diagnose_pip)


if __name__ == "__main__":
    main()
