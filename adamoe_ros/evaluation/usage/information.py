# SPDX-License-Identifier: Apache-2.0
"""Mutual information between a label and the expert that is chosen, against chance.

    I(G; E) = sum over g, e of p(g, e) log2( p(g, e) / (p(g) p(e)) )       bits

Counted information is never 0, even where nothing depends on anything, and the tokens of one episode
are not independent draws. Chance is therefore measured, not assumed: labels are exchanged among the
units (episodes, inferences) that carry them, which keeps each unit's tokens together, and the mean of
what is then found is taken off.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Information:
    """Of one layer, in bits.

    Attributes:
        raw: as counted. corrected: less the mean of chance, at least 0.
        chance, chance_p95: mean and 95 % point of the exchanged labels.
        p_value: share of exchanges that found at least as much (one is always counted).
        most: the entropy of the label or of the expert, whichever is less: what it could be.
    """

    raw: float
    corrected: float
    chance: float
    chance_p95: float
    p_value: float
    most: float

    def as_json(self) -> dict[str, float]:
        """Rounded."""
        return {name: round(value, 5) for name, value in asdict(self).items()}


def entropy(weights: ArrayLike) -> float:
    """Bits of a distribution given by weights of any sum; 0 for none."""
    values = np.asarray(weights, float).ravel()
    total = values.sum()
    shares = values[values > 0] / total if total > 0 else np.ones(1)
    return float(-(shares * np.log2(shares)).sum())


def mutual_information(table: ArrayLike) -> float:
    """Bits between rows and columns of a table of counts (G, E)."""
    counts = np.asarray(table, float)
    total = counts.sum()
    if total <= 0:
        return 0.0
    joint = counts / total
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    known = joint > 0
    return float((joint[known] * np.log2(joint[known] / apart[known])).sum())


def information(
    counts: ArrayLike,
    labels: ArrayLike,
    strata: ArrayLike | None = None,
    exchanges: int = 200,
    seed: int = 0,
) -> Information:
    """What the label of a unit tells about the experts that its tokens choose.

    Args:
        counts: (U, E) choices of each unit.
        labels: (U,) of each unit.
        strata: (U,) labels are exchanged within equal ones only; None: among all.
        exchanges: how often.
    """
    values = np.asarray(counts, float)
    names, numbers = np.unique(np.asarray(labels), return_inverse=True)
    groups = numbers.ravel()
    table = _table(values, groups, len(names))
    raw = mutual_information(table)
    rng, places = np.random.default_rng(seed), _places(strata, len(groups))
    found = np.array(
        [
            mutual_information(_table(values, _exchanged(groups, places, rng), len(names)))
            for _ in range(exchanges)
        ]
    )
    chance = float(found.mean()) if exchanges else 0.0
    return Information(
        raw=raw,
        corrected=max(0.0, raw - chance),
        chance=chance,
        chance_p95=float(np.percentile(found, 95)) if exchanges else 0.0,
        p_value=float((1 + (found >= raw - 1e-12).sum()) / (1 + exchanges)),
        most=min(entropy(table.sum(1)), entropy(table.sum(0))),
    )


def _table(values: Floats, groups: NDArray[np.int64], count: int) -> Floats:
    table = np.zeros((count, values.shape[1]))
    np.add.at(table, groups, values)
    return table


def _places(strata: ArrayLike | None, count: int) -> list[NDArray[np.int64]]:
    """Units that may exchange their labels with each other."""
    if strata is None:
        return [np.arange(count)]
    _, numbers = np.unique(np.asarray(strata), return_inverse=True)
    order = np.argsort(numbers.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(numbers.ravel()))[:-1]
    return [place for place in np.split(order, ends) if len(place) > 1]


def _exchanged(
    groups: NDArray[np.int64], places: list[NDArray[np.int64]], rng: np.random.Generator
) -> NDArray[np.int64]:
    out = groups.copy()
    for place in places:
        out[place] = groups[rng.permutation(place)]
    return out
