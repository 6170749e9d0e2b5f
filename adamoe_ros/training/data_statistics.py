# SPDX-License-Identifier: Apache-2.0
"""Normalisation statistics of a data set, and whether a checkpoint's fit it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import Problems
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.policy.normalise import FeatureStats, NormStats
from adamoe_ros.policy.vectors import VectorSpace
from adamoe_ros.training.demonstration_set import DemonstrationSet

_LEAST_STD = 0.01  # rad, m, or share of the gripper's way: a joint at rest is not blown up to noise
_FAR, _WIDE = 10.0, 20.0  # median and spread, in standard deviations, beyond any task of a robot


def data_statistics(data: DemonstrationSet, wanted: bool) -> NormStats:
    """Statistics of a data set, object positions if ``wanted`` and known."""
    return _statistics(data, data.states(), data.action_rows(), wanted)


def inner_statistics(data: DemonstrationSet, vectors: VectorSpace, wanted: bool) -> NormStats:
    """The same in a checkpoint's convention: its ALOHA transform, actions relative where it says."""
    states = vectors.inner_state(data.states()).astype(np.float32)
    if vectors.relative.any():
        pairs = [vectors.inner_actions(chunks, state) for chunks, state in data.chunks()]
        rows = np.concatenate([chunks.reshape(-1, chunks.shape[-1]) for chunks in pairs])
    else:
        rows = vectors.inner_actions(data.action_rows(), states)
    return _statistics(data, states, rows.astype(np.float32), wanted)


def _statistics(
    data: DemonstrationSet, states: NDArray[np.float32], actions: NDArray[np.float32], wanted: bool
) -> NormStats:
    objects = data.objects() if wanted else None
    return NormStats(
        state=column_statistics(states, _LEAST_STD),
        actions=column_statistics(actions, _LEAST_STD),
        objects=None if objects is None else column_statistics(objects, _LEAST_STD),
    )


def column_statistics(rows: NDArray[np.float32], least_std: float = 0.0) -> FeatureStats:
    """Mean, population standard deviation, 1 % and 99 % quantile of every column.

    Args:
        rows: (N, D); every value finite.
        least_std: floor of the standard deviation, so that a joint at rest is not blown up to
            noise (rad, m, or share of the gripper's way); quantiles are at least four times as
            far apart.
    """
    values = rows.astype(np.float64)
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    missing = np.maximum(4 * least_std - (high - low), 0) / 2
    low, high = low - missing, high + missing
    spread = np.maximum(values.std(0), least_std)
    columns = {"mean": values.mean(0), "std": spread, "q01": low, "q99": high}
    return FeatureStats(**{name: tuple(column.tolist()) for name, column in columns.items()})


def check_statistics(
    vectors: VectorSpace, manifest: CheckpointManifest, data: DemonstrationSet
) -> None:
    """Normalised by the checkpoint's statistics, the data must look like data.

    Radians against degrees, or the statistics of another robot, put whole joints far outside.

    Raises:
        ContractError: every joint that they do not fit.
    """
    problems = Problems()
    entries = {"state": manifest.joints, "actions": manifest.action_entries}
    states = vectors.encode_state(data.states())
    rows = [vectors.encode_actions(chunks, state) for chunks, state in data.chunks()]
    actions = np.concatenate([row.reshape(-1, row.shape[-1]) for row in rows])
    for name, values in (("state", states), ("actions", actions)):
        reach = _reach(values[:, : len(entries[name])])
        for role, far, wide in zip((e.role for e in entries[name]), *reach, strict=True):
            if far > _FAR or wide > _WIDE:
                got = f"a median {far:.0f} and a spread of {wide:.0f} standard deviations"
                do = "are they another robot's? set model.inherit=meaning for the data's own"
                where = f"statistics of the checkpoint: {name}: {role}"
                problems.add(where, "those of these data", got, do)
    problems.raise_if_any()


def _reach(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(D,) median distance from 0 and standard deviation of every column."""
    return np.abs(np.median(values, axis=0)), values.std(axis=0)
