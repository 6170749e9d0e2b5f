# SPDX-License-Identifier: Apache-2.0
"""Launch files without launch: they compile, arguments are documented, what they name exists.

``tools/check_launch.py`` runs them against the real launch and launch_ros.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from adamoe_ros.contract.profile_io import known_profiles
from adamoe_ros.contract.resources import robots_dir

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "launch").glob("*.launch.py"))
SHARED = ROOT / "adamoe_ros" / "ros" / "launching.py"


def calls(path: Path, name: str) -> list[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in found if isinstance(node.func, ast.Name) and node.func.id == name]


def literal(node: ast.AST) -> object:
    return ast.literal_eval(node)


def test_the_asked_for_files_are_there() -> None:
    names = {path.name.removesuffix(".launch.py") for path in FILES}
    assert names == {"bringup", "demo", "replay", "sim_gazebo", "isaac"}


@pytest.mark.parametrize("path", [*FILES, SHARED], ids=lambda path: path.name)
def test_every_argument_is_documented(path: Path) -> None:
    for call in calls(path, "argument"):
        name, _, description, *_ = call.args
        text = str(literal(description))
        assert text.endswith("."), f"{literal(name)}: {text}"
        assert len(text) > 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file_has_a_purpose_and_sets_the_environment(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert calls(path, "environment")
    assert calls(path, "robot_nodes")


def test_executables_are_nodes_of_this_package() -> None:
    named = {literal(call.args[0]) for path in [*FILES, SHARED] for call in calls(path, "node")}
    assert named == {"policy_node", "control_node", "sim_node", "console_node", "recorder_node"}
    for name in named:
        assert len(list((ROOT / "adamoe_ros" / "ros").glob(f"*/{name}.py"))) == 1


def test_default_robots_exist() -> None:
    for path in FILES:
        for call in calls(path, "robot_arguments"):
            robot = literal(call.keywords[0].value)
            assert robot is None or robot in known_profiles(robots_dir())


def test_gazebo_controllers_take_the_joints_of_their_profiles_in_order() -> None:
    from adamoe_ros.contract.profile_io import load_profile
    from adamoe_ros.contract.topics import command_topics

    for robot in ("aloha_agilex", "ur5_dual"):
        profile = load_profile(robots_dir() / f"gazebo_{robot}.yaml")
        path = ROOT / "config" / "gazebo" / f"{robot}_controllers.yaml"
        controllers = yaml.safe_load(path.read_text(encoding="utf-8"))
        for topic in command_topics(profile):
            name = topic.target.topic.split("/")[0]
            assert tuple(controllers[name]["ros__parameters"]["joints"]) == topic.names
            assert name in controllers["controller_manager"]["ros__parameters"]


def test_bridge_carries_the_cameras_of_the_gazebo_profiles() -> None:
    from adamoe_ros.contract.profile_io import load_profile

    entries = yaml.safe_load((ROOT / "config" / "gazebo" / "bridge.yaml").read_text())
    bridged = {entry["ros_topic_name"] for entry in entries}
    for path in robots_dir().glob("gazebo_*.yaml"):
        profile = load_profile(path)
        assert {f"/{camera.topic}" for camera in profile.present_cameras.values()} <= bridged
    assert "/clock" in bridged


def test_launch_files_need_the_distributions_python_alone() -> None:
    """They run in that of ``ros2 launch``, whose pydantic is version 1 or none."""
    imported = [
        node.module
        for node in ast.walk(ast.parse(SHARED.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("adamoe_ros")
    ]
    code = f"""
import sys
for name in ("pydantic", "numpy", "torch"):
    sys.modules[name] = None
import {", ".join(map(str, imported))}
from adamoe_ros.contract.profile_io import profile_path, read_profile
from adamoe_ros.contract.resources import robots_dir
names = ("isaac_franka_dual", "aloha_agilex")
print([read_profile(profile_path(name, robots_dir())).get("use_sim_time") for name in names])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[True, None]\n", done.stderr
