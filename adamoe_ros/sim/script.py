# SPDX-License-Identifier: Apache-2.0
"""An expert's way points for both arms, timed so that speed and acceleration stay gentle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import itemgetter

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.kinematics import GripperPose, solve_arm
from adamoe_ros.sim.robot import CLOSED, HOME, OPEN, DualArm

Vector = NDArray[np.float64]
LEFT, RIGHT = 0, 1
_REACHED = 0.002  # m
_FOREARM, _TURNED = 3, 1.0  # joint; rad
_RATE = 50.0  # Hz, rows per second
# Peaks of the motion between two way points; about half of what the robot's profile allows.
_ARM_SPEED, _ARM_ACCELERATION = 1.5, 8.0  # rad/s, rad/s2
_GRIP_SPEED, _GRIP_ACCELERATION = 0.1, 2.0  # m/s, m/s2
# Elbow up and wrist bent: away from the straight wrist, where forearm and wrist can turn by half a
# turn from one episode to the next.
_SEARCH_START = np.array([0.0, -0.3, 0.6, 0.0, 0.6, 0.0])


class Script:
    """Collects way points from the home pose on; both arms arrive at each one together."""

    def __init__(self, model: mujoco.MjModel, robot: DualArm) -> None:
        self._model, self._robot = model, robot
        self._search = [_SEARCH_START.copy(), _SEARCH_START.copy()]
        self._points: list[tuple[int, Vector]] = [(0, HOME.copy())]
        self.missing = 0.0  # m: the farthest that a way point was out of reach

    def move(self, poses: Mapping[int, GripperPose], slow: float = 1.0) -> None:
        """Bring grippers (side -> pose) to poses; the other arm rests.

        Args:
            slow: how many times longer than the limits ask for.
        """
        row = self._points[-1][1].copy()
        for side, pose in poses.items():
            joints = self._joints(side, pose)
            self._search[side] = joints
            row[7 * side : 7 * side + 6] = joints
        self._go(row, slow)

    def _joints(self, side: int, pose: GripperPose) -> Vector:
        """The solution next to where the arm is, unless it is a dead end or turns the forearm."""
        found = []
        for start in (self._search[side], _SEARCH_START):
            joints, missing = solve_arm(self._model, self._robot, side, pose, start)
            found.append((missing > _REACHED, abs(joints[_FOREARM]), missing, joints))
            if missing < _REACHED and abs(joints[_FOREARM]) < _TURNED:
                break
        _, _, missing, joints = min(found, key=itemgetter(0, 1))
        self.missing = max(self.missing, missing)
        return joints

    def _go(self, row: Vector, slow: float = 1.0) -> None:
        tick, before = self._points[-1]
        way = np.abs(row - before)
        fingers = [6, 13]
        arms = np.delete(way, fingers).max()
        # peaks of the cubic between two rests over T: speed 1.5 d/T, acceleration 6 d/T^2
        needed = max(
            1.5 * arms / _ARM_SPEED,
            np.sqrt(6 * arms / _ARM_ACCELERATION),
            1.5 * way[fingers].max() / _GRIP_SPEED,
            np.sqrt(6 * way[fingers].max() / _GRIP_ACCELERATION),
        )
        self._points.append((tick + max(4, int(np.ceil(needed * slow * _RATE))), row))

    def _set_grip(self, width: float, sides: tuple[int, ...]) -> None:
        row = self._points[-1][1].copy()
        row[[7 * side + 6 for side in sides]] = width
        self._go(row)
        self.wait(6)  # the fingers settle

    def close(self, *sides: int) -> None:
        """Close grippers."""
        self._set_grip(CLOSED, sides)

    def open(self, *sides: int, width: float = OPEN) -> None:
        """Open grippers, fully or up to ``width`` m."""
        self._set_grip(width, sides)

    def wait(self, ticks: int) -> None:
        """Stay."""
        tick, row = self._points[-1]
        self._points.append((tick + ticks, row))

    def rows(self) -> Vector:
        """(T, 14) targets, 50 Hz."""
        return through(self._points)


def through(points: Sequence[tuple[int, Vector]]) -> Vector:
    """Rows from the first tick to before the last one, at rest at every way point.

    Args:
        points: (tick, (J,) joints), ticks ascending.

    Returns:
        (last tick - first tick, J).
    """
    parts = []
    for (start, before), (end, after) in pairwise(points):
        share = (np.arange(end - start) / max(1, end - start))[:, None]
        smooth = share * share * (3 - 2 * share)
        parts.append(before + (after - before) * smooth)
    return np.concatenate(parts)
