#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes ``.venv-clients/<name>``: real policy clients of other projects, for ``make conformance-clients``.

Standard library only; done again only when the pins changed (about two minutes, 900 MB). openpi's examples
are in no package: they come from its repository, or the copy of it that ``OPENPI_REPOSITORY`` names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from machine import diagnose_pip
from steps import Steps

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv-clients"
OPENPI = "https://github.com/Physical-Intelligence/openpi"
OPENPI_COMMIT = "15a9616a00943ada6c20a0f158e3adb39df2ccac"
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
        # of its examples simple_client and aloha_sim
        ("gym-aloha==0.1.5", "matplotlib", "polars", "rich", "tqdm", "tyro==0.9.5"),
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
    source = FOLDER / "openpi-source"
    steps = Steps(source / ".setup", source / ".setup.log", total=1)
    title = "fetching openpi's examples"
    steps.step("source", title, OPENPI_COMMIT, lambda: _fetch(steps, source))


def _fetch(steps: Steps, folder: Path) -> None:
    """The examples alone, at the commit that was tried."""
    git = ["git", "-C", str(folder)]
    do = "openpi's examples could not be fetched; set OPENPI_REPOSITORY to a copy of the repository"
    for words in (
        ["init", "-q"],
        ["fetch", "-q", "--depth=1", os.environ.get("OPENPI_REPOSITORY", OPENPI), OPENPI_COMMIT],
        ["checkout", "-q", "FETCH_HEAD", "--", "examples"],
    ):
        steps.run([*git, *words], f"git: {do}")


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
