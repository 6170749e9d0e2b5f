# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking arithmetic against the paper's pseudo-code on given numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adamoe_ros.control.rtc_math import (
    hard_mask,
    leftover,
    reanchor,
    soft_mask,
)


def paper_mask(horizon: int, d: int, s: int) -> list[float]:
    """Equation for W in arXiv 2506.07339, written row by row."""
    out = []
    for i in range(horizon):
        if i < d:
            out.append(1.0)
        elif i < horizon - s:
            c = (horizon - s - i) / (horizon - s - d + 1)
            out.append(c * (math.exp(c) - 1) / (math.e - 1))
        else:
            out.append(0.0)
    return out


@pytest.mark.parametrize(
    ("horizon", "d", "s"),
    [(8, 3, 5), (50, 5, 25), (50, 0, 25), (50, 16, 25), (16, 4, 8), (10, 2, 2)],
)
def test_mask_is_the_papers(horizon: int, d: int, s: int) -> None:
    np.testing.assert_allclose(soft_mask(horizon, d, s), paper_mask(horizon, d, s), rtol=1e-14)


def test_mask_on_given_numbers() -> None:
    """H = 8, d = 2, s = 3: c = 3/4, 2/4, 1/4 on rows 2, 3, 4."""
    expected = [1, 1, 0.4875510, 0.1887704, 0.0413247, 0, 0, 0]
    np.testing.assert_allclose(soft_mask(8, 2, 3), expected, atol=1e-6)


def test_mask_falls_and_stays_between_0_and_1() -> None:
    for d in range(9):
        for s in range(9):
            mask = soft_mask(8, d, s)
            assert mask.shape == (8,) and (np.diff(mask) <= 0).all()
            assert mask.min() >= 0 and mask.max() <= 1
            assert (mask[:d] == 1).all()


def test_linspace_form_of_lerobot_is_the_same_c() -> None:
    """E = H - s: linspace(1, 0, n + 2)[1:-1] with n = E - d equals (E - i) / (E - d + 1)."""
    horizon, d, s = 50, 5, 25
    end = horizon - s
    c = np.linspace(1, 0, end - d + 2)[1:-1]
    np.testing.assert_allclose(c, (end - np.arange(d, end)) / (end - d + 1))
    np.testing.assert_allclose(
        soft_mask(horizon, d, s)[d:end], c * np.expm1(c) / np.expm1(1), rtol=1e-14
    )


@pytest.mark.parametrize(("d", "s"), [(-1, 3), (9, 3), (3, 9), (3, -1)])
def test_mask_refuses_impossible_rows(d: int, s: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= d, s <= 8"):
        soft_mask(8, d, s)


def test_leftover_shifts_and_holds_the_last_row() -> None:
    previous = np.arange(10.0).reshape(5, 2)
    np.testing.assert_array_equal(leftover(previous, 0.0), previous)
    np.testing.assert_array_equal(leftover(previous, 2.0)[:, 0], [4, 6, 8, 8, 8])
    np.testing.assert_array_equal(leftover(previous, 99.0)[:, 0], [8] * 5)


def test_leftover_between_rows_is_by_time() -> None:
    previous = np.arange(5.0)[:, None]
    np.testing.assert_allclose(leftover(previous, 1.25)[:, 0], [1.25, 2.25, 3.25, 4, 4])
    np.testing.assert_allclose(leftover(previous, -1.5)[:, 0], [0, 0, 0.5, 1.5, 2.5])


def test_leftover_is_not_clipped() -> None:
    previous = np.full((4, 1), 7.5)  # far outside of normalised -1..1
    assert (leftover(previous, 1.0) == 7.5).all()


def test_reanchored_actions_mean_the_same_place() -> None:
    rng = np.random.default_rng(0)
    relative = np.array([True, True, False])
    scale, offset = rng.uniform(0.5, 2, 3), rng.normal(size=3)
    old, new = rng.normal(size=3), rng.normal(size=3)
    targets = rng.normal(size=(6, 3))
    before = (targets - np.where(relative, old, 0) - offset) / scale
    after = (targets - np.where(relative, new, 0) - offset) / scale
    np.testing.assert_allclose(reanchor(before, relative, old, new, scale), after, atol=1e-12)


def test_hard_mask() -> None:
    np.testing.assert_array_equal(hard_mask(5, 2), [1, 1, 0, 0, 0])
