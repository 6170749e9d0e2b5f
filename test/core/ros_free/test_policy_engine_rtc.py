# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking as policy_node does it: engine and schedule on a small checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from policy_support import make_checkpoint, observation

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.observation import Observation
from adamoe_ros.ros.policy.policy_engine import PolicyEngine
from adamoe_ros.ros.policy.policy_parameters import PolicyParameters

MS = 1_000_000
ROW = 20 * MS


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("rtc") / "checkpoint", rtc_max_delay=3)


def engine(checkpoint: Path, strategy: str, **changes: Any) -> PolicyEngine:
    settings = {"robot": "aloha_sim", "checkpoint": str(checkpoint), "device": "cpu", "seed": 5}
    return PolicyEngine(PolicyParameters(strategy=strategy, **(settings | changes)))


def seen(stamp_ns: int) -> Observation:
    made = observation()
    return Observation(stamp_ns, made.images, made.state, made.instruction)


def two_chunks(made: PolicyEngine) -> tuple[np.ndarray, np.ndarray, int]:
    """Chunks two rows apart with a delay of one row, and the second one's committed rows."""
    scheduler = made.scheduler()
    rows = []
    committed = 0
    for stamp, ready in ((1000 * ROW, 1000 * ROW), (1002 * ROW, 1003 * ROW)):
        plan = scheduler.start(stamp)
        inference = made.infer(seen(stamp), plan)
        rows.append(inference.positions)
        committed = inference.committed_rows
        assert scheduler.finish(ready)
    return rows[0], rows[1], committed


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference on the rows of both, two apart."""
    return float(np.abs(first[2:5] - second[:3]).mean())


@pytest.mark.parametrize("jacobian", ["identity", "vjp"])
def test_guided_chunk_goes_on_from_the_one_before(checkpoint: Path, jacobian: str) -> None:
    free = two_chunks(engine(checkpoint, "async"))
    guided = two_chunks(engine(checkpoint, "rtc", rtc_jacobian=jacobian))
    # same noise, nothing before it; vjp runs in another engine
    np.testing.assert_allclose(free[0], guided[0], atol=1e-5)
    assert distance(*guided[:2]) < 0.5 * distance(*free[:2])
    assert guided[2] == 0


def test_trained_prefix_is_kept_to_the_digit(checkpoint: Path) -> None:
    made = engine(checkpoint, "rtc_trained")
    made._warm_s = 0.04  # two rows of delay are expected
    first, second, committed = two_chunks(made)
    assert committed == 2
    np.testing.assert_allclose(second[:2], first[2:4], atol=1e-6)
    assert np.abs(second[2] - first[4]).max() > 1e-4


def test_a_new_goal_is_not_guided(checkpoint: Path) -> None:
    once, again = engine(checkpoint, "rtc"), engine(checkpoint, "async")
    for made in (once, again):
        first = two_chunks(made)
        made.restart()
        plan = made.scheduler().start(2000 * ROW)
        last = made.infer(seen(2000 * ROW), plan).positions
        assert np.isfinite(first[1]).all()
        if made is once:
            expected = last
    np.testing.assert_array_equal(last, expected)


def test_checkpoint_without_a_trained_prefix_is_refused(tmp_path: Path) -> None:
    plain = make_checkpoint(tmp_path / "plain")
    with pytest.raises(ContractError, match="strategy rtc_trained: expected a checkpoint trained"):
        engine(plain, "rtc_trained")


def test_an_overshooting_clip_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ContractError, match="rtc_max_weight"):
        engine(checkpoint, "rtc", rtc_max_weight=20.0)  # ten flow steps


def test_the_exact_jacobian_takes_the_eager_engine(checkpoint: Path) -> None:
    exact = {"rtc_jacobian": "vjp"}
    assert engine(checkpoint, "rtc", **exact)._runtime.engine.name == "eager"
    assert engine(checkpoint, "rtc")._runtime.engine.name == "packed"
    assert engine(checkpoint, "async", **exact)._runtime.engine.name == "packed"
    with pytest.raises(ContractError, match="parameter engine: expected eager with rtc_jacobian"):
        engine(checkpoint, "rtc", engine="packed", **exact)
