# SPDX-License-Identifier: Apache-2.0
"""Optional workspace box: forward kinematics of a URDF, one tool frame per arm.

Only what a box needs: fixed, revolute, continuous and prismatic joints in a chain from the root
link to the child link of each arm's last joint. Joint values are the driver's command units, so the
URDF must be the driver's.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.profile import RobotProfile

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
_MOVING = ("revolute", "continuous", "prismatic")


@dataclass(frozen=True)
class Link:
    """One joint of a chain.

    Attributes:
        origin: (4, 4) pose of the joint in its parent.
        axis: (3,) unit vector.
        prismatic: slides along the axis instead of turning about it.
        column: place in the command vector; -1: does not move.
    """

    origin: Matrix
    axis: Vector
    prismatic: bool
    column: int


class Workspace:
    """Whether every tool is inside the box.

    Args:
        chains: one per arm, from the root link to its tool.
        low, high: (3,) corners, m, in the root frame.
    """

    def __init__(self, chains: list[list[Link]], low: Vector, high: Vector) -> None:
        self._chains = chains
        self._low, self._high = low, high

    def tools(self, pose: Vector) -> NDArray[np.float64]:
        """(arms, 3) tool positions, m, root frame, of a pose (J,) in command units."""
        return np.array([_tool(chain, pose) for chain in self._chains])

    def __call__(self, pose: Vector) -> bool:
        """Whether the tools of a pose (J,) are inside."""
        tools = self.tools(pose)
        return bool((tools >= self._low).all() and (tools <= self._high).all())


def _tool(chain: list[Link], pose: Vector) -> Vector:
    frame = np.eye(4)
    for link in chain:
        frame = frame @ link.origin
        if link.column >= 0:
            frame = frame @ _motion(link, float(pose[link.column]))
    position: Vector = frame[:3, 3]
    return position


def _motion(link: Link, value: float) -> Matrix:
    motion = np.eye(4)
    if link.prismatic:
        motion[:3, 3] = link.axis * value
    else:
        motion[:3, :3] = _turn(link.axis, value)
    return motion


def _turn(axis: Vector, angle: float) -> Matrix:
    """Rodrigues' rotation, (3, 3)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turn: Matrix = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
    return turn


def load_workspace(profile: RobotProfile, folder: Path) -> Workspace | None:
    """The workspace check of a profile; None where it asks for none.

    Args:
        folder: what a relative ``gate.urdf`` is relative to (the profile's own folder).

    Raises:
        ContractError: the URDF is missing or broken, or an arm's joints do not form a chain in it.
    """
    gate = profile.gate
    if gate.workspace is None or gate.urdf is None:
        return None
    path = folder / gate.urdf
    joints = _joints(path)
    problems = Problems()
    chains = []
    columns = {joint_id: column for column, joint_id in enumerate(profile.joint_ids)}
    for side, arm in profile.ordered_arms:
        names = {joint.name: columns[f"{side}/{joint.name}"] for joint in arm.joints}
        found = {_find(joints, side, name): column for name, column in names.items()}
        tip = _find(joints, side, arm.joints[-1].name)
        chain = _chain(joints, tip)
        moving = {name for name in chain if joints[name].get("type") in _MOVING}
        for name in sorted(moving ^ set(found)):
            problems.add(
                f"{path.name}: {side} arm",
                f"the profile's joints as one chain to {tip}",
                f"{name} {'not in the profile' if name in moving else 'not on it'}",
                "use the driver's URDF",
            )
        chains.append([_link(joints[name], found.get(name, -1)) for name in chain])
    problems.raise_if_any()
    low, high = (np.array(corner) for corner in gate.workspace)
    if not (low < high).all():
        raise ContractError(
            problem("gate.workspace", "[lowest, highest] corner", gate.workspace, "swap them")
        )
    return Workspace(chains, low, high)


def _joints(path: Path) -> dict[str, ElementTree.Element]:
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ContractError(
            problem("gate.urdf", f"a URDF at {path}", error, "correct the path or the file")
        ) from error
    return {str(joint.get("name")): joint for joint in root.findall("joint")}


def _find(joints: dict[str, ElementTree.Element], side: str, name: str) -> str:
    """A joint's name in the URDF: as in the driver, or with the arm before it."""
    candidates = (name, f"{side}_{name}", f"{side}/{name}")
    return next((item for item in candidates if item in joints), name)


def _chain(joints: dict[str, ElementTree.Element], tip: str) -> list[str]:
    """Names of the joints from the root to a tip."""
    by_child = {_attribute(joint, "child", "link", ""): name for name, joint in joints.items()}
    chain: list[str] = []
    name: str | None = tip if tip in joints else None
    while name is not None and name not in chain:
        chain.append(name)
        name = by_child.get(_attribute(joints[name], "parent", "link", ""))
    return chain[::-1]


def _attribute(joint: ElementTree.Element, tag: str, key: str, default: str) -> str:
    element = joint.find(tag)
    return default if element is None else element.get(key, default)


def _numbers(text: str) -> Vector:
    return np.array([float(part) for part in text.split()])


def _link(joint: ElementTree.Element, column: int) -> Link:
    origin = np.eye(4)
    roll, pitch, yaw = _numbers(_attribute(joint, "origin", "rpy", "0 0 0"))
    x, y, z = np.eye(3)
    origin[:3, :3] = _turn(z, yaw) @ _turn(y, pitch) @ _turn(x, roll)
    origin[:3, 3] = _numbers(_attribute(joint, "origin", "xyz", "0 0 0"))
    axis = _numbers(_attribute(joint, "axis", "xyz", "1 0 0"))
    return Link(origin, axis / np.linalg.norm(axis), joint.get("type") == "prismatic", column)
