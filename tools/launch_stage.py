# SPDX-License-Identifier: Apache-2.0
"""A stage for launch files: packages whose programs only note how they were started.

Imports the standard library, PyYAML and, inside functions, launch. A launch file is run by the real
LaunchService with the real launch_ros; only the programs at its end are these. So what is checked is
what a process gets: its arguments, parameter files, environment, and whether it is started again.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

# package -> programs; those of other packages stand for what a robot computer has installed
PROGRAMS = {
    "adamoe_ros": ("control_node", "policy_node", "sim_node", "console_node", "recorder_node"),
    "ros_gz_sim": ("create",),
    "ros_gz_bridge": ("parameter_bridge",),
    "robot_state_publisher": ("robot_state_publisher",),
    "controller_manager": ("spawner",),
}
_PROGRAM = """#!{python}
import json, os, signal, sys
files = [sys.argv[i + 1] for i, word in enumerate(sys.argv) if word == "--params-file"]
note = dict(program=os.path.basename(sys.argv[0]), arguments=sys.argv[1:], pid=os.getpid(),
            parameters=[open(path).read() for path in files],
            environment=dict(os.environ))
name = note["program"] + "."
path = os.path.join({notes!r}, name + "%d.json" % os.getpid())
with open(path + ".part", "w") as stream:
    json.dump(note, stream)
os.rename(path + ".part", path)
first = len([other for other in os.listdir({notes!r}) if other.startswith(name)]) == 1
if first and note["program"] in os.environ.get("STAGE_FAILS", "").split():
    sys.exit(3)
signal.sigwait([signal.SIGINT, signal.SIGTERM])
"""
_GAZEBO = '''"""Stands for ros_gz_sim's launch file."""
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration


def generate_launch_description():
    """Gazebo's arguments as one word."""
    command = [{program!r}, LaunchConfiguration("gz_args")]
    return LaunchDescription([DeclareLaunchArgument("gz_args"), ExecuteProcess(cmd=command)])
'''


@dataclass
class Started:
    """One program as it was started.

    Attributes:
        program: its name.
        arguments: after the name.
        environment: complete.
        parameters: merged from its parameter files, later ones over earlier ones.
        pid: of the process.
    """

    program: str
    arguments: list[str]
    environment: dict[str, str]
    pid: int
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def remapped(self) -> dict[str, str]:
        """``__ns``, ``__node`` and whatever else was given as ``-r``."""
        pairs = zip(self.arguments, self.arguments[1:], strict=False)
        rules = [word for option, word in pairs if option == "-r"]
        return dict(rule.split(":=", 1) for rule in rules)

    @property
    def namespace(self) -> str:
        """Without a slash at its ends; empty: none."""
        return self.remapped.get("__ns", "").strip("/")


class Stage:
    """Makes the packages below a folder; ``set`` makes them the ones that launch finds."""

    def __init__(self, folder: Path) -> None:
        self.notes = folder / "notes"
        self._prefix = folder / "prefix"
        self._path = folder / "bin"
        for made in (self.notes, self._path):
            made.mkdir(parents=True)
        index = self._prefix / "share" / "ament_index" / "resource_index" / "packages"
        index.mkdir(parents=True)
        for package, programs in PROGRAMS.items():
            (index / package).write_text("")
            for program in programs:
                self._write(self._prefix / "lib" / package / program)
        for program in ("ros2", "gazebo", "isaac-sim.sh"):
            self._write(self._path / program)
        gazebo = self._prefix / "share" / "ros_gz_sim" / "launch" / "gz_sim.launch.py"
        gazebo.parent.mkdir(parents=True)
        gazebo.write_text(_GAZEBO.format(program=str(self._path / "gazebo")))

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_PROGRAM.format(python=sys.executable, notes=str(self.notes)))
        path.chmod(0o755)

    @contextmanager
    def set(self, fails: str = "") -> Iterator[None]:
        """In this process's environment, until the end of the block.

        Args:
            fails: programs that end with an error the first time, by name, with spaces between.
        """
        before = dict(os.environ)
        os.environ["AMENT_PREFIX_PATH"] = str(self._prefix)
        os.environ["PATH"] = f"{self._path}:{before.get('PATH', '')}"
        os.environ["STAGE_FAILS"] = fails
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def started(self) -> list[Started]:
        """What was started so far, in any order."""
        return [_read(json.loads(path.read_text())) for path in self.notes.glob("*.json")]


def _read(note: Mapping[str, Any]) -> Started:
    parameters: dict[str, Any] = {}
    for text in note["parameters"]:
        for _, block in sorted((yaml.safe_load(text) or {}).items()):
            parameters |= block["ros__parameters"]
    return Started(note["program"], note["arguments"], note["environment"], note["pid"], parameters)


def launch(path: Path, arguments: Mapping[str, str], until: Any, seconds: float = 30.0) -> int:
    """Run a launch file until a condition holds or the time is over; launch's exit code.

    Args:
        until: called often, from another thread; True ends the launch.
    """
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    service = LaunchService(noninteractive=True)
    source = PythonLaunchDescriptionSource(str(path))
    include = IncludeLaunchDescription(source, launch_arguments=list(arguments.items()))
    service.include_launch_description(LaunchDescription([include]))
    ended = threading.Event()

    def watch() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not ended.is_set() and not until():
            time.sleep(0.05)
        service.shutdown()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return int(service.run())
    finally:
        ended.set()
        watcher.join()
