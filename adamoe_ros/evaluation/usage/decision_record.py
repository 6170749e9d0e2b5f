# SPDX-License-Identifier: Apache-2.0
"""The routers' decisions of an evaluation, one row per inference, small enough to keep them all.

Shapes: N inferences, S flow steps, L mixture layers, T action tokens, E routed experts, k chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
P_BINS, S_BINS = 40, 50
S_RANGE = (-0.5, 2.0)  # of a scale; what lies outside is counted in the last bin
UNKNOWN = -1  # a phase that nobody noted


@dataclass(frozen=True)
class Label:
    """Where an inference belongs.

    Attributes:
        control, task: of the case. seed: of the scene.
        phase: number in ``evaluation.phases.PHASES``, or ``UNKNOWN``.
    """

    control: str
    task: str
    seed: int
    phase: int = UNKNOWN


@dataclass(frozen=True)
class RoutingRecord:
    """Many inferences.

    Attributes:
        control, task: (N,) names. seed: (N,) int64. phase: (N,) int8.
        counts: (N, S, L, E) float32, times that an expert was chosen, over tokens and slots; shares
            where only shares are known. S is 1 where flow steps are not told apart.
        probability: (N, S, L, E) float32, mean router probability over the tokens.
        scale: (N, S, L, E) float32, mean weight where chosen, 0 where never.
        density: (L, P_BINS, S_BINS) int64, router probability against weight of the chosen ones;
            all 0 where single decisions are not known.
    """

    control: NDArray[np.str_]
    task: NDArray[np.str_]
    seed: NDArray[np.int64]
    phase: NDArray[np.int8]
    counts: Floats
    probability: Floats
    scale: Floats
    density: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.seed)

    def save(self, path: Path) -> None:
        """Write as ``.npz``."""
        np.savez_compressed(path, **{f.name: getattr(self, f.name) for f in fields(self)})


def load(path: Path) -> RoutingRecord:
    """Inverse of ``RoutingRecord.save``."""
    with np.load(path, allow_pickle=False) as document:
        return RoutingRecord(**{f.name: document[f.name] for f in fields(RoutingRecord)})


def joined(records: Sequence[RoutingRecord]) -> RoutingRecord | None:
    """One after the other; None for none."""
    if not records:
        return None
    parts = {f.name: [getattr(r, f.name) for r in records] for f in fields(RoutingRecord)}
    density = np.sum(parts.pop("density"), axis=0)
    return RoutingRecord(**{n: np.concatenate(v) for n, v in parts.items()}, density=density)


class RoutingLog:
    """Collects while episodes run."""

    def __init__(self) -> None:
        self._rows: list[tuple[Label, Floats, Floats, Floats]] = []
        self._density: NDArray[np.int64] | None = None

    def add(
        self,
        labels: Sequence[Label],
        probabilities: ArrayLike,
        selected: ArrayLike,
        scales: ArrayLike,
    ) -> None:
        """Note a batch of B inferences.

        Args:
            labels: B of them.
            probabilities: (S, L, B, T, E) float. selected, scales: (S, L, B, T, k).
        """
        p, s = np.asarray(probabilities, np.float32), np.asarray(scales, np.float32)
        chosen = np.asarray(selected)
        hot = chosen[..., None] == np.arange(p.shape[-1])  # (S, L, B, T, k, E)
        counts = hot.sum((3, 4)).astype(np.float32)
        scale = (hot * s[..., None]).sum((3, 4)) / np.maximum(counts, 1)
        self._see(np.take_along_axis(p, chosen, -1), s)
        for number, label in enumerate(labels):
            one, two, three = (
                np.ascontiguousarray(row[:, :, number]) for row in (counts, p.mean(3), scale)
            )
            self._rows.append((label, one, two, three))

    def _see(self, probability: Floats, scale: Floats) -> None:
        """Add to the density; both (S, L, B, T, k)."""
        layers = probability.shape[1]
        if self._density is None:
            self._density = np.zeros((layers, P_BINS, S_BINS), np.int64)
        low, high = S_RANGE
        across = np.clip((probability * P_BINS).astype(int), 0, P_BINS - 1)
        up = np.clip(((scale - low) / (high - low) * S_BINS).astype(int), 0, S_BINS - 1)
        for layer in range(layers):
            np.add.at(self._density[layer], (across[:, layer].ravel(), up[:, layer].ravel()), 1)

    def add_shares(
        self, label: Label, selected: ArrayLike, probability: ArrayLike, scale: ArrayLike
    ) -> None:
        """Note one inference of which only means are known, each (L, E)."""
        one, two, three = (
            np.asarray(values, np.float32)[None] for values in (selected, probability, scale)
        )
        self._rows.append((label, one, two, three))

    def record(self) -> RoutingRecord | None:
        """Everything so far; None where no router decided anything."""
        if not self._rows:
            return None
        labels, counts, probability, scale = zip(*self._rows, strict=True)
        layers = counts[0].shape[1]
        density = self._density
        if density is None:
            density = np.zeros((layers, P_BINS, S_BINS), np.int64)
        columns: dict[str, Any] = {
            "control": np.array([label.control for label in labels]),
            "task": np.array([label.task for label in labels]),
            "seed": np.array([label.seed for label in labels], np.int64),
            "phase": np.array([label.phase for label in labels], np.int8),
        }
        return RoutingRecord(
            **columns,
            counts=np.stack(counts),
            probability=np.stack(probability),
            scale=np.stack(scale),
            density=density,
        )
