# SPDX-License-Identifier: Apache-2.0
"""One environment of ``make test-matrix``: a Python, a ROS 2 from wheels, the interfaces built with both.

Standard library only. Everything is below ``.venv-matrix/<python>-<distribution>``; the build is not
the checkout's own, so that ``make setup`` and its environment stay as they are.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import colcon_build
from machine import diagnose_build, diagnose_pip
from steps import Steps, digest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv-matrix"
REQUIREMENTS = ROOT / "requirements"
PACKAGES = (
    "core",
    "data",
    "serve",
    "dev",
)  # not torch: 3 GB, and these tests are of what works without
WITH_TORCH = ("policy", "sim")
_OLD_FASTDDS = ("humble", "jazzy")  # Fast DDS renamed its variable after them


@dataclass(frozen=True)
class Cell:
    """What is tested together.

    Attributes:
        python: version, ``3.12``.
        distro: ROS 2 from wheels.
    """

    python: str
    distro: str

    @property
    def folder(self) -> Path:
        """Of the environment and its build."""
        return FOLDER / f"{self.python}-{self.distro}"

    def __str__(self) -> str:
        return f"Python {self.python} with {self.distro}"


class Environment:
    """Makes a cell's environment, doing only what has changed, and says how to run in it.

    Args:
        cell: which.
        interpreter: a Python of that version.
        torch: install torch, the policy's packages and the simulator as well.
    """

    def __init__(self, cell: Cell, interpreter: Path, torch: bool) -> None:
        self.cell = cell
        self._interpreter = interpreter
        self._torch = torch
        self._venv = cell.folder
        self._built = cell.folder / "colcon"
        self.python = self._venv / "bin" / "python"
        self._variables = colcon_build.only_wheels(os.environ, self._venv)
        self._state = cell.folder / "setup"

    def make(self) -> None:
        """Every step whose inputs changed; a failure ends the program with one line."""
        steps = Steps(self._state, self._venv / "setup.log", total=4)
        names = ("pins", f"ros-{self.cell.distro}", *self._packages)
        files = [REQUIREMENTS / f"{name}.txt" for name in names]
        key = digest([str(self._interpreter), *files])
        steps.step("venv", f"making {self._venv.name}", str(self._interpreter), self._make_venv)
        steps.step("packages", "installing Python packages", key, lambda: self._pip(steps))
        title = f"installing ROS 2 {self.cell.distro} wheels"
        steps.step("ros", title, key, lambda: self._install_ros(steps))
        folders = ("msg", "srv", "action", "scripts")
        sources = sorted(path for name in folders for path in (ROOT / name).iterdir())
        described = [ROOT / "CMakeLists.txt", ROOT / "package.xml"]
        build = digest([key, *(str(path) for path in sources), *sources, *described])
        steps.step("build", "building the interfaces", build, lambda: self._build(steps))

    @property
    def _packages(self) -> tuple[str, ...]:
        return PACKAGES + (WITH_TORCH if self._torch else ())

    def _make_venv(self) -> None:
        shutil.rmtree(self._venv, ignore_errors=True)
        Steps(self._state, FOLDER / "setup.log", total=1).run(
            [self._interpreter, "-m", "venv", self._venv], "venv: could not be made"
        )

    def _pip(self, steps: Steps) -> None:
        files = (word for name in self._packages for word in ("-r", REQUIREMENTS / f"{name}.txt"))
        self._install(steps, *files)

    def _install_ros(self, steps: Steps) -> None:
        self._install(steps, "-r", REQUIREMENTS / f"ros-{self.cell.distro}.txt")
        script = ROOT / "tools" / "ros_wheels.py"
        steps.run([self.python, script], "ROS wheels: CMake files do not mend", self._variables)

    def _install(self, steps: Steps, *words: str | Path) -> None:
        options = ("install", "-q", "--disable-pip-version-check", "-c", self._pins())
        steps.run(
            [self.python, "-m", "pip", *options, *words],
            "pip: a package could not be installed",
            self._variables,
            diagnose_pip,
        )

    def _pins(self) -> Path:
        """pins.txt; another distribution's wheels than Kilted's have other versions."""
        lines = (REQUIREMENTS / "pins.txt").read_text().splitlines()
        kept = [x for x in lines if self.cell.distro == "kilted" or not x.startswith("ros-")]
        if not self._torch:  # brought by dev.txt for the kernels' tests
            kept = [line for line in kept if not line.startswith("torch==")]
        self._state.mkdir(parents=True, exist_ok=True)
        made = self._state / "pins.txt"
        made.write_text("\n".join(kept) + "\n")
        return made

    def _build(self, steps: Steps) -> None:
        colcon = self._venv / "bin" / "colcon"
        steps.run(
            colcon_build.words(ROOT, self._built, self.python, str(colcon)),
            "build: colcon could not build the interfaces",
            self._variables,
            diagnose_build,
        )

    # --- running --------------------------------------------------------------------------------

    def without_ros(self) -> dict[str, str]:
        """Complete environment of the core tests."""
        foreign = ("AMENT", "CMAKE_PREFIX", "COLCON", "FASTDDS", "FASTRTPS", "RMW", "ROS_")
        made = {k: v for k, v in self._variables.items() if not k.startswith(foreign)}
        return {**made, "ADAMOE_WITHOUT_ROS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def with_ros(self) -> dict[str, str]:
        """Complete environment of the ROS tests: as a shell that sourced ROS and the build."""
        prefix = self._built / "install" / "adamoe_ros"
        overlay = next(prefix.glob(f"lib/python{self.cell.python}/*-packages"))
        old = self.cell.distro in _OLD_FASTDDS
        fastdds = "FASTRTPS" if old else "FASTDDS"
        return {
            **self._variables,
            "AMENT_PREFIX_PATH": f"{prefix}:{self._venv}",
            "LD_LIBRARY_PATH": str(prefix / "lib"),
            "PYTHONPATH": f"{ROOT}:{overlay}",
            "ROS_DISTRO": self.cell.distro,
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            f"{fastdds}_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "fastdds.xml"),
        }
