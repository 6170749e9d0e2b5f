#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""``make setup``: from a fresh checkout to a built package, doing only what has changed. With ``--robot``
(``tools/robot_setup.sh``) only ``.venv`` for a sourced ROS 2; colcon builds in the person's workspace.

Standard library only. Makes ``.venv`` with pinned packages, takes ROS 2 Kilted from wheels unless a ROS 2
is sourced, builds the interfaces, finds a working GL, installs the ``adamoe`` command. Everything it
learns for later is in ``.venv/adamoe_env.json`` (read by ``adamoe_ros.cli.ros_env``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import colcon_build
import gl as gl_finder
from machine import diagnose_build, diagnose_pip, lacks
from ros_source import KEPT, RosSource, RosSourceError, choose
from steps import Steps, digest, fail

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STATE = VENV / "setup"
REQUIREMENTS = ROOT / "requirements"
SETUP_FILE = VENV / "adamoe_env.json"  # name known to adamoe_ros/cli/ros_env.py
PACKAGES = ("core", "policy", "sim", "data", "serve", "console", "convert", "dev")
ROBOT = ("core", "policy", "data", "serve", "console")


class Bootstrap:
    """The steps of the set-up.

    Args:
        source: which ROS is used.
        robot: only the environment, without what tests and simulator need.
    """

    def __init__(self, source: RosSource, robot: bool) -> None:
        self.source = source
        self.robot = robot
        self.steps = Steps(STATE, VENV / "setup.log", total=3 if robot else 6)
        self.environment = _clean_environment(source)

    def run(self) -> None:
        """Every step whose inputs changed."""
        packages = self._make_environment()
        if not self.robot:
            self._package(packages)

    def _make_environment(self) -> str:
        """``.venv`` with its packages; the digest of what is in it."""
        # an overlay that is sourced beside ROS changes nothing in the environment
        ros = self.source.distro if self.robot else self.source
        python = f"{sys.executable} {sys.version} {ros}"
        if not (STATE / "venv.stamp").is_file() or (STATE / "venv.stamp").read_text() != python:
            problems = lacks(ROOT)
            for line in problems:
                print(f"setup: {line}", file=sys.stderr)
            if problems:
                raise SystemExit(2)
        self.steps.step("venv", "making .venv", python, self._venv)
        chosen = [os.environ.get("TORCH_INDEX", ""), os.environ.get("TORCH", "")]
        packages = digest([python, str(self.robot), *sorted(REQUIREMENTS.glob("*.txt"))])
        self.steps.step("torch", "installing torch", digest([packages, *chosen]), self._torch)
        self.steps.step("packages", "installing Python packages", packages, self._packages)
        return packages

    def _package(self, packages: str) -> None:
        """ROS from wheels, or what it lacks for building; the interfaces; the ``adamoe`` command."""
        what = (
            "ROS 2 Kilted wheels" if self.source.wheels else f"build tools for {self.source.distro}"
        )
        self.steps.step("ros", f"installing {what}", packages, self._ros)
        self.steps.step("build", "building the interfaces", self._build_key(packages), self._build)
        wanted = os.environ.get("MUJOCO_GL", "")
        key = digest([packages, wanted])
        self.steps.step("finish", "finding OpenGL, installing adamoe", key, self._finish)

    # --- steps ----------------------------------------------------------------------------------

    def _venv(self) -> None:
        built = () if self.robot else (ROOT / "build", ROOT / "install")
        for made in (VENV, *built):
            shutil.rmtree(made, ignore_errors=True)
        options = [] if self.source.wheels else ["--system-site-packages"]
        command: list[str | Path] = [sys.executable, "-m", "venv", *options, VENV]
        self.steps.run(command, "venv: could not be made; is python3-venv installed?")

    def _torch(self) -> None:
        index = os.environ.get("TORCH_INDEX")
        options = ["--index-url", index] if index else []
        wanted = os.environ.get("TORCH", "")
        self._pip(*([wanted] if wanted else ["-r", self._file("policy", only="torch")]), *options)

    def _packages(self) -> None:
        names = ROBOT if self.robot else PACKAGES
        self._pip(*(word for name in names for word in ("-r", self._file(name))))
        if not self.robot:
            self._pip("--no-deps", "-r", REQUIREMENTS / "no-deps.txt")

    def _ros(self) -> None:
        if self.source.wheels:
            self._pip("-r", REQUIREMENTS / "ros-kilted.txt")
            script = ROOT / "tools" / "ros_wheels.py"
            self.steps.run(
                [PYTHON, script], "ROS wheels: their CMake files do not mend", self.environment
            )
            return
        wanted = ["setuptools<80", "wheel"]
        wanted += [] if shutil.which("cmake") else ["cmake<4"]
        self._pip(*wanted)
        if shutil.which("colcon") is None:
            self._pip("-r", REQUIREMENTS / "colcon.txt")

    def _build(self) -> None:
        if not (ROOT / "build" / "adamoe_ros" / "symlink_install_manifest.txt").is_file():
            # a build of another kind (copied, merged) does not turn into this one
            shutil.rmtree(ROOT / "install", ignore_errors=True)
            shutil.rmtree(ROOT / "build", ignore_errors=True)
        colcon = shutil.which("colcon", path=self.environment["PATH"]) or "colcon"
        self.steps.run(
            colcon_build.words(ROOT, ROOT, PYTHON, colcon),
            "build: colcon could not build the interfaces",
            self.environment,
            diagnose_build,
        )

    def _finish(self) -> None:
        self._pip("--no-deps", "--no-build-isolation", "-e", ROOT)
        site_packages = next((VENV / "lib").glob("python3.*/site-packages"))
        found = gl_finder.find(
            site_packages,
            VENV / "gl",
            lambda: self._pip("--no-deps", gl_finder.WHEEL),
            lambda candidate: gl_finder.renders(PYTHON, candidate),
            os.environ.get("MUJOCO_GL", ""),
        )
        if found is None:
            fail(
                "OpenGL: expected EGL or OSMesa to render a picture, none did; "
                "apt-get install libegl1 libgl1-mesa-dri libopengl0, or unset MUJOCO_GL"
            )
        document: dict[str, dict[str, str]] = {"variables": found.variables()}
        if found.library_path:
            document["lists"] = {"LD_LIBRARY_PATH": ":".join(found.library_path)}
        if not self.source.wheels:
            document["ros"] = _without_own({n: os.environ[n] for n in KEPT if n in os.environ})
        SETUP_FILE.write_text(json.dumps(document, indent=2) + "\n")

    # --- helpers --------------------------------------------------------------------------------

    def _pip(self, *words: str | Path) -> None:
        command: list[str | Path] = [
            PYTHON,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
        ]
        self.steps.run(
            [*command, "-c", self._pins(), *words],
            "pip: a package could not be installed",
            self.environment,
            diagnose_pip,
        )

    def _file(self, name: str, only: str = "") -> Path:
        """A requirements file, or the one line of it."""
        path = REQUIREMENTS / f"{name}.txt"
        if not only:
            return path
        STATE.mkdir(parents=True, exist_ok=True)
        line = next(line for line in path.read_text().splitlines() if line.startswith(only))
        part = STATE / f"{only}.txt"
        part.write_text(line + "\n")
        return part

    def _pins(self) -> Path:
        """The constraints: pins.txt, with a sourced ROS under those of sourced.txt.

        A torch that the person chose is not pinned.
        """
        pins = REQUIREMENTS / "pins.txt"
        chosen = bool(os.environ.get("TORCH"))
        if self.source.wheels and not chosen:
            return pins
        over = [] if self.source.wheels else _lines(REQUIREMENTS / "sourced.txt")
        names = {line.split("==")[0] for line in over}
        names |= {"torch", "triton"} if chosen else set()
        kept = [line for line in _lines(pins) if line.split("==")[0] not in names]
        STATE.mkdir(parents=True, exist_ok=True)
        merged = STATE / "pins.txt"
        merged.write_text("\n".join([*kept, *over]) + "\n")
        return merged

    def _build_key(self, packages: str) -> str:
        folders = ("msg", "srv", "action", "scripts")
        files = sorted(path for name in folders for path in (ROOT / name).iterdir())
        there = (ROOT / "install" / "adamoe_ros" / "share").is_dir()
        parts = [packages, str(ROOT), str(there), *(str(path) for path in files)]
        return digest([*parts, *files, ROOT / "CMakeLists.txt", ROOT / "package.xml"])


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def _without_own(variables: dict[str, str]) -> dict[str, str]:
    """Colon lists without the folders of this checkout: they are added anew each time."""
    return {
        name: ":".join(part for part in value.split(":") if not part.startswith(str(ROOT)))
        for name, value in variables.items()
    }


def _clean_environment(source: RosSource) -> dict[str, str]:
    """Environment of pip and colcon: this ``.venv`` first, nothing of another one."""
    make = colcon_build.only_wheels if source.wheels else colcon_build.clean
    return make(os.environ, VENV)


def main() -> int:
    """Run the steps; 0 when everything is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quiet", action="store_true", help="say nothing when nothing was to do")
    parser.add_argument("--robot", action="store_true", help="only .venv, for a sourced ROS 2")
    options = parser.parse_args()
    try:
        source = choose(os.environ, ROOT)
    except RosSourceError as error:
        fail(str(error))
    if options.robot and source.wheels:
        fail("ROS: expected a sourced ROS 2, got none; source /opt/ros/<distro>/setup.bash")
    start = time.monotonic()
    bootstrap = Bootstrap(source, options.robot)
    bootstrap.run()
    if bootstrap.steps.done or not options.quiet:
        ros = "ROS 2 Kilted from wheels" if source.wheels else f"the sourced ROS 2 {source.distro}"
        then = "; now: colcon build --packages-select adamoe_ros" if options.robot else ""
        print(f"setup: ready with {ros} ({time.monotonic() - start:.0f} s){then}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
