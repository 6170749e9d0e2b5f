# SPDX-License-Identifier: Apache-2.0
"""Workspace box: forward kinematics against hand-computed poses, and braking before the wall."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from control_support import HOME_COMMAND, LIMITS, Judge, robot

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.control.gate import Gate
from adamoe_ros.control.workspace import Workspace, load_workspace

JOINT = (
    '<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
    '<origin xyz="{xyz}" rpy="{rpy}"/><axis xyz="{axis}"/></joint>'
)


def urdf(path: Path, last: str = "left_b") -> Path:
    """Per arm: base at x = 0.5, a turns about z, then 1 m along x, b slides along x."""
    parts = []
    for side, y in (("left", "0.5"), ("right", "-0.5")):
        b = last if side == "left" else "right_b"
        parts += [
            JOINT.format(
                name=f"{side}_mount",
                kind="fixed",
                parent="world",
                child=f"{side}_base",
                xyz=f"0.5 {y} 0",
                rpy="0 0 1.5707963267948966",
                axis="0 0 1",
            ),
            JOINT.format(
                name=f"{side}_a",
                kind="revolute",
                parent=f"{side}_base",
                child=f"{side}_1",
                xyz="0 0 0.3",
                rpy="0 0 0",
                axis="0 0 2",
            ),
            JOINT.format(
                name=b,
                kind="prismatic",
                parent=f"{side}_1",
                child=f"{side}_2",
                xyz="1 0 0",
                rpy="0 0 0",
                axis="1 0 0",
            ),
        ]
    path.write_text(f'<robot name="r">{"".join(parts)}</robot>')
    return path


def profile(low: list[float], high: list[float]) -> object:
    return robot(gate={"workspace": [low, high], "urdf": "r.urdf"})


def test_tools_are_where_geometry_says(tmp_path: Path) -> None:
    urdf(tmp_path / "r.urdf")
    workspace = load_workspace(profile([-3, -3, -3], [3, 3, 3]), tmp_path)
    assert isinstance(workspace, Workspace)
    pose = np.array([0.3, 0.7, 0.5, -0.4, 0.1, 0.5])
    # the mount turns x into y; a turns by a further angle; reach is 1 + b
    expected = [
        [0.5 - 1.7 * np.sin(0.3), 0.5 + 1.7 * np.cos(0.3), 0.3],
        [0.5 + 1.1 * np.sin(0.4), -0.5 + 1.1 * np.cos(0.4), 0.3],
    ]
    np.testing.assert_allclose(workspace.tools(pose), expected, atol=1e-12)
    assert workspace(pose)


def test_roll_pitch_yaw_follow_the_urdf_convention(tmp_path: Path) -> None:
    text = urdf(tmp_path / "r.urdf").read_text()
    (tmp_path / "r.urdf").write_text(text.replace("0 0 1.5707963267948966", "0.1 -0.2 0.3"))
    workspace = load_workspace(profile([-3, -3, -3], [3, 3, 3]), tmp_path)
    assert workspace is not None
    cx, sx, cy, sy, cz, sz = *_cs(0.1), *_cs(-0.2), *_cs(0.3)
    turn = np.array(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ]
    )
    expected = np.array([0.5, 0.5, 0.0]) + turn @ [1.0, 0.0, 0.3]
    np.testing.assert_allclose(workspace.tools(np.zeros(6))[0], expected, atol=1e-12)


def _cs(angle: float) -> tuple[float, float]:
    return np.cos(angle), np.sin(angle)


def test_every_wrong_joint_is_named(tmp_path: Path) -> None:
    urdf(tmp_path / "r.urdf", last="left_other")
    with pytest.raises(ContractError) as caught:
        load_workspace(profile([-3, -3, -3], [3, 3, 3]), tmp_path)
    assert "left arm" in str(caught.value) and "b" in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"gate\.urdf: expected a URDF"):
        load_workspace(profile([-3, -3, -3], [3, 3, 3]), tmp_path)


def test_no_box_no_check(tmp_path: Path) -> None:
    assert load_workspace(robot(), tmp_path) is None


def test_the_gate_stops_at_the_wall_inside_its_limits(tmp_path: Path) -> None:
    """The left tool's reach 1 + b points to +y at a = 0; a wall at y = 2.3 stops b near 0.8."""
    urdf(tmp_path / "r.urdf")
    workspace = load_workspace(profile([-3, -3, -3], [3, 2.3, 3]), tmp_path)
    gate, judge = Gate(LIMITS, 0.02, workspace), Judge(LIMITS, 0.02)
    gate.start(HOME_COMMAND)
    judge.see(gate.position)
    target = HOME_COMMAND.copy()
    target[1] = 1.9
    for _ in range(200):
        gate.step(target, np.zeros(6))
        judge.see(gate.position)
        assert workspace is not None and workspace(gate.position)
    assert 0.75 < gate.position[1] <= 0.8
    assert gate.clips.workspace > 0
    target[1] = 0.2
    for _ in range(200):
        gate.step(target, np.zeros(6))
    assert gate.position[1] == pytest.approx(0.2)
