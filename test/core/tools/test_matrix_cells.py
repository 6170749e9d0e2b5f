# SPDX-License-Identifier: Apache-2.0
"""make test-matrix: its files exist, and each environment is of its own distribution."""

from __future__ import annotations

import sys
from pathlib import Path

import matrix_environment
import pytest
import test_matrix
from matrix_environment import Cell, Environment

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("torch", [False, True])
def test_every_file_named_exists(torch: bool) -> None:
    for run in test_matrix.runs("", torch):
        for word in run.tests:
            assert Path(word.removeprefix("--ignore=")).exists(), word


def test_every_cell_has_its_requirements() -> None:
    for cell in test_matrix.CELLS:
        assert (matrix_environment.REQUIREMENTS / f"ros-{cell.distro}.txt").is_file()


def test_interpreters_are_found_by_their_version() -> None:
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = test_matrix.find(mine)
    assert found is None or found.exists()
    assert test_matrix.find("3.99") is None


def test_an_environment_is_of_its_own_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix_environment, "FOLDER", tmp_path)
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/other")
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/elsewhere.xml")
    for distro, kept in (("kilted", True), ("jazzy", False)):
        environment = Environment(Cell("3.12", distro), Path(sys.executable), torch=False)
        pins = environment._pins().read_text().splitlines()
        assert any(line.startswith("ros-rclpy==") for line in pins) == kept
        assert not any(line.startswith("torch==") for line in pins)
        without = environment.without_ros()
        assert not [name for name in without if name.startswith(("AMENT", "ROS_", "FAST"))]
        python = environment.cell.folder / "colcon/install/adamoe_ros/lib/python3.12/site-packages"
        python.mkdir(parents=True)
        assert environment.with_ros()["PYTHONPATH"] == f"{ROOT}:{python}"
        assert environment.with_ros()["AMENT_PREFIX_PATH"].endswith(str(environment.cell.folder))
