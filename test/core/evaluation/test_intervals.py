# SPDX-License-Identifier: Apache-2.0
"""Wilson intervals against published values."""

from __future__ import annotations

import pytest

from adamoe_ros.evaluation.success import wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_known_values(successes: int, trials: int, low: float, high: float) -> None:
    # first two: Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_no_trials_know_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_more_successes_than_trials_is_a_bug() -> None:
    with pytest.raises(ValueError, match="5 successes of 4"):
        wilson_interval(5, 4)
