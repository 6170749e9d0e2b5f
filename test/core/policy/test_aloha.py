# SPDX-License-Identifier: Apache-2.0
"""ALOHA in pi0's convention: the reference's check values, both generations, inverses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamoe_ros.policy.aloha import ADAPTERS, crank_angle, opening

SHARES = np.array([0.0, 0.25, 0.5, 1.0])
ANGLES = [-0.620815, -0.007550, 0.396059, 1.570796]
STATES = {
    "openpi": [-1.079866, -0.513078, -0.140056, 0.945653],
    "adamoe": [-0.928013, -0.370500, -0.003582, 1.064360],
}
ACTIONS = {
    "openpi": [0.553378, 0.790087, 1.026795],
    "adamoe": [0.483501, 0.743881, 1.004261],
}
GRIPPERS = (6, 13)


def with_grippers(values: np.ndarray) -> np.ndarray:
    """(N, 14) of zeros but for both grippers."""
    rows = np.zeros((len(values), 14))
    rows[:, GRIPPERS] = values[:, None]
    return rows


def test_crank_angles() -> None:
    np.testing.assert_allclose(crank_angle(SHARES), ANGLES, rtol=0, atol=5e-7)


@pytest.mark.parametrize("generation", ADAPTERS)
def test_grippers_of_states(generation) -> None:
    found = ADAPTERS[generation].state_in(with_grippers(SHARES))
    for column in GRIPPERS:
        np.testing.assert_allclose(found[:, column], STATES[generation], rtol=0, atol=5e-7)


@pytest.mark.parametrize("generation", ADAPTERS)
def test_grippers_of_actions(generation) -> None:
    found = ADAPTERS[generation].actions_out(with_grippers(np.array([0.0, 0.5, 1.0])))
    for column in GRIPPERS:
        np.testing.assert_allclose(found[:, column], ACTIONS[generation], rtol=0, atol=5e-7)


@pytest.mark.parametrize("generation", ADAPTERS)
def test_signs_of_joints(generation) -> None:
    adapter = ADAPTERS[generation]
    ones = np.ones(14)
    for values in (adapter.state_in(ones), adapter.actions_in(ones), adapter.actions_out(ones)):
        turned = [i for i in range(14) if i not in GRIPPERS and values[i] < 0]
        assert turned == [1, 2, 8, 9]
        assert np.array_equal(np.abs(np.delete(values, GRIPPERS)), np.ones(12))


@pytest.mark.parametrize("generation", ADAPTERS)
@given(seed=st.integers(0, 2**32 - 1))
def test_both_ways(generation, seed: int) -> None:
    adapter, random = ADAPTERS[generation], np.random.default_rng(seed)
    actions, state = random.normal(size=(5, 14)), random.uniform(0, 1, (5, 14))
    kept = actions.copy(), state.copy()
    np.testing.assert_allclose(
        adapter.actions_out(adapter.actions_in(actions)), actions, atol=1e-12
    )
    np.testing.assert_allclose(
        adapter.actions_in(adapter.actions_out(actions)), actions, atol=1e-12
    )
    np.testing.assert_allclose(adapter.state_out(adapter.state_in(state)), state, atol=1e-7)
    assert np.array_equal(actions, kept[0]) and np.array_equal(state, kept[1])


def test_openings_are_monotone() -> None:
    shares = np.linspace(0, 1, 101)
    assert (np.diff(crank_angle(shares)) > 0).all()
    np.testing.assert_allclose(opening(crank_angle(shares)), shares, atol=1e-7)
