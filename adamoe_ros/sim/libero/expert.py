# SPDX-License-Identifier: Apache-2.0
"""Scripted demonstrations: pick one thing up, put it where the task's goal says, by increments alone.

Everything is steered from what is seen at that step, so that a row is the right one for its state also
where the execution is disturbed. Points are in m, of the world.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.libero.world import LiberoWorld

Vector = NDArray[np.float64]
OPEN, CLOSED = -1.0, 1.0
_LARGEST_STEP, _LARGEST_TURN = 0.05, 0.5  # m and rad of an action of 1
_GAIN = 4.0  # of the distance, so that the arm does not creep towards its goal
_WIDEST = 0.076  # m between the fingers
_CLEAR = 0.12  # m above the goal's top while something is carried
_FINGER = 0.03  # m from the grip point to the palm
_MEMORY = 0.9  # of the disturbance from one step to the next
_SHIFTS = (0.0, 0.25, -0.25)  # of a thing's length, away from its middle
_LONGEST, _STALLED = 80, 8  # steps of one move; without progress
_PROGRESS = 0.002  # m, or a tenth of rad
_ATTEMPTS = 3
_LOST = 0.03  # m that a thing must have been lifted, else it slipped


@dataclass(frozen=True)
class Grasp:
    """Where the fingers close: point between their tips, turn of the hand about z, width."""

    point: Vector
    turn: float
    width: float


class Ended(Exception):
    """LIBERO's judge is content, or the steps are used up."""


class Expert:
    """One demonstration.

    Args:
        world: after ``begin``.
        noise: standard deviation of what disturbs the execution, share of the largest step.
        most: steps.

    Attributes:
        states, actions, objects, snapshots: before each step; actions undisturbed; objects (6,), m:
            middle of the thing and of where it goes.
        success: LIBERO's judgement. attempts: at gripping.
    """

    def __init__(self, world: LiberoWorld, noise: float, seed: int, most: int) -> None:
        self._world, self._noise, self._most = world, noise, most
        self._rng = np.random.default_rng((seed, 11))
        self._drift = np.zeros(3)
        self.states: list[Vector] = []
        self.actions: list[Vector] = []
        self.objects: list[Vector] = []
        self.snapshots: list[Vector] = []
        self.success, self.attempts = False, 0
        self._model = world.env.sim.model._model
        self._data = world.env.sim.data._data
        goal = world.env.env.parsed_problem["goal_state"][0]
        self._thing, self._place = str(goal[1]), str(goal[2])
        self._upright = self._hand()[1].copy()

    def run(self) -> None:
        """To the end; a thing that slipped is gripped again, turned otherwise."""
        try:
            for attempt in range(_ATTEMPTS):
                self.attempts += 1
                before = self._points(self._thing)[:, 2].min()
                self._pick(self._grasp(attempt))
                if self._points(self._thing)[:, 2].min() - before > _LOST:
                    self._put()
        except Ended:
            pass

    # --- what is done -----------------------------------------------------------------------------

    def _pick(self, grasp: Grasp) -> None:
        above = grasp.point + np.array([0.0, 0.0, 0.09])
        self._move(above, grasp.turn, OPEN, near=0.006)  # else a finger comes down on the thing
        self._move(grasp.point, grasp.turn, OPEN, near=0.006)
        self._wait(CLOSED, 8)
        top = max(self._place_top() + _CLEAR, grasp.point[2] + 0.08)
        lifted = np.array([*grasp.point[:2], top])
        self._move(lifted, grasp.turn, CLOSED, near=0.03)

    def _put(self) -> None:
        turn = self._turn()
        for height, near in ((_CLEAR, 0.02), (self._drop(), 0.01)):
            bottom = self._points(self._thing)[:, 2].min()
            target = self._hand()[0].copy()
            target[:2] += (self._place_point() - self._middle(self._thing))[:2]
            target[2] += self._place_top() + height - bottom
            self._move(target, turn, CLOSED, near)
        self._wait(OPEN, 8)
        self._move(self._hand()[0] + np.array([0.0, 0.0, 0.1]), turn, OPEN, near=0.03)

    def _drop(self) -> float:
        """m above the goal's top from which the thing is let go; into a basket, at its rim."""
        return -0.02 if "contain" in self._place else 0.005

    def _move(self, target: Vector, turn: float, gripper: float, near: float) -> None:
        left: list[float] = []
        for _ in range(_LONGEST):
            position, matrix = self._hand()
            wanted = _about_z(turn) @ self._upright
            error = _rotation_vector(wanted @ matrix.T)
            away = target - position
            if np.linalg.norm(away) < near and np.linalg.norm(error) < 0.1:
                return
            left.append(float(np.linalg.norm(away) + 0.1 * np.linalg.norm(error)))
            if len(left) > _STALLED and left[-1 - _STALLED] - left[-1] < _PROGRESS:
                return  # something is in the way
            turned = _GAIN * error / _LARGEST_TURN
            self._act(np.concatenate([_GAIN * away / _LARGEST_STEP, turned, [gripper]]))

    def _wait(self, gripper: float, steps: int) -> None:
        for _ in range(steps):
            self._act(np.array([0.0] * 6 + [gripper]))

    def _act(self, action: Vector) -> None:
        if len(self.actions) >= self._most:
            raise Ended
        clean = np.clip(action, -1.0, 1.0)
        kick = self._rng.standard_normal(3) * self._noise * np.sqrt(1 - _MEMORY**2)
        self._drift = _MEMORY * self._drift + kick
        self.states.append(self._world.state())
        self.objects.append(np.concatenate([self._middle(self._thing), self._place_point()]))
        self.snapshots.append(self._world.snapshot())
        self.actions.append(clean)
        disturbed = clean + np.concatenate([self._drift, np.zeros(4)])
        self.success = self._world.act(np.clip(disturbed, -1.0, 1.0))
        if self.success:
            raise Ended

    # --- what is seen -----------------------------------------------------------------------------

    def _hand(self) -> tuple[Vector, Vector]:
        """(3,) point between the finger tips and (3, 3) rotation of the hand."""
        site = self._model.site("gripper0_grip_site").id
        return self._data.site_xpos[site], self._data.site_xmat[site].reshape(3, 3)

    def _turn(self) -> float:
        """rad about z since the beginning."""
        change = self._hand()[1] @ self._upright.T
        return float(np.arctan2(change[1, 0], change[0, 0]))

    def _points(self, name: str) -> Vector:
        """(N, 3) corners of a thing's geoms."""
        root = self._world.env.env.obj_body_id[name]
        model = self._model
        own = model.body_rootid[model.geom_bodyid] == root
        solid = own & (model.geom_contype != 0)
        geoms = np.flatnonzero(solid if solid.any() else own)
        return np.concatenate([self._corners(geom) for geom in geoms])

    def _middle(self, name: str) -> Vector:
        """(3,) of the box around a thing."""
        points = self._points(name)
        return np.asarray((points.min(0) + points.max(0)) / 2)

    def _corners(self, geom: np.intp) -> Vector:
        model, data = self._model, self._data
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
            mesh = model.geom_dataid[geom]
            first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
            local = model.mesh_vert[first : first + count]
        else:
            centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
            signs = np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T
            local = centre + signs * half
        turned = local @ data.geom_xmat[geom].reshape(3, 3).T
        return np.asarray(turned + data.geom_xpos[geom], np.float64)

    def _owner(self) -> str:
        """The thing that the goal's region belongs to."""
        known = self._world.env.env.obj_body_id
        return next(name for name in known if self._place.startswith(name))

    def _place_point(self) -> Vector:
        """(3,) middle of where the thing goes."""
        site = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_SITE, self._place)
        if site >= 0:
            return np.array(self._data.site_xpos[site])
        return self._middle(self._owner())

    def _place_top(self) -> float:
        return float(self._points(self._owner())[:, 2].max())

    # --- where it is gripped ----------------------------------------------------------------------

    def _grasp(self, attempt: int) -> Grasp:
        """The narrowest way that the fingers reach; another one after a failed attempt."""
        points = self._points(self._thing)
        low, high = points[:, 2].min(), points[:, 2].max()
        fingers = self._closing()
        found = []
        ways = product(np.radians(np.arange(-90, 91, 15)), _SHIFTS)
        for turn, shift in ways:
            across = _about_z(turn)[:2, :2] @ fingers
            reach = points[:, :2] @ across
            width, middle = np.ptp(reach), (reach.max() + reach.min()) / 2
            along = np.array([-across[1], across[0]])
            side = points[:, :2] @ along
            rest = (side.max() + side.min()) / 2 + shift * np.ptp(side)
            point = np.array([*(across * middle + along * rest), 0.0])
            if width > _WIDEST:  # a bowl: one finger inside, over its rim
                point[:2] = across * (reach.max() - 0.006) + along * rest
                cost, height = 1.0, high - 0.9 * _FINGER
            else:
                cost, height = 0.0, max((low + high) / 2, high - 0.8 * _FINGER, low + 0.012)
            point[2] = height
            cost += 10 * width + 0.1 * abs(turn) + abs(shift) + self._crowd(point, across)
            found.append((cost, Grasp(point, float(turn), float(width))))
        found.sort(key=lambda pair: pair[0])
        fitting = [grasp for _, grasp in found if grasp.width <= _WIDEST]
        choice = fitting or [grasp for _, grasp in found]
        return choice[(2 * attempt) % len(choice)]

    def _closing(self) -> Vector:
        """(2,) unit vector from finger to finger at the beginning."""
        ends = [
            self._data.xpos[self._model.body(name).id]
            for name in ("gripper0_leftfinger", "gripper0_rightfinger")
        ]
        level = _about_z(-self._turn())[:2, :2] @ (ends[1] - ends[0])[:2]
        return np.asarray(level / np.linalg.norm(level))

    def _crowd(self, point: Vector, across: Vector) -> float:
        """1 for each neighbour that an open finger or the palm would come down on."""
        along = np.array([-across[1], across[0]])
        hits = 0
        for name in self._world.env.env.objects_dict:
            if name in (self._thing, self._owner()):
                continue
            others = self._points(name)
            above = others - point
            sideways, ahead = np.abs(above[:, :2] @ across), np.abs(above[:, :2] @ along)
            finger = (above[:, 2] > -0.01) & (sideways > 0.03) & (sideways < 0.06) & (ahead < 0.02)
            palm = (above[:, 2] > _FINGER) & (sideways < 0.11) & (ahead < 0.045)
            hits += bool((finger | palm).any())
        return float(hits)


def demonstrate(
    world: LiberoWorld,
    seed: int,
    noise: float = 0.0,
    most: int = 270,
    initial: int | None = None,
    pictures: bool = True,
) -> dict[str, Any]:
    """A scene of a seed, and the expert in it.

    Args:
        initial: number of LIBERO's initial state; None: the scene is drawn from the seed.
        noise: see ``Expert``. most: steps.
        pictures: of a success; a failure has none.

    Returns:
        ``success``, ``attempts``, ``states`` (N, 8), ``actions`` (N, 7), ``objects`` (N, 6), and ``pictures``,
        camera -> (N, size, size, 3).
    """
    world.begin(seed, initial)
    expert = Expert(world, noise, seed, most)
    expert.run()
    shown = [world.show(moment) for moment in expert.snapshots if pictures and expert.success]
    return {
        "success": expert.success,
        "attempts": expert.attempts,
        "states": np.array(expert.states),
        "actions": np.array(expert.actions),
        "objects": np.array(expert.objects),
        "pictures": {name: np.stack([one[name] for one in shown]) for name in (shown or [{}])[0]},
    }


def _about_z(angle: float) -> Vector:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _rotation_vector(matrix: Vector) -> Vector:
    """(3,) axis times angle, below pi."""
    angle = np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1.0, 1.0))
    skew = np.array(
        [matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]
    )
    return np.asarray(skew / 2 if angle < 1e-6 else skew * angle / (2 * np.sin(angle)))
