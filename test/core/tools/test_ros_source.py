# SPDX-License-Identifier: Apache-2.0
"""Which ROS set-up takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from ros_source import RosSourceError, choose


def ros(folder: Path, rclpy: bool = True) -> Path:
    """A prefix like /opt/ros/<distro>."""
    (folder / "share" / ("rclpy" if rclpy else "other")).mkdir(parents=True)
    return folder


def test_without_a_sourced_ros_the_wheels(tmp_path: Path) -> None:
    source = choose({}, tmp_path)
    assert source.wheels
    assert source.distro == "kilted"


@pytest.mark.parametrize("distro", ["humble", "jazzy", "kilted"])
def test_a_sourced_ros_is_used(tmp_path: Path, distro: str) -> None:
    prefix = ros(tmp_path / "opt" / distro)
    source = choose({"ROS_DISTRO": distro, "AMENT_PREFIX_PATH": str(prefix)}, tmp_path / "root")
    assert (source.wheels, source.distro, source.prefixes) == (False, distro, (prefix,))


def test_an_overlay_over_ros_counts_once(tmp_path: Path) -> None:
    overlay, prefix = tmp_path / "ws" / "install", ros(tmp_path / "opt")
    path = f"{overlay}:{prefix}"
    source = choose({"ROS_DISTRO": "jazzy", "AMENT_PREFIX_PATH": path}, tmp_path / "root")
    assert source.prefixes == (overlay, prefix)


def test_our_own_overlay_is_no_sourced_ros(tmp_path: Path) -> None:
    """A second set-up from a shell that sourced install/setup.bash decides as the first."""
    path = f"{tmp_path / 'install' / 'adamoe_ros'}:{tmp_path / '.venv'}"
    assert choose({"AMENT_PREFIX_PATH": path}, tmp_path).wheels


def test_a_left_over_distro_without_prefix_is_ignored(tmp_path: Path) -> None:
    assert choose({"ROS_DISTRO": "jazzy"}, tmp_path).wheels


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"ROS_DISTRO": "rolling", "AMENT_PREFIX_PATH": "{ros}"}, "got 'rolling'"),
        ({"AMENT_PREFIX_PATH": "{ros}"}, "got 'nothing'"),
        ({"ROS_DISTRO": "jazzy", "AMENT_PREFIX_PATH": "{half}"}, "source /opt/ros/<distro>"),
        ({"ROS_DISTRO": "noetic", "ROS_VERSION": "1"}, "got ROS 1 noetic"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    tmp_path: Path, environment: dict[str, str], text: str
) -> None:
    places = {"ros": ros(tmp_path / "opt"), "half": ros(tmp_path / "half", rclpy=False)}
    filled = {name: value.format(**places) for name, value in environment.items()}
    with pytest.raises(RosSourceError) as caught:
        choose(filled, tmp_path / "root")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
