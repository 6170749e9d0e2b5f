# SPDX-License-Identifier: Apache-2.0
"""Insert the peg of the named colour into the socket, in the air: one arm holds each."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.kinematics import GripperPose, downward
from adamoe_ros.sim.robot import DualArm
from adamoe_ros.sim.scene import add_box
from adamoe_ros.sim.script import LEFT, RIGHT, Script
from adamoe_ros.sim.tasks.base import Language, SuiteTask, every
from adamoe_ros.sim.tasks.grasping import (
    GRASP_HEIGHT,
    PITCH,
    body_yaw,
    holders,
    position,
    reaching_yaw,
    take,
)
from adamoe_ros.sim.tasks.objects import (
    RGB,
    add_distractors,
    paint,
    place_distractors,
    put,
)

Vector = NDArray[np.float64]
_PEGS = ("red", "blue")
_PEG = (0.06, 0.01, 0.01)  # m, half sizes
_SOCKET = "socket"
_LENGTH, _HOLE, _WALL = 0.05, 0.018, 0.002  # m, half sizes; the hole runs along x
_SOCKET_RGB = (0.9, 0.9, 0.85)
_DEEP = 0.03  # m of the peg that have to be inside
_MEETING = np.array([0.0, 0.5, 0.2])  # m, the mouth of the hole when the peg goes in
_OUTER = 0.015  # m from the middle of either part to its grasp, away from the other part
_GAP = 0.05  # m between the parts before they are put together
_INSERT = 0.04  # m that the peg goes in


def _peg(colour: str) -> str:
    return f"{colour}_peg"


class InsertPeg(SuiteTask):
    """See ``sim.tasks.base.Task``."""

    name = "insert_peg"
    tolerance = 0.4
    language = Language(
        every(colour=_PEGS),
        phrasings=(
            "insert the {colour} peg into the socket",
            "put the {colour} peg into the hole of the socket",
            "take the {colour} peg and push it into the socket",
        ),
        unseen=(
            "place the {colour} peg in the socket",
            "push the {colour} peg into the hole",
        ),
    )

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """Two pegs, a square tube."""
        for colour in _PEGS:
            add_box(spec, _peg(colour), _PEG, (*RGB[colour], 1), mass=0.05)
        _add_socket(spec)
        add_distractors(spec)

    def place(self, model: mujoco.MjModel, data: Any, rng: np.random.Generator) -> None:
        """Pegs on the right in two rows, the socket on the left."""
        rows = np.array([0.43, 0.57])[rng.permutation(2)] + rng.uniform(-0.015, 0.015, 2)
        places = [(rng.uniform(0.12, 0.17), row) for row in rows]
        for colour, where in zip(_PEGS, places, strict=True):
            put(model, data, _peg(colour), (*where, _PEG[2]), rng.uniform(-0.25, 0.25))
            paint(model, rng, _peg(colour), RGB[colour])
        where = (rng.uniform(-0.18, -0.12), rng.uniform(0.44, 0.56))
        put(model, data, _SOCKET, (*where, _HOLE + 2 * _WALL), rng.uniform(-0.25, 0.25))
        paint(model, rng, _SOCKET, _SOCKET_RGB)
        place_distractors(model, data, rng, np.array([*places, where]), gap=0.14)

    def _grasp(self, model: mujoco.MjModel, data: Any, side: int) -> GripperPose:
        body = _SOCKET if side == LEFT else _peg(self.meaning["colour"])
        where = position(model, data, body)
        yaw = reaching_yaw(side, where, body_yaw(model, data, body), np.pi)
        outer = where - _OUTER * np.array([np.cos(yaw), np.sin(yaw), 0.0])
        return downward(np.array([*outer[:2], GRASP_HEIGHT]), yaw, PITCH)

    def goal_points(self, model: mujoco.MjModel, data: Any) -> Vector:
        """Socket and peg."""
        return np.concatenate(
            [position(model, data, body) for body in (_SOCKET, _peg(self.meaning["colour"]))]
        )

    def success(self, model: mujoco.MjModel, data: Any) -> bool:
        """The tip is deep in the hole, both parts are in the air, each in its hand."""
        peg = _peg(self.meaning["colour"])
        tip = _tip_in_socket(model, data, peg)
        return bool(
            tip[0] < _LENGTH - _DEEP
            and np.abs(tip[1:]).max() < _HOLE
            and min(position(model, data, body)[2] for body in (peg, _SOCKET)) > 0.08
            and holders(model, data, peg) == {RIGHT}
            and holders(model, data, _SOCKET) == {LEFT}
        )

    def plan(self, model: mujoco.MjModel, data: Any, robot: DualArm) -> Vector:
        """Take both, bring them in line, put them together."""
        grasps = {side: self._grasp(model, data, side) for side in (LEFT, RIGHT)}
        script = Script(model, robot)
        take(script, grasps)
        # grasp centres stand above the middles of the parts, as far as they did on the table
        above_socket = GRASP_HEIGHT - (_HOLE + 2 * _WALL)
        above_peg = GRASP_HEIGHT - _PEG[2]
        hold = downward(_MEETING + np.array([-_LENGTH - _OUTER, 0, above_socket]), 0.0, PITCH)

        def peg_at(distance: float) -> GripperPose:
            grasp = _MEETING + np.array([distance + _PEG[0] + _OUTER, 0, above_peg])
            return downward(grasp, np.pi, PITCH)

        script.move({LEFT: hold, RIGHT: peg_at(_GAP)}, slow=1.3)
        script.wait(10)
        for distance in (0.0, -0.5 * _INSERT, -_INSERT):
            script.move({RIGHT: peg_at(distance)}, slow=2.0)
        script.wait(50)
        return script.rows()


def _add_socket(spec: mujoco.MjSpec) -> None:
    """Four walls around a square hole along x."""
    add_box(spec, _SOCKET, (_LENGTH, _HOLE + 2 * _WALL, _WALL), (*_SOCKET_RGB, 1), mass=0.05)
    off = _HOLE + _WALL
    floor = spec.geom(f"{_SOCKET}_geom")
    floor.pos = [0, 0, -off]
    for name, size, where in (
        ("lid", (_LENGTH, _HOLE + 2 * _WALL, _WALL), [0, 0, off]),
        ("near", (_LENGTH, _WALL, _HOLE), [0, -off, 0]),
        ("far", (_LENGTH, _WALL, _HOLE), [0, off, 0]),
    ):
        spec.body(_SOCKET).add_geom(
            name=f"{_SOCKET}_{name}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=size,
            pos=where,
            rgba=floor.rgba,
            condim=4,
            friction=floor.friction,
            solref=floor.solref,
            solimp=floor.solimp,
        )


def _tip_in_socket(model: mujoco.MjModel, data: Any, peg: str) -> Vector:
    """(3,) the peg's left end in the socket's frame, m; the mouth is at x = ``_LENGTH``."""
    frame = data.xmat[model.body(_SOCKET).id].reshape(3, 3)
    along = data.xmat[model.body(peg).id].reshape(3, 3)[:, 0]
    tip = position(model, data, peg) - along * np.copysign(_PEG[0], along[0])
    return (tip - position(model, data, _SOCKET)) @ frame * np.array([np.sign(frame[0, 0]), 1, 1])
