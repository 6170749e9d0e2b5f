# SPDX-License-Identifier: Apache-2.0
"""The scripted expert's episodes: clean targets, on half of them disturbed execution.

An episode can begin in the middle of another instruction: a policy has to know what to do when the sentence
changes while the arms are on their way.
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
_ON_THE_WAY = (15, 60)  # ticks that another instruction was followed: the hands are not down yet
_REJOIN = 80  # ticks until the arms are on the new path


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


def rejoined(actions: Vector, now: Vector, ticks: int = _REJOIN) -> Vector:
    """Targets that begin where the arms are and lead into a plan.

    Args:
        actions: (T, 14) plan. now: (14,) present targets.
        ticks: until the plan is met.
    """
    share = np.clip(np.arange(len(actions)) / ticks, 0, 1)
    rest = 1 - share**2 * (3 - 2 * share)
    return actions + rest[:, None] * (now - actions[0])


def phrasing(sim: BimanualSim, seed: int) -> str:
    """One of the training's phrasings of what the present episode asks for, drawn from a seed."""
    ways = sim.phrasings()
    return ways[int(np.random.default_rng((seed, 4)).integers(len(ways)))]


def follow_another(sim: BimanualSim, rng: np.random.Generator) -> None:
    """Begin to do what the episode does not ask for, until the hands are on their way."""
    wanted, language = sim.instruction, sim.task.language
    others = language.others(sim.task.meaning) or (sim.task.meaning,)
    sim.ask(language.sentences(others[int(rng.integers(len(others)))])[0])
    for target in sim.plan()[: int(rng.integers(*_ON_THE_WAY))]:
        sim.set_targets(target)
        sim.advance()
    sim.ask(wanted)


@dataclass(frozen=True)
class PlannedEpisode:
    """An episode that is about to be played.

    Attributes:
        steps: (F,) kept ticks. actions: (T, 14) targets. offsets: (T, 14) what disturbs them.
    """

    steps: NDArray[np.int64]
    actions: Vector
    offsets: Vector


def prepare(
    sim: BimanualSim,
    seed: int,
    every: int,
    noise: float = 0.0,
    instruction: str | None = None,
    changed: bool = False,
) -> PlannedEpisode:
    """Set up the scene of a seed and plan; arguments as ``run_expert``.

    Args:
        instruction: sentence; None: drawn from the seed.
        changed: the arms followed another sentence before.

    Raises:
        ContractError: the sentence is none of the task's.
    """
    sim.reset(seed, instruction)
    rng = np.random.default_rng((seed, 1))
    if changed:
        follow_another(sim, np.random.default_rng((seed, 5)))
    actions = rejoined(sim.plan(), sim.targets)
    offsets = disturbance(len(actions), noise, rng)
    steps = np.arange(int(rng.integers(every)), len(actions), every)
    return PlannedEpisode(steps, actions, offsets)


def play(sim: BimanualSim, planned: PlannedEpisode) -> Iterator[int]:
    """Execute to the end; yields every kept tick, before its target is given."""
    kept = set(planned.steps.tolist())
    for tick, target in enumerate(planned.actions + planned.offsets):
        if tick in kept:
            yield tick
        sim.set_targets(target)
        sim.advance()


def run_expert(
    sim: BimanualSim,
    seed: int,
    every: int,
    capture: Callable[[], dict[str, NDArray[np.uint8]]] | None,
    noise: float = 0.0,
    changed: bool = False,
) -> DemonstrationEpisode:
    """One episode, kept in memory.

    Args:
        every: ticks between kept frames; the first is drawn from 0 ... every - 1.
        capture: takes the pictures of a kept frame; None: none are taken.
        noise: standard deviation of the disturbance, rad (0.01 is about 1 cm at the hand).
        changed: the arms followed another sentence before.
    """
    planned = prepare(sim, seed, every, noise, changed=changed)
    states, goals, views = [], [], []
    for _ in play(sim, planned):
        states.append(sim.measured()[0])
        goals.append(sim.goal_points())
        views.append(capture() if capture else {})
    images = {slot: np.stack([view[slot] for view in views]) for slot in views[0]}
    return DemonstrationEpisode(
        planned.steps, images, np.stack(states), planned.actions, np.stack(goals), sim.success()
    )
