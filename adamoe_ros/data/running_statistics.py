# SPDX-License-Identifier: Apache-2.0
"""Statistics of columns in one pass, mergeable, with quantiles whose error is stated.

Quantiles come from a histogram whose bin width is a power of two times ``FINEST``: bins of a
coarser width are unions of finer ones, so widening and merging lose nothing and the result does not
depend on the order. A quantile is off by at most one bin width, which is at most 1/2048 of the
column's range (or ``FINEST``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FINEST = 2.0**-30  # smallest bin width
BINS = 4096  # most bins of a column
QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)


class ColumnHistogram:
    """Counts of one column's values in aligned bins.

    Attributes:
        width: of a bin; the largest error of a quantile.
    """

    def __init__(self) -> None:
        self.width = FINEST
        self._first = 0  # number of the first bin
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)

    def add(self, values: NDArray[np.float64]) -> None:
        """Count (N,) finite values."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        self._make_room(low, high)
        places = np.floor(values / self.width).astype(np.int64) - self._first
        self._counts += np.bincount(places, minlength=len(self._counts))

    def merge(self, other: ColumnHistogram) -> None:
        """Take over another column's counts."""
        if not len(other._counts):
            return
        self._make_room(*other._span())
        factor = round(self.width / other.width) if other.width < self.width else 1
        while other.width > self.width:
            self._widen()
        numbers = (np.arange(len(other._counts)) + other._first) // factor
        self._cover(int(numbers[0]), int(numbers[-1]))
        np.add.at(self._counts, numbers - self._first, other._counts)

    def quantile(self, share: float) -> float:
        """The value below which a share of the values lies; NaN without values."""
        total = int(self._counts.sum())
        if not total:
            return float("nan")
        wanted = share * (total - 1) + 1
        summed = np.cumsum(self._counts)
        place = int(np.searchsorted(summed, wanted - 1e-9))
        before = int(summed[place - 1]) if place else 0
        inside = (wanted - before - 0.5) / int(self._counts[place])
        return float((self._first + place + min(max(inside, 0.0), 1.0)) * self.width)

    def above(self, value: float) -> int:
        """Values beyond one, to within a bin."""
        numbers = np.arange(len(self._counts)) + self._first
        return int(self._counts[(numbers + 0.5) * self.width > value].sum())

    def arrays(self) -> tuple[float, int, NDArray[np.int64]]:
        """Width, first bin and counts; for a file."""
        return self.width, self._first, self._counts

    @classmethod
    def from_arrays(cls, width: float, first: int, counts: NDArray[np.int64]) -> ColumnHistogram:
        """Inverse of ``arrays``."""
        made = cls()
        made.width, made._first = width, first
        made._counts = np.asarray(counts, np.int64).copy()
        return made

    def _span(self) -> tuple[float, float]:
        used = np.flatnonzero(self._counts) + self._first
        return float(used[0] * self.width), float((used[-1] + 0.5) * self.width)

    def _make_room(self, low: float, high: float) -> None:
        while True:
            first, last = int(np.floor(low / self.width)), int(np.floor(high / self.width))
            if len(self._counts):
                used = np.flatnonzero(self._counts) + self._first
                first, last = min(first, int(used[0])), max(last, int(used[-1]))
            if last - first < BINS:
                break
            self._widen()
        self._cover(first, last)

    def _cover(self, first: int, last: int) -> None:
        counts, old = self._counts, self._first
        if len(counts) and old <= first and last < old + len(counts):
            return
        used = np.flatnonzero(counts)
        if len(used):
            counts, old = counts[used[0] : used[-1] + 1], old + int(used[0])
            first, last = min(first, old), max(last, old + len(counts) - 1)
        grown = np.zeros(last - first + 1, np.int64)
        if len(used):
            grown[old - first : old - first + len(counts)] = counts
        self._counts, self._first = grown, first

    def _widen(self) -> None:
        """Bins of twice the width."""
        self.width *= 2
        if not len(self._counts):
            return
        numbers = (np.arange(len(self._counts)) + self._first) // 2
        counts = np.zeros(int(numbers[-1] - numbers[0]) + 1, np.int64)
        np.add.at(counts, numbers - numbers[0], self._counts)
        self._counts, self._first = counts, int(numbers[0])


class RunningStatistics:
    """Count, range, mean, population standard deviation and quantiles of D columns.

    Args:
        columns: D.
    """

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.low = np.full(columns, np.inf)
        self.high = np.full(columns, -np.inf)
        self.mean = np.zeros(columns)
        self._squares = np.zeros(columns)  # sum of squared distances from the mean
        self._histograms = [ColumnHistogram() for _ in range(columns)]

    def add(self, rows: ArrayLike) -> None:
        """Take (N, D) rows; every value finite (ValueError)."""
        values = np.atleast_2d(np.asarray(rows, np.float64))
        if not values.size:
            return
        if not np.isfinite(values).all():
            raise ValueError("statistics of a value that is not finite")
        mean = values.mean(axis=0)
        self._combine(len(values), mean, ((values - mean) ** 2).sum(axis=0))
        self.low = np.minimum(self.low, values.min(axis=0))
        self.high = np.maximum(self.high, values.max(axis=0))
        for histogram, column in zip(self._histograms, values.T, strict=True):
            histogram.add(column)

    def merge(self, other: RunningStatistics) -> None:
        """Take over what another has seen."""
        if not other.count:
            return
        self._combine(other.count, other.mean, other._squares)
        self.low = np.minimum(self.low, other.low)
        self.high = np.maximum(self.high, other.high)
        for mine, theirs in zip(self._histograms, other._histograms, strict=True):
            mine.merge(theirs)

    def _combine(self, count: int, mean: NDArray[Any], squares: NDArray[Any]) -> None:
        total = self.count + count
        shift = mean - self.mean
        self._squares = self._squares + squares + shift**2 * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    @property
    def std(self) -> NDArray[np.float64]:
        """(D,) population standard deviation."""
        return np.asarray(np.sqrt(self._squares / max(self.count, 1)))

    @property
    def quantile_error(self) -> list[float]:
        """(D,) largest error of any quantile, in the column's unit."""
        return [histogram.width for histogram in self._histograms]

    def quantile(self, share: float) -> NDArray[np.float64]:
        """(D,) quantile of every column."""
        values = np.array([histogram.quantile(share) for histogram in self._histograms])
        return np.clip(values, self.low, self.high) if self.count else values

    def as_dict(self, quantiles: Sequence[float] = QUANTILES) -> dict[str, list[float]]:
        """min, max, mean, std, count and q01 ... as lists, the way LeRobot names them."""
        found = {
            "min": self.low.tolist(),
            "max": self.high.tolist(),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "count": [self.count],
        }
        named = {f"q{round(share * 100):02d}": self.quantile(share) for share in quantiles}
        return found | {name: values.tolist() for name, values in named.items()}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, for ``numpy.savez``."""
        parts = [histogram.arrays() for histogram in self._histograms]
        return {
            "count": np.array(self.count),
            "columns": np.stack([self.low, self.high, self.mean, self._squares]),
            "widths": np.array([width for width, _, _ in parts]),
            "firsts": np.array([first for _, first, _ in parts], np.int64),
            "sizes": np.array([len(counts) for _, _, counts in parts], np.int64),
            "counts": np.concatenate([counts for _, _, counts in parts]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> RunningStatistics:
        """Inverse of ``arrays``."""
        made = cls(arrays["columns"].shape[1])
        made.count = int(arrays["count"])
        made.low, made.high, made.mean, made._squares = (row.copy() for row in arrays["columns"])
        pieces = np.split(arrays["counts"], np.cumsum(arrays["sizes"])[:-1])
        made._histograms = [
            ColumnHistogram.from_arrays(float(width), int(first), counts)
            for width, first, counts in zip(arrays["widths"], arrays["firsts"], pieces, strict=True)
        ]
        return made
