# SPDX-License-Identifier: Apache-2.0
"""Normalisation statistics of a data set's vectors. May import: numpy, policy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.policy.normalise import FeatureStats


def column_statistics(rows: NDArray[np.float32], least_std: float = 0.0) -> FeatureStats:
    """Mean, population standard deviation, 1 % and 99 % quantile of every column.

    Args:
        rows: (N, D); every value finite.
        least_std: floor of the standard deviation, so that a joint at rest is not blown up to
            noise (rad, m, or share of the gripper's way).
    """
    values = rows.astype(np.float64)
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    spread = np.maximum(values.std(0), least_std)
    columns = {"mean": values.mean(0), "std": spread, "q01": low, "q99": high}
    return FeatureStats(**{name: tuple(column.tolist()) for name, column in columns.items()})
