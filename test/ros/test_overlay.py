# SPDX-License-Identifier: Apache-2.0
"""The package as it is built and installed: interfaces, node scripts, Fast DDS profile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from camera_sender import CAMERAS, QOS
from harness import Child, wait_for_message
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image

from adamoe_ros.cli.ros_env import find_overlay
from adamoe_ros.msg import ControlStatus
from adamoe_ros.ros import names, qos

pytestmark = pytest.mark.side_by_side

ROOT = Path(__file__).resolve().parents[2]
NODES = ("control_node", "loopback_node", "policy_node", "recorder_node", "sim_node")


@pytest.fixture
def node() -> Iterator[Node]:
    context = rclpy.Context()
    rclpy.init(context=context)
    made = rclpy.create_node("test_overlay", context=context)
    yield made
    made.destroy_node()
    rclpy.try_shutdown(context=context)


@pytest.fixture(scope="module")
def scripts() -> Path:
    """Folder of the installed node scripts."""
    overlay = find_overlay(ROOT)
    assert overlay is not None, "expected a build in install/; run 'make setup'"
    return overlay.prefix / "lib" / "adamoe_ros"


@pytest.fixture(scope="module")
def sourced() -> dict[str, str]:
    """Environment of a shell that did nothing but source install/setup.bash."""
    outside = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "AMENT_PREFIX_PATH", "LD_LIBRARY_PATH")
        and not name.startswith(("FAST", "_ROS_WHEELS"))
    }
    if (Path(sys.prefix) / "share" / "ament_index").is_dir():
        outside["AMENT_PREFIX_PATH"] = sys.prefix  # the wheels have no setup.bash of their own
    else:
        outside["AMENT_PREFIX_PATH"] = os.environ["AMENT_PREFIX_PATH"]
        outside["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
        outside["LD_LIBRARY_PATH"] = os.environ.get("LD_LIBRARY_PATH", "")
    command = f"source {ROOT}/install/setup.bash && env -0"
    done = subprocess.run(
        ["bash", "-c", command], env=outside, capture_output=True, text=True, check=True
    )
    pairs = (pair.partition("=") for pair in done.stdout.split("\0") if pair)
    environment = {name: value for name, _, value in pairs}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return environment


def test_an_installed_node_runs_from_any_folder(
    scripts: Path, sourced: dict[str, str], tmp_path: Path, node: Node
) -> None:
    command = [
        scripts / "control_node",
        "--ros-args",
        "-p",
        "robot:=aloha_sim",
        "-p",
        "autostart:=true",
    ]
    with Child(command, sourced, tmp_path) as child:
        status = wait_for_message(
            node,
            ControlStatus,
            names.CONTROL_STATUS,
            qos.CONTROL_STATUS,
            lambda message: bool(message.joint_names),  # none before it is configured
        )
        assert status.joint_names[0].startswith("left/")
        assert child.stop() == 0


def test_the_command_is_there_where_the_overlay_is_sourced(
    scripts: Path, sourced: dict[str, str], tmp_path: Path
) -> None:
    """Nothing is activated: the installed programs name the environment's interpreter themselves."""
    folder = scripts.parents[1] / "bin"
    assert str(folder) in sourced["PATH"].split(":")
    bare = {**sourced, "PATH": f"{folder}:/usr/bin:/bin"}
    bare.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        ["adamoe", "doctor", "--robot", "aloha_sim"],
        env=bare, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "14 joints" in done.stdout
    assert f"Python: {'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}" in done.stdout
    for name in NODES:
        assert (scripts / name).read_text().startswith(f"#!{sys.executable}\n"), name


@pytest.mark.parametrize("name", NODES)
def test_a_node_without_the_overlay_says_so_in_one_line(
    scripts: Path, tmp_path: Path, name: str
) -> None:
    bare = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    bare["PYTHONPATH"] = str(ROOT)
    with Child([sys.executable, scripts / name], bare, tmp_path) as child:
        assert child.wait() == 2
    assert len(child.lines) == 1
    assert "source install/setup.bash" in child.lines[0] or "make setup" in child.lines[0]


def test_three_cameras_arrive_with_the_shipped_profile(node: Node) -> None:
    """The default of Fast DDS drops most of these frames (512 kB segment)."""
    assert os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE") or os.environ.get(
        "FASTRTPS_DEFAULT_PROFILES_FILE"
    )
    received: set[str] = set()
    for name in CAMERAS:
        node.create_subscription(
            Image, f"{name}/image_raw", lambda image: received.add(image.header.frame_id), QOS
        )
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    sender = Path(__file__).with_name("camera_sender.py")
    with Child([sys.executable, sender, "4"]) as child:
        deadline = time.monotonic() + 60.0
        while not any(line.startswith("sent") for line in child.lines):
            assert time.monotonic() < deadline, child.lines
            executor.spin_once(timeout_sec=0.1)
        sent = 3 * int(child.lines[-1].split()[1])
        quiet = time.monotonic() + 1.0
        while len(received) < sent and time.monotonic() < quiet:
            executor.spin_once(timeout_sec=0.1)
    assert len(received) >= 0.99 * sent, f"{len(received)} of {sent} frames"
