# SPDX-License-Identifier: Apache-2.0
"""Whatever is asked of the gate, what it gives keeps every limit (many joints per example)."""

from __future__ import annotations

import numpy as np
from control_support import Judge, examples
from hypothesis import given
from hypothesis import strategies as st

from adamoe_ros.control.gate import Gate, reachable_speed, stopping_distance
from adamoe_ros.control.limits import JointLimits

JOINTS = 24
TICKS = 30


def random_limits(rng: np.random.Generator) -> JointLimits:
    """Limits over several decades, so that fast, slow, narrow and wide joints all occur."""
    low = rng.uniform(-3.0, 1.0, JOINTS)
    span = 10.0 ** rng.uniform(-3, 1, JOINTS)
    tracking = np.where(rng.random(JOINTS) < 0.3, np.inf, 10.0 ** rng.uniform(-2, 0, JOINTS))
    return JointLimits(
        low=low,
        high=low + span,
        velocity=10.0 ** rng.uniform(-2, 1, JOINTS),
        acceleration=10.0 ** rng.uniform(-1, 3, JOINTS),
        tracking=tracking,
        start=tracking,
        hard=np.full(JOINTS, 0.3),
        gripper=np.zeros(JOINTS, bool),
    )


def wild_targets(rng: np.random.Generator, limits: JointLimits, kind: str) -> np.ndarray:
    """(TICKS, JOINTS) targets of one character."""
    middle, span = (limits.low + limits.high) / 2, limits.high - limits.low
    if kind == "walk":
        return middle + np.cumsum(rng.normal(0, 0.1, (TICKS, JOINTS)), axis=0) * span
    if kind == "jumps":
        return middle + rng.uniform(-2, 2, (TICKS, JOINTS)) * span
    if kind == "ends":
        return np.where(rng.random((TICKS, JOINTS)) < 0.5, limits.low, limits.high)
    if kind == "huge":
        return rng.choice([-1e300, -1e6, 1e6, 1e300], (TICKS, JOINTS))
    targets = middle + rng.uniform(-1, 1, (TICKS, JOINTS)) * span
    bad = rng.random((TICKS, JOINTS)) < 0.02
    return np.where(bad, rng.choice([np.nan, np.inf, -np.inf], (TICKS, JOINTS)), targets)


@examples(quick=250, full=25_000)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["walk", "jumps", "ends", "huge", "bad"]),
    rate_hz=st.sampled_from([10.0, 50.0, 100.0, 200.0, 1000.0]),
    scales=st.lists(st.floats(0.02, 1.0), min_size=1, max_size=4),
    stops=st.sets(st.integers(0, TICKS - 1), max_size=3),
    brakes=st.sets(st.integers(0, TICKS - 1), max_size=6),
    measured=st.booleans(),
)
def test_no_command_leaves_the_limits(
    seed: int,
    kind: str,
    rate_hz: float,
    scales: list[float],
    stops: set[int],
    brakes: set[int],
    measured: bool,
) -> None:
    rng = np.random.default_rng(seed)
    limits = random_limits(rng)
    period = 1.0 / rate_hz
    gate, judge = Gate(limits, period), Judge(limits, period)
    gate.start(limits.low + rng.uniform(-0.1, 1.1, JOINTS) * (limits.high - limits.low))
    judge.see(gate.position)
    targets = wild_targets(rng, limits, kind)
    rates = rng.normal(0, 3, (TICKS, JOINTS))
    pose = gate.position.copy()
    for index in range(TICKS):
        if index in stops:
            held = gate.position.copy()
            gate.latch()
            judge.stopped()
            assert (gate.position == held).all()
        pose += 0.5 * (gate.position - pose) + rng.normal(0, 0.01, JOINTS)
        if index in brakes:
            gate.brake()
        else:
            scale = scales[index % len(scales)]
            gate.step(targets[index], rates[index], pose if measured else None, scale)
        judge.see(gate.position)


@examples(quick=100, full=5_000)
@given(seed=st.integers(0, 2**32 - 1), rate_hz=st.sampled_from([10.0, 50.0, 100.0, 1000.0]))
def test_braking_comes_to_rest_in_the_computed_distance(seed: int, rate_hz: float) -> None:
    rng = np.random.default_rng(seed)
    limits, period = random_limits(rng), 1.0 / rate_hz
    gap = 10.0 ** rng.uniform(-6, 1, JOINTS)
    speed = reachable_speed(gap, limits.acceleration, period)
    covered, left = speed * period, speed
    for _ in range(100_000):
        left = np.maximum(left - limits.acceleration * period, 0.0)
        covered = covered + left * period
        if not left.any():
            break
    np.testing.assert_allclose(covered, gap, rtol=1e-9)
    rest = stopping_distance(speed, limits.acceleration, period)
    np.testing.assert_allclose(rest + speed * period, gap, rtol=1e-9)


@examples(quick=30, full=5_000)
@given(seed=st.integers(0, 2**32 - 1), rate_hz=st.sampled_from([50.0, 100.0, 200.0]))
def test_a_resting_target_is_reached_without_overshoot(seed: int, rate_hz: float) -> None:
    rng = np.random.default_rng(seed)
    limits, period = random_limits(rng), 1.0 / rate_hz
    gate = Gate(limits, period)
    start = rng.uniform(limits.low, limits.high)
    target = rng.uniform(limits.low, limits.high)
    gate.start(start)
    side = np.sign(target - start)
    rest = np.zeros(JOINTS)
    for _ in range(400):
        gate.step(target, rest)
        beyond = (gate.position - target) * side
        assert (beyond <= 1e-9 * (1 + np.abs(target))).all()
    fast = np.abs(target - start) < 0.2 * np.minimum(
        limits.velocity * 400 * period, limits.acceleration * (200 * period) ** 2
    )
    np.testing.assert_allclose(gate.position[fast], target[fast], atol=1e-9)
