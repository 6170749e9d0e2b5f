# SPDX-License-Identifier: Apache-2.0
"""Joint order: mixed-up columns are found, and nothing is found where the order is right.

Motions are those of the suite's scripted experts in the simulator, in which all joints of an arm move in
the same rhythm, with and without disturbed execution.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamoe_ros.data.joint_order import followed_joints
from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.demonstrations import disturbance

TASKS = ("lift_bar", "pick_cube", "pick_two", "push_to_line")
FPS = 25
GRIPPERS = (6, 13)
Motion = tuple[np.ndarray, np.ndarray]  # measured, commanded: (N, 14) each, grippers 0 ... 1
WIDTH = 0.057 - 0.021


def motion(task: str, seed: int, noise: float) -> Motion:
    sim = BimanualSim(task)
    sim.reset(seed)
    rows = sim.plan()
    states = []
    for row, offset in zip(
        rows, disturbance(len(rows), noise, np.random.default_rng(seed)), strict=True
    ):
        states.append(sim.measured()[0])
        sim.set_targets(row + offset)
        sim.advance()
    found = np.stack([np.stack(states), rows])[:, ::2]  # 50 Hz to 25 Hz
    found[:, :, GRIPPERS] = (found[:, :, GRIPPERS] - 0.021) / WIDTH
    return found[0], found[1]


@pytest.fixture(scope="module")
def motions() -> list[Motion]:
    return [motion(task, seed, 0.008 * (seed % 2)) for task in TASKS for seed in (1, 2)]


def found(state: np.ndarray, action: np.ndarray) -> list[tuple[int, int]]:
    return list(followed_joints(state, action, FPS))


seeds = st.integers(0, 10**6)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=seeds, lag=st.integers(0, 9), noise=st.floats(0, 0.01))
def test_the_right_order_is_not_complained_about(
    motions: list[Motion], data: st.DataObject, seed: int, lag: int, noise: float
) -> None:
    """Whatever delay, sag and noise a robot has, and a gripper that is held up by an object."""
    state, action = data.draw(st.sampled_from(motions))
    rng = np.random.default_rng(seed)
    state = np.concatenate([np.repeat(state[:1], lag, axis=0), state])[: len(state)]
    state = state + rng.normal(0, noise, state.shape) + rng.uniform(-0.03, 0.03, 14)
    held = GRIPPERS[seed % 2]
    state[:, held] = np.maximum(state[:, held], rng.uniform(0, 1))
    assert found(state, action) == []


@settings(max_examples=100, deadline=None)
@given(data=st.data(), order=st.permutations(range(14)), noise=st.floats(0, 0.01))
def test_a_mixed_up_order_is_found(
    motions: list[Motion], data: st.DataObject, order: list[int], noise: float
) -> None:
    """Every column that moves and is clearly another joint's; none is said to be what it is not."""
    state, action = data.draw(st.sampled_from(motions))
    state = state + np.random.default_rng(0).normal(0, noise, state.shape)
    mixed = action[:, order]
    pairs = dict(found(state, mixed))
    apart = np.sqrt(((action[:, :, None] - action[:, None, :]) ** 2).mean(axis=0))
    spread = action.std(axis=0)
    for column, joint in enumerate(order):
        others = np.delete(apart[joint], joint)
        alone = others.min() > 0.25 * spread[joint] + 0.1  # no other joint does nearly the same
        lost = apart[joint, column] > 1.2 * spread[joint] + 0.1
        replaced = order[joint] != joint
        partner = apart[order[joint], joint] > 1.2 * spread[order[joint]] + 0.1
        arm = joint not in GRIPPERS  # one that holds something is far from every command
        if arm and spread[joint] > 0.1 and alone and lost and replaced and partner:
            assert pairs.pop(column, None) == joint
    for column, joint in pairs.items():
        same = apart[order[column], joint] <= 0.3 * spread[order[column]] + 0.05
        assert same, (column, joint)
        assert column != order[column]


def test_arms_that_were_exchanged(motions: list[Motion]) -> None:
    state, action = motions[2]  # one arm moves
    exchanged = np.roll(action, 7, axis=1)
    pairs = found(state, exchanged)
    assert pairs and all(joint == (column + 7) % 14 for column, joint in pairs)


def test_grippers_in_metres_need_the_range() -> None:
    times = np.linspace(0, 4, 100)
    state = np.stack([0.04 + 0.015 * np.sin(times), 0.04 + 0.015 * np.cos(3 * times)], axis=1)
    swapped = state[:, ::-1]
    assert found(state, swapped) == []
    ranges = np.array([0.036, 0.036])
    assert list(followed_joints(state, swapped, FPS, ranges)) == [(0, 1), (1, 0)]


def test_too_short_to_say() -> None:
    assert found(np.zeros((5, 14)), np.ones((5, 14))) == []
