# SPDX-License-Identifier: Apache-2.0
"""Normalisation statistics of a data set's vectors. May import: numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def column_statistics(rows: NDArray[np.float32]) -> dict[str, list[float]]:
    """Mean, population standard deviation, 1 % and 99 % quantile of every column.

    Args:
        rows: (N, D); every value finite.

    Returns:
        ``mean``, ``std``, ``q01``, ``q99``: lists of D numbers, as openpi's ``norm_stats.json``.
    """
    values = rows.astype(np.float64)
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    columns = {"mean": values.mean(0), "std": values.std(0), "q01": low, "q99": high}
    return {name: column.tolist() for name, column in columns.items()}
