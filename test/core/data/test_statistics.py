# SPDX-License-Identifier: Apache-2.0
"""Streaming statistics: exact moments, quantiles within the stated error, whatever the order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adamoe_ros.data.running_statistics import BINS, QUANTILES, RunningStatistics

COLUMNS = {
    "normal": lambda rng: rng.normal(0.3, 0.5, 20_000),
    "wide": lambda rng: rng.standard_cauchy(20_000) * 100,
    "two values": lambda rng: rng.integers(0, 2, 20_000).astype(float),
    "constant": lambda rng: np.full(20_000, -1.25),
    "growing": lambda rng: np.exp(np.linspace(-8, 8, 20_000)),
    "tiny": lambda rng: rng.normal(0, 1e-7, 20_000),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_quantiles_are_within_the_stated_error(kind: str) -> None:
    values = COLUMNS[kind](np.random.default_rng(1))
    statistics = RunningStatistics(1)
    for part in np.array_split(values, 37):
        statistics.add(part[:, None])
    error = statistics.quantile_error[0]
    assert error <= max(2 * np.ptp(values) / BINS * 2, 2.0**-30)
    for share in (0.0, *QUANTILES, 1.0):
        exact = np.quantile(values, share, method="linear")
        neighbours = (
            np.quantile(values, share, method="lower"),
            np.quantile(values, share, method="higher"),
        )
        found = statistics.quantile(share)[0]
        low, high = min(exact, *neighbours), max(exact, *neighbours)
        assert low - error <= found <= high + error


def test_mean_and_deviation_are_those_of_numpy() -> None:
    values = np.random.default_rng(2).normal(1e6, 1e-3, (10_000, 3))
    statistics = RunningStatistics(3)
    for part in np.array_split(values, 11):
        statistics.add(part)
    np.testing.assert_allclose(statistics.mean, values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(statistics.std, values.std(0), rtol=1e-6)
    assert (statistics.low == values.min(0)).all() and (statistics.high == values.max(0)).all()


@settings(deadline=None, max_examples=60)
@given(
    arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6)),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_parts_in_any_order_give_the_same(values: np.ndarray, parts: int, random: object) -> None:
    whole = RunningStatistics(1)
    whole.add(values[:, None])
    pieces = np.array_split(values, parts)
    random.shuffle(pieces)  # type: ignore[attr-defined]
    merged = RunningStatistics(1)
    for piece in pieces:
        one = RunningStatistics(1)
        one.add(piece[:, None])
        merged.merge(RunningStatistics.from_arrays(one.arrays()))
    assert merged.count == whole.count
    assert merged.quantile_error == whole.quantile_error
    for share in QUANTILES:
        # values of vanishing size may fall to either side of a bin's edge: one bin is the error stated
        np.testing.assert_allclose(
            merged.quantile(share), whole.quantile(share), rtol=0, atol=whole.quantile_error[0]
        )
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(merged.std, whole.std, rtol=1e-6, atol=1e-6)


def test_a_value_that_is_not_finite_is_a_bug() -> None:
    with pytest.raises(ValueError, match="not finite"):
        RunningStatistics(1).add([[np.nan]])
