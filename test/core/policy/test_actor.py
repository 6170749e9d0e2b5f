# SPDX-License-Identifier: Apache-2.0
"""The policy actor: one path for the node, the evaluation in simulation and the replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from policy_support import make_checkpoint, observation

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.control.scheduling import InferenceRequest
from adamoe_ros.control.strategies import STRATEGIES
from adamoe_ros.policy.actor import PolicyActor
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.ros.policy.policy_parameters import PolicyParameters
from adamoe_ros.ros.policy.policy_setup import make_actor

MS = 1_000_000
ROW = 20 * MS


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("rtc") / "checkpoint", rtc_max_delay=3)


def actor(checkpoint: Path, strategy: str, batch: int = 1, **changes: Any) -> PolicyActor:
    profile = load_profile(profile_path("aloha_sim", robots_dir()))
    settings = PolicySettings(strategy=strategy, device="cpu", **({"seed": 5} | changes))
    return PolicyActor(profile, read_checkpoint(checkpoint), settings, batch)


def seen(stamp_ns: int) -> Observation:
    made = observation()
    return Observation(stamp_ns, made.images, made.state, made.instruction)


def two_chunks(made: PolicyActor, delay_s: float = 0.0) -> tuple[np.ndarray, np.ndarray, int]:
    """Chunks two rows apart with a delay of one row, and the second one's committed rows."""
    scheduler, session = made.scheduler(delay_s), made.session()
    rows = []
    committed = 0
    for stamp, ready in ((1000 * ROW, 1000 * ROW), (1002 * ROW, 1003 * ROW)):
        plan = scheduler.start(stamp)
        inference = session.infer(seen(stamp), plan)
        rows.append(inference.positions)
        committed = inference.committed_rows
        assert scheduler.finish(ready)
    return rows[0], rows[1], committed


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference on the rows of both, two apart."""
    return float(np.abs(first[2:5] - second[:3]).mean())


@pytest.mark.parametrize("jacobian", ["identity", "vjp"])
def test_guided_chunk_goes_on_from_the_one_before(checkpoint: Path, jacobian: str) -> None:
    free = two_chunks(actor(checkpoint, "async"))
    guided = two_chunks(actor(checkpoint, "rtc", rtc_jacobian=jacobian))
    # same noise, nothing before it; vjp runs in another engine
    np.testing.assert_allclose(free[0], guided[0], atol=1e-5)
    assert distance(*guided[:2]) < 0.5 * distance(*free[:2])
    assert guided[2] == 0


def test_trained_prefix_is_kept_to_the_digit(checkpoint: Path) -> None:
    made = actor(checkpoint, "rtc_trained")
    first, second, committed = two_chunks(made, delay_s=0.04)  # two rows are expected
    assert committed == 2
    np.testing.assert_allclose(second[:2], first[2:4], atol=1e-6)
    assert np.abs(second[2] - first[4]).max() > 1e-4


def test_a_new_goal_is_not_guided(checkpoint: Path) -> None:
    lasts = []
    for strategy in ("rtc", "async"):
        made = actor(checkpoint, strategy)
        session, scheduler = made.session(), made.scheduler(0.0)
        session.infer(seen(1000 * ROW), scheduler.start(1000 * ROW))
        session.restart()
        plan = made.scheduler(0.0).start(2000 * ROW)
        lasts.append(session.infer(seen(2000 * ROW), plan).positions)
    np.testing.assert_array_equal(lasts[0], lasts[1])


def test_checkpoint_without_a_trained_prefix_is_refused(tmp_path: Path) -> None:
    plain = make_checkpoint(tmp_path / "plain")
    with pytest.raises(ContractError, match="strategy rtc_trained: expected a checkpoint trained"):
        actor(plain, "rtc_trained")


def test_an_overshooting_clip_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ContractError, match="rtc_max_weight"):
        actor(checkpoint, "rtc", rtc_max_weight=20.0)  # ten flow steps


def test_the_exact_jacobian_takes_the_eager_engine(checkpoint: Path) -> None:
    exact = {"rtc_jacobian": "vjp"}
    assert actor(checkpoint, "rtc", **exact).runtime.engine.name == "eager"
    assert actor(checkpoint, "rtc").runtime.engine.name == "packed"
    assert actor(checkpoint, "async", **exact).runtime.engine.name == "packed"
    with pytest.raises(ContractError, match="engine: expected eager with rtc_jacobian"):
        actor(checkpoint, "rtc", engine="packed", **exact)


KINDS = [(name, "identity") for name in STRATEGIES] + [("rtc", "vjp")]


def episode(made: PolicyActor, seed: int) -> list[InferenceRequest]:
    """Requests of one robot, as the schedule of its strategy makes them, three rows of delay."""
    rng = np.random.default_rng(seed)
    scheduler, requests = made.scheduler(0.06), []
    for number in range(4):
        stamp = (1000 + 4 * number) * ROW
        first = observation()
        state = first.state + 0.01 * rng.standard_normal(len(first.state))
        looked = Observation(stamp, first.images, state, first.instruction)
        requests.append(InferenceRequest(looked, scheduler.start(stamp)))
        assert scheduler.finish(stamp + 3 * ROW)
    return requests


@pytest.mark.parametrize(("strategy", "jacobian"), KINDS)
def test_node_evaluation_and_replay_give_the_same_chunks(
    checkpoint: Path, strategy: str, jacobian: str
) -> None:
    """The node's parameters, the settings of replay and a batch of two robots in simulation."""
    shared = {"strategy": strategy, "rtc_jacobian": jacobian, "device": "cpu", "seed": 5}
    node = make_actor(PolicyParameters(robot="aloha_sim", checkpoint=str(checkpoint), **shared))
    replay = actor(checkpoint, strategy, rtc_jacobian=jacobian)
    requests = episode(node, seed=1)
    assert any(r.plan.needs_leftover for r in requests) == strategy.startswith("rtc")
    on_robot, in_replay = node.session(), replay.session()
    wanted: list[Inference] = []
    for request in requests:
        wanted.append(on_robot.infer(*request))
        found = in_replay.infer(*request)
        np.testing.assert_array_equal(found.positions, wanted[-1].positions)
        assert found.committed_rows == wanted[-1].committed_rows
    simulation = actor(checkpoint, strategy, rtc_jacobian=jacobian, batch=2)
    robots = [simulation.session(5), simulation.session(6)]
    others = episode(simulation, seed=2)
    for own, other, expected in zip(requests, others, wanted, strict=True):
        together = simulation.infer_batch(robots, [own, other]).inferences
        # a batch's products are summed in another order
        np.testing.assert_allclose(together[0].positions, expected.positions, atol=1e-5)
        assert together[0].committed_rows == expected.committed_rows
        assert np.abs(together[1].positions - expected.positions).max() > 1e-3


def test_noise_depends_on_seed_and_stamp_alone(checkpoint: Path) -> None:
    made = actor(checkpoint, "async")
    request = episode(made, seed=1)[2]
    first, second = made.session(7), made.session(7)
    first.infer(*episode(made, seed=1)[0])
    expected = second.infer(*request).positions
    np.testing.assert_array_equal(first.infer(*request).positions, expected)
    assert np.abs(made.session(8).infer(*request).positions - expected).max() > 1e-3


def test_a_negative_seed_is_drawn(checkpoint: Path) -> None:
    seeds = {actor(checkpoint, "async", seed=-1).seed for _ in range(3)}
    assert len(seeds) == 3 and min(seeds) >= 0


def test_everything_that_does_not_fit_is_named_at_once(tmp_path: Path) -> None:
    plain = make_checkpoint(tmp_path / "plain")
    with pytest.raises(ContractError) as caught:
        actor(plain, "rtc_trained", rtc_max_weight=20.0, execution_horizon=1000)
    wheres = [line.split(":")[0] for line in caught.value.problems]
    assert wheres == [
        "execution_horizon", "rtc_max_weight", "strategy rtc_trained",
    ]  # fmt: skip
