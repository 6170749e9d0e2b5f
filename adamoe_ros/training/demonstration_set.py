# SPDX-License-Identifier: Apache-2.0
"""Demonstrations in memory: episodes, what their numbers mean, and the batches made of them.

Kept frames of many episodes; chunks are cut from each episode's actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import Problems


@dataclass(frozen=True)
class DataLayout:
    """What the numbers of a data set mean.

    Attributes:
        embodiment: kinematics it was recorded on, e.g. ``vx300s_dual``.
        camera_slots: of the images, in the model's order.
        roles: of the state, canonical (``left_0 ... right_gripper``).
        action_roles: of the actions, where they are others; empty: those of the state.
        control_rate_hz: of the action rows.
        gripper_open, gripper_closed: values of a gripper's column.
        state_source: ``measured`` positions, or the ``last_command``.
    """

    embodiment: str
    camera_slots: tuple[str, ...]
    roles: tuple[str, ...]
    control_rate_hz: float
    gripper_open: float = 1.0
    gripper_closed: float = 0.0
    state_source: Literal["measured", "last_command"] = "measured"
    action_roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """B samples, not yet normalised.

    Attributes:
        images: (B, C, H, W, 3) uint8 RGB, camera slots in the model's order, of the model's size.
        state: (B, S) float32, physical units of the checkpoint.
        actions: (B, R, A) float32, chunk rows, physical units of the checkpoint.
        instructions: B sentences.
        objects: (B, O) float32, auxiliary object targets in m, or None where the data has none.
    """

    images: NDArray[np.uint8]
    state: NDArray[np.float32]
    actions: NDArray[np.float32]
    instructions: tuple[str, ...]
    objects: NDArray[np.float32] | None


@dataclass(frozen=True)
class Demonstration:
    """One demonstration.

    Attributes:
        images: (F, C, H, W, 3) uint8, kept frames in the model's size.
        steps: (F,) action row at which each frame was seen.
        state: (F, S) physical units of the checkpoint.
        actions: (T, A) physical units of the checkpoint; row t was commanded from step t on.
        objects: (F, O) auxiliary targets, m; None where nobody knows them.
        instructions: F sentences.
        tasks: F names of tasks, what ``data.balanced_tasks`` counts.
        seed: of the scene.
        led: (F,) bool, frames in which a human led the arms; None: in none.
    """

    images: NDArray[np.uint8]
    steps: NDArray[np.int64]
    state: NDArray[np.float32]
    actions: NDArray[np.float32]
    objects: NDArray[np.float32] | None
    instructions: tuple[str, ...]
    tasks: tuple[str, ...]
    seed: int = -1
    led: NDArray[np.bool_] | None = None


class DemonstrationSet:
    """Samples of episodes by number; a chunk beyond an episode's end repeats its last action.

    Args:
        episodes: at least one.
        layout: of every episode.
        rows: H, rows of a chunk.

    Raises:
        ContractError: an episode has missing cameras, other sizes, or numbers that are not finite.
    """

    def __init__(
        self,
        episodes: Sequence[Demonstration],
        layout: DataLayout,
        rows: int,
    ) -> None:
        self.layout, self._rows = layout, rows
        _check(episodes, layout)
        self.episodes = tuple(episodes)
        counts = [len(episode.steps) for episode in episodes]
        self._episode = np.repeat(np.arange(len(episodes)), counts)
        self._frame = np.concatenate([np.arange(count) for count in counts])
        self._names = sorted({task for episode in episodes for task in episode.tasks})

    def __len__(self) -> int:
        return len(self._episode)

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """The samples with these numbers."""
        places = [(self.episodes[self._episode[i]], int(self._frame[i])) for i in indices]
        objects = [e.objects[f] for e, f in places if e.objects is not None]
        return Batch(
            images=np.stack([episode.images[frame] for episode, frame in places]),
            state=np.stack([episode.state[frame] for episode, frame in places]),
            actions=np.stack([self._chunks(e, e.steps[f]) for e, f in places]),
            instructions=tuple(episode.instructions[frame] for episode, frame in places),
            objects=np.stack(objects) if len(objects) == len(places) else None,
        )

    def _chunks(
        self, episode: Demonstration, steps: NDArray[np.int64] | np.int64
    ) -> NDArray[np.float32]:
        """(..., H, A) chunks that begin at ``steps``."""
        rows = np.asarray(steps)[..., None] + np.arange(self._rows)
        return episode.actions[np.minimum(rows, len(episode.actions) - 1)]

    def states(self) -> NDArray[np.float32]:
        """(N, S) every sample's state."""
        return np.concatenate([episode.state for episode in self.episodes])

    def action_rows(self) -> NDArray[np.float32]:
        """(M, A) every action once."""
        return np.concatenate([episode.actions for episode in self.episodes])

    def chunks(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Per episode, (F, H, A) chunks and the (F, S) states that they start from."""
        for episode in self.episodes:
            yield self._chunks(episode, episode.steps), episode.state

    def objects(self) -> NDArray[np.float32] | None:
        """(N, O) auxiliary targets, m; None unless every episode has them."""
        known = [e.objects for e in self.episodes if e.objects is not None]
        return np.concatenate(known) if len(known) == len(self.episodes) else None

    def tasks(self) -> NDArray[np.int64]:
        """(N,) task number of each sample."""
        numbers = {name: number for number, name in enumerate(self._names)}
        return np.array([numbers[task] for episode in self.episodes for task in episode.tasks])

    def led(self) -> NDArray[np.bool_]:
        """(N,) samples in which a human led the arms."""
        return np.concatenate(
            [np.zeros(len(e.steps), bool) if e.led is None else e.led for e in self.episodes]
        )

    def sentences(self) -> tuple[str, ...]:
        """Every distinct instruction, sorted."""
        return tuple(sorted({text for episode in self.episodes for text in episode.instructions}))


def _check(episodes: Sequence[Demonstration], layout: DataLayout) -> None:
    camera_slots = layout.camera_slots
    widths = (len(layout.roles), len(layout.action_roles or layout.roles))
    problems = Problems()
    if not episodes:
        problems.add("demonstrations", "at least one episode", "none", "generate some first")
    for number, episode in enumerate(episodes):
        where = f"demonstrations: episode {number}"
        cameras = episode.images.shape[1] if episode.images.ndim == 5 else 0
        if cameras != len(camera_slots):
            problems.add(
                where,
                f"images of {', '.join(camera_slots)}",
                f"{cameras} cameras",
                "add them",
            )
        pairs = (("state", episode.state), ("actions", episode.actions))
        for (name, values), width in zip(pairs, widths, strict=True):
            if values.ndim != 2 or values.shape[1] != width:
                problems.add(
                    f"{where}: {name}",
                    f"{width} columns",
                    values.shape,
                    "match the joints",
                )
            elif not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
                problems.add(
                    f"{where}: {name}",
                    "finite numbers",
                    f"NaN or inf in row {row}",
                    "drop it",
                )
    problems.raise_if_any()
