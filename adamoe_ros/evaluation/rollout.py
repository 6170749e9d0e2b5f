# SPDX-License-Identifier: Apache-2.0
"""One episode of a policy in a scene, in this process and faster than real time.

May import: contract, numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.observation import Observation
from adamoe_ros.evaluation.execution import ChunkTimeline, ExecutionPlan

Vector = NDArray[np.float64]


class Scene(Protocol):
    """A simulated robot with a task; vectors in the checkpoint's order and units."""

    rate_hz: float

    def reset(self, seed: int) -> str:
        """A new episode, everything random follows from the seed; returns its sentence."""

    def images(self) -> Mapping[str, NDArray[np.uint8]]:
        """Camera slot -> (H, W, 3) RGB, now."""

    def state(self) -> Vector:
        """(J,) measured positions."""

    def advance(self, command: Vector) -> None:
        """Hold (J,) targets for one tick."""

    def success(self) -> bool:
        """Judgement of the simulator, now."""


# what a policy does: observation, random seed of this inference -> (H, J) rows
Infer = Callable[[Observation, int], Vector]


@dataclass(frozen=True)
class EpisodeResult:
    """What one episode came to.

    Attributes:
        success: the simulator's judgement held at ``ticks``.
        ticks: control ticks until success was settled, or the limit.
        inferences: chunks that were made.
    """

    task: str
    instruction: str
    seed: int
    success: bool
    ticks: int
    inferences: int


@dataclass(frozen=True)
class EpisodeSettings:
    """How an episode is run.

    Attributes:
        max_ticks: when it ends without success.
        settle_ticks: ticks that success must hold without a break.
        blind: images blacked out (the control that shows what seeing is worth).
    """

    max_ticks: int = 500
    settle_ticks: int = 25
    blind: bool = False
    plan: ExecutionPlan = field(default_factory=ExecutionPlan)


def run_episode(
    scene: Scene,
    infer: Infer,
    task: str,
    seed: int,
    settings: EpisodeSettings,
    watch: Callable[[int, Scene], None] | None = None,
) -> EpisodeResult:
    """Run until success has settled or time is up.

    Args:
        watch: called after every tick, e.g. to film.
    """
    instruction = scene.reset(seed)
    tick = 0

    def make_chunk() -> Vector:
        images = dict(scene.images())
        if settings.blind:
            images = {slot: np.zeros_like(image) for slot, image in images.items()}
        stamp = round(tick / scene.rate_hz * 1e9)
        observation = Observation(stamp, images, scene.state(), instruction)
        return infer(observation, seed * 1000 + tick)

    timeline = ChunkTimeline(settings.plan, make_chunk, scene.state())
    held = 0
    while tick < settings.max_ticks and held < settings.settle_ticks:
        scene.advance(timeline.command(tick))
        tick += 1
        held = held + 1 if scene.success() else 0
        if watch is not None:
            watch(tick, scene)
    settled = held >= settings.settle_ticks
    return EpisodeResult(task, instruction, seed, settled, tick, timeline.inferences)
