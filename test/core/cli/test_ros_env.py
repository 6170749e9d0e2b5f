# SPDX-License-Identifier: Apache-2.0
"""The computed environment of nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adamoe_ros.cli.ros_env import SETUP_FILE, Overlay, complete, find_overlay, read_setup

ROOT = Path(__file__).resolve().parents[3]
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def build(root: Path, inside: str = "adamoe_ros", python: str = "lib/{}/site-packages") -> Overlay:
    """What colcon leaves in ``root/install``."""
    prefix = root / "install" / inside
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    folder = prefix / python.format(VERSION)
    index.mkdir(parents=True)
    (index / "adamoe_ros").write_text("")
    (folder / "adamoe_ros" / "msg").mkdir(parents=True)
    return Overlay(prefix, folder)


@pytest.mark.parametrize("inside", ["adamoe_ros", "."])
@pytest.mark.parametrize(
    "python", ["lib/{}/site-packages", "lib/{}/dist-packages", "local/lib/{}/dist-packages"]
)
def test_every_layout_of_colcon_is_found(tmp_path: Path, inside: str, python: str) -> None:
    assert find_overlay(tmp_path) is None
    built = build(tmp_path, inside, python)
    assert find_overlay(tmp_path) == built


def test_with_the_wheels(tmp_path: Path) -> None:
    built = build(tmp_path)
    prefix = tmp_path / ".venv"
    (prefix / "share" / "ament_index").mkdir(parents=True)
    setup = {"variables": {"MUJOCO_GL": "osmesa"}, "lists": {"LD_LIBRARY_PATH": "/gl:/gl.libs"}}
    made = complete({"LD_LIBRARY_PATH": "/wheels"}, tmp_path, prefix, setup)
    assert made["AMENT_PREFIX_PATH"] == f"{built.prefix}:{prefix}"
    assert made["PYTHONPATH"] == f"{tmp_path}:{built.python}"
    assert made["LD_LIBRARY_PATH"] == f"{built.prefix}/lib:/gl:/gl.libs:/wheels"
    assert made["MUJOCO_GL"] == "osmesa"
    assert made["FASTDDS_DEFAULT_PROFILES_FILE"] == str(tmp_path / "config" / "fastdds.xml")
    assert complete(made, tmp_path, prefix, setup) == made  # a second time changes nothing


def test_a_sourced_ros_stays_and_gets_the_overlay(tmp_path: Path) -> None:
    built = build(tmp_path)
    sourced = {
        "AMENT_PREFIX_PATH": "/opt/ros/humble",
        "PYTHONPATH": "/opt/ros/humble/x",
        "ROS_DISTRO": "humble",
    }
    made = complete(sourced, tmp_path, tmp_path / ".venv", {})
    assert made["AMENT_PREFIX_PATH"] == f"{built.prefix}:/opt/ros/humble"
    assert made["PYTHONPATH"].endswith(":/opt/ros/humble/x")
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" in made
    assert "FASTDDS_DEFAULT_PROFILES_FILE" not in made


def test_the_ros_of_set_up_comes_back_in_a_shell_without_it(tmp_path: Path) -> None:
    ros = {
        "AMENT_PREFIX_PATH": "/opt/ros/jazzy",
        "PATH": "/opt/ros/jazzy/bin",
        "ROS_DISTRO": "jazzy",
    }
    made = complete({"PATH": "/usr/bin"}, None, tmp_path, {"ros": ros})
    assert made["PATH"] == "/opt/ros/jazzy/bin:/usr/bin"
    assert (made["AMENT_PREFIX_PATH"], made["ROS_DISTRO"]) == ("/opt/ros/jazzy", "jazzy")


def test_what_the_user_set_stays(tmp_path: Path) -> None:
    mine = {"FASTDDS_DEFAULT_PROFILES_FILE": "/my.xml", "MUJOCO_GL": "egl"}
    made = complete(mine, tmp_path, tmp_path, {"variables": {"MUJOCO_GL": "osmesa"}})
    assert {name: made[name] for name in mine} == mine


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_broken_set_up_file_is_as_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / SETUP_FILE).write_text(text)
    assert read_setup(tmp_path) == {}


def test_the_command_starts_itself_again_once(tmp_path: Path) -> None:
    """From a bare environment the process ends up with what ``complete`` computes."""
    code = (
        "import json, os, sys\n"
        "from adamoe_ros.cli import ros_env\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "ros_env.enter('shown', ['word'])\n"
    )
    shown = "import json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ)]))\n"
    (tmp_path / "shown.py").write_text(shown)
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{tmp_path}", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=bare, cwd=tmp_path, capture_output=True, text=True
    )
    words, environment = json.loads(done.stdout)
    assert words == ["word"]
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == str(ROOT / "config" / "fastdds.xml")
