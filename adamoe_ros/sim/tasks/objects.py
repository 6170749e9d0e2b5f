# SPDX-License-Identifier: Apache-2.0
"""Things on the table: coloured cubes, painted marks, distractors, and where they may lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.scene import add_box

Vector = NDArray[np.float64]
Points = NDArray[np.float64]
COLOURS = ("red", "green", "blue")
# dark enough that the side which faces the lamps still shows its colour
RGB = {"red": (0.7, 0.04, 0.04), "green": (0.04, 0.5, 0.08), "blue": (0.04, 0.12, 0.75)}
CUBE = 0.02  # m, half an edge
# kg m2: four times a real cube's; with 0.002, as in gym-aloha, a pushed cube rocks and creeps on
_INERTIA = 5e-5
_SHADE = 0.2  # brightness within 1 +- this factor
_TINT = 0.03  # how far each channel may be off besides
_MARK = 0.0006  # m, half the thickness of paint
_PARKED = -0.6  # m, height of what does not take part: below the table, unseen, weightless
# none has a colour, or a shape, that a sentence names; half sizes in m
_DISTRACTORS = {
    "grey_plate": ((0.03, 0.03, 0.006), (0.42, 0.42, 0.42)),
    "purple_stick": ((0.035, 0.01, 0.01), (0.45, 0.12, 0.5)),
}


def add_cube(spec: mujoco.MjSpec, name: str, rgb: Sequence[float]) -> None:
    """A cube of 4 cm and 50 g."""
    add_box(spec, name, (CUBE,) * 3, (*rgb, 1), mass=0.05, inertia=_INERTIA)


def add_mark(
    spec: mujoco.MjSpec, name: str, half_size: tuple[float, float], rgb: Sequence[float]
) -> None:
    """Paint on the table: touches nothing, and lies where its free joint says.

    A joint, so that ``BimanualSim.state`` holds its place like everything else's.
    """
    body = spec.worldbody.add_body(name=name, pos=[0, 0.5, _MARK], gravcomp=1)
    body.add_freejoint(name=f"{name}_joint")
    body.explicitinertial = True
    body.mass, body.ipos, body.iquat = 0.05, [0, 0, 0], [1, 0, 0, 0]
    body.inertia = [0.002, 0.002, 0.002]
    body.add_geom(
        name=f"{name}_geom",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[*half_size, _MARK],
        rgba=[*rgb, 1],
        contype=0,
        conaffinity=0,
    )


def add_distractors(spec: mujoco.MjSpec) -> None:
    """What may lie about; ``place_distractors`` decides how much of it."""
    for name, (size, rgb) in _DISTRACTORS.items():
        add_box(spec, name, size, (*rgb, 1), mass=0.05, inertia=_INERTIA)
        spec.body(name).gravcomp = 1


def put(
    model: mujoco.MjModel, data: Any, body: str, where: Sequence[float] | Vector, turn: float = 0.0
) -> None:
    """Set a free body's place (x, y, z in m) and turn about the vertical (rad)."""
    first = int(model.joint(f"{body}_joint").qposadr[0])
    data.qpos[first : first + 7] = [*where, np.cos(turn / 2), 0, 0, np.sin(turn / 2)]


def put_cube(
    model: mujoco.MjModel, data: Any, body: str, where: Sequence[float] | Vector, turn: float
) -> None:
    """Set a cube (x, y in m) on the table."""
    put(model, data, body, (where[0], where[1], CUBE), turn)


def put_mark(model: mujoco.MjModel, data: Any, body: str, where: Sequence[float] | Vector) -> None:
    """Lay a mark (x, y in m) on the table."""
    put(model, data, body, (where[0], where[1], _MARK))


def spread(
    rng: np.random.Generator,
    count: int,
    low: Sequence[float],
    high: Sequence[float],
    gap: float,
    taken: Points | None = None,
) -> Points:
    """(count, 2) random places in a rectangle, at least ``gap`` m from each other and ``taken``.

    Raises:
        ValueError: there is no room (the rectangle is too small for the gap).
    """
    others = np.zeros((0, 2)) if taken is None else np.asarray(taken)[:, :2]
    for _ in range(1000):
        found = rng.uniform(low, high, (count, 2))
        known = np.concatenate([others, found])
        apart = np.linalg.norm(found[:, None] - known[None], axis=-1)
        apart[np.arange(count), len(others) + np.arange(count)] = np.inf
        if apart.min() >= gap:
            return found
    raise ValueError(f"no room for {count} things {gap} m apart between {low} and {high}")


def place_distractors(
    model: mujoco.MjModel, data: Any, rng: np.random.Generator, taken: Points, gap: float = 0.11
) -> None:
    """None, one or two of them, away from ``taken`` ((N, 2), m); the rest is put aside."""
    wanted = int(rng.integers(len(_DISTRACTORS) + 1))
    names = [list(_DISTRACTORS)[index] for index in rng.permutation(len(_DISTRACTORS))]
    places = spread(rng, wanted, (-0.28, 0.32), (0.28, 0.72), gap, taken) if wanted else ()
    for index, name in enumerate(names):
        body = model.body(name).id
        size, rgb = _DISTRACTORS[name]
        present = index < wanted
        model.body_gravcomp[body] = 0.0 if present else 1.0
        if present:
            where = (*places[index], size[2])
            put(model, data, name, where, rng.uniform(-np.pi, np.pi))
        else:
            put(model, data, name, (0.2 * index, 0.6, _PARKED))
        paint(model, rng, name, rgb)


def paint(model: mujoco.MjModel, rng: np.random.Generator, body: str, rgb: Sequence[float]) -> None:
    """Give a body's geoms a random shade of a colour."""
    shade = np.asarray(rgb) * rng.uniform(1 - _SHADE, 1 + _SHADE)
    shade = np.clip(shade + rng.uniform(-_TINT, _TINT, 3), 0, 1)
    first = model.body(body).geomadr[0]
    model.geom_rgba[first : first + model.body(body).geomnum[0], :3] = shade
