# SPDX-License-Identifier: Apache-2.0
"""The scripted expert's episodes: clean targets, on half of them disturbed execution.

May import: numpy, sim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.bimanual import BimanualSim

Vector = NDArray[np.float64]
_MEMORY = 0.95  # of the disturbance from one tick to the next
_GRIPPERS = (6, 13)


@dataclass(frozen=True)
class DemonstrationEpisode:
    """What was seen at the kept ticks, and what the expert wanted at all of them.

    Attributes:
        steps: (F,) kept ticks.
        images: camera slot -> (F, h, w, 3) uint8.
        state: (F, 14) measured positions. actions: (T, 14) targets, undisturbed.
        goals: (F, G) the task's goal points, m.
        success: judgement at the end.
    """

    steps: NDArray[np.int64]
    images: dict[str, NDArray[np.uint8]]
    state: Vector
    actions: Vector
    goals: Vector
    success: bool


def disturbance(ticks: int, size: float, rng: np.random.Generator) -> Vector:
    """(ticks, 14) smooth random offsets of standard deviation ``size`` rad; grippers 0."""
    kicks = rng.standard_normal((ticks, 14)) * size * np.sqrt(1 - _MEMORY**2)
    offsets = np.zeros_like(kicks)
    for tick in range(1, ticks):
        offsets[tick] = _MEMORY * offsets[tick - 1] + kicks[tick]
    offsets[:, _GRIPPERS] = 0
    return offsets


@dataclass(frozen=True)
class Showing:
    """An episode that is about to be shown.

    Attributes:
        steps: (F,) kept ticks. actions: (T, 14) targets. offsets: (T, 14) what disturbs them.
    """

    steps: NDArray[np.int64]
    actions: Vector
    offsets: Vector


def prepare(
    sim: BimanualSim, seed: int, every: int, noise: float = 0.0, instruction: str | None = None
) -> Showing:
    """Set up the scene of a seed and plan; arguments as ``run_expert``.

    Args:
        instruction: sentence; None: drawn from the seed.

    Raises:
        ContractError: the sentence is none of the task's.
    """
    sim.reset(seed, instruction)
    rng = np.random.default_rng((seed, 1))
    actions = sim.plan()
    offsets = disturbance(len(actions), noise, rng)
    steps = np.arange(int(rng.integers(every)), len(actions), every)
    return Showing(steps, actions, offsets)


def play(sim: BimanualSim, showing: Showing) -> Iterator[int]:
    """Execute to the end; yields every kept tick, before its target is given."""
    kept = set(showing.steps.tolist())
    for tick, target in enumerate(showing.actions + showing.offsets):
        if tick in kept:
            yield tick
        sim.set_targets(target)
        sim.advance()


def run_expert(
    sim: BimanualSim,
    seed: int,
    every: int,
    look: Callable[[], dict[str, NDArray[np.uint8]]] | None,
    noise: float = 0.0,
) -> DemonstrationEpisode:
    """One episode, kept in memory.

    Args:
        every: ticks between kept frames; the first is drawn from 0 ... every - 1.
        look: takes the pictures of a kept frame; None: none are taken.
        noise: standard deviation of the disturbance, rad (0.01 is about 1 cm at the hand).
    """
    showing = prepare(sim, seed, every, noise)
    states, goals, views = [], [], []
    for _ in play(sim, showing):
        states.append(sim.measured()[0])
        goals.append(sim.goal_points())
        views.append(look() if look else {})
    images = {slot: np.stack([view[slot] for view in views]) for slot in views[0]}
    return DemonstrationEpisode(
        showing.steps, images, np.stack(states), showing.actions, np.stack(goals), sim.success()
    )
