# SPDX-License-Identifier: Apache-2.0
"""Constructed routings whose information, shares and weights are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adamoe_ros.evaluation.usage.decision_record import (
    P_BINS,
    S_BINS,
    Label,
    RoutingLog,
    RoutingRecord,
    joined,
    load,
)
from adamoe_ros.evaluation.usage.figures import density_figures, usage
from adamoe_ros.evaluation.usage.information import entropy, information, mutual_information

PHASES = ("reach", "contact", "carry", "done")
E, TOKENS, STEPS = 4, 10, 2


def routed(choose: object, episodes: int = 24, per_episode: int = 4) -> RoutingRecord:
    """Two layers, four tasks in turn; ``choose(task number, phase, step, token, rng)`` -> expert."""
    log, rng = RoutingLog(), np.random.default_rng(0)
    for episode in range(episodes):
        for phase in range(per_episode):
            shape = (STEPS, 2, 1, TOKENS)
            selected = np.zeros((*shape, 1), int)
            for place in np.ndindex(shape):
                selected[place] = choose(episode % E, phase, place[0], place[3], rng)  # type: ignore[operator]
            p = np.full((*shape, E), 0.1)
            np.put_along_axis(p, selected, 0.7, -1)
            label = Label("plain", f"task{episode % E}", episode, phase)
            log.add([label], p, selected, np.full((*shape, 1), 1.2))
    record = log.record()
    assert record is not None
    return record


def test_entropy_and_information_of_known_tables() -> None:
    assert entropy([1, 1, 1, 1]) == pytest.approx(2)
    assert entropy([5, 0, 0]) == 0
    assert mutual_information(np.ones((3, 4))) == pytest.approx(0)
    assert mutual_information(np.eye(4) * 7) == pytest.approx(2)
    # p(e | g) = (3/4, 1/4) and (1/4, 3/4): 1 - H(1/4)
    assert mutual_information([[3, 1], [1, 3]]) == pytest.approx(1 - entropy([1, 3]))


def test_an_expert_per_task_is_all_there_is_to_know() -> None:
    found = usage(routed(lambda task, *_: task), PHASES, exchanges=100)
    for layer in found["information"]["task"]:
        assert layer["raw"] == pytest.approx(2) == layer["most"]
        assert layer["p_value"] < 0.02
        assert 1 < layer["corrected"] < 2  # 24 episodes: chance alone finds some
    for layer in found["information"]["phase"]:
        assert layer["raw"] == pytest.approx(0, abs=1e-9)
    assert found["share_by_task"]["task2"][0] == [0, 0, 1, 0]
    assert found["balance_by_layer"] == [1, 1]


def test_choices_by_chance_tell_nothing() -> None:
    found = usage(routed(lambda *a: a[-1].integers(E)), PHASES, exchanges=100)
    for name in ("task", "phase", "flow_step"):
        for layer in found["information"][name]:
            assert layer["raw"] > 0 and layer["corrected"] < 0.01, name
    assert np.abs(np.array(found["share_by_layer"]) - 0.25).max() < 0.05


def test_a_habit_of_the_episode_is_not_taken_for_the_task() -> None:
    """Every episode has an expert of its own, drawn without regard to its task: tokens are many,
    yet they are one draw, and only exchanging whole episodes knows it."""
    rng = np.random.default_rng(3)
    experts = rng.integers(E, size=20)
    counts = np.eye(E)[experts] * 1000
    labels = np.arange(20) % 4
    whole = information(counts, labels, exchanges=300)
    assert whole.raw > 0.1  # which a correction for 20 000 independent tokens would believe
    assert whole.p_value > 0.05 and whole.corrected < whole.raw / 2


def test_phases_are_exchanged_within_their_episode() -> None:
    found = usage(routed(lambda task, phase, *_: phase), PHASES, exchanges=60)
    for layer in found["information"]["phase"]:
        assert layer["raw"] == pytest.approx(2) and layer["p_value"] < 0.05
    assert found["share_by_phase"]["carry"][1] == [0, 0, 1, 0]
    steps = usage(routed(lambda task, phase, step, *_: step), PHASES, exchanges=20)
    assert steps["information"]["flow_step"][0]["raw"] == pytest.approx(1)
    assert steps["share_by_step"][1][0] == [0, 1, 0, 0]


def test_weights_that_are_the_probabilities_lie_on_the_line() -> None:
    rng = np.random.default_rng(1)
    shape = (3, 1, 2, 50)
    p = rng.dirichlet(np.ones(E), size=shape)
    chosen = p.argmax(-1)[..., None]
    coupled, apart = RoutingLog(), RoutingLog()
    labels = [Label("plain", "a", 0), Label("plain", "a", 1)]
    own = np.take_along_axis(p, chosen, -1)
    coupled.add(labels, p, chosen, own)
    apart.add(labels, p, chosen, rng.permuted(own, axis=3))
    records = [log.record() for log in (coupled, apart)]
    on, off = (density_figures(record.density)[0] for record in records if record is not None)
    assert on["correlation"] > 0.98 and on["weight_above_probability"] == 0
    assert abs(off["correlation"]) < 0.25
    assert off["weight_above_probability"] > 0.1 < off["weight_below_probability"]


def test_batches_are_told_apart_and_files_give_them_back(tmp_path: Path) -> None:
    log = RoutingLog()
    selected = np.zeros((STEPS, 2, 2, TOKENS, 2), int)
    selected[..., 1] = 1
    selected[:, :, 1, :, 1] = 3
    p = np.full((STEPS, 2, 2, TOKENS, E), 0.25)
    scales = np.stack([np.full(selected.shape[:-1], 0.5), np.full(selected.shape[:-1], -0.5)], -1)
    log.add([Label("plain", "a", 1, 0), Label("blind", "a", 1, 2)], p, selected, scales)
    record = log.record()
    assert record is not None and record.density.shape == (2, P_BINS, S_BINS)
    assert record.density.sum() == selected.size
    assert record.counts[0, 0, 0].tolist() == [TOKENS, TOKENS, 0, 0]
    assert record.counts[1, 1, 1].tolist() == [TOKENS, 0, 0, TOKENS]
    assert record.scale[1, 0, 0].tolist() == [0.5, 0, 0, -0.5]
    record.save(tmp_path / "a.npz")
    twice = joined([load(tmp_path / "a.npz"), record])
    assert twice is not None and len(twice) == 4
    assert twice.control.tolist() == ["plain", "blind"] * 2
    assert (twice.density == 2 * record.density).all()


def test_shares_alone_are_enough_for_layers() -> None:
    """What the nodes publish: means over the flow steps, no single decisions."""
    log = RoutingLog()
    for seed in range(3):
        log.add_shares(Label("plain", "a", seed), [[0.25, 0.75]], [[0.4, 0.6]], [[1, 2]])
    record = log.record()
    assert record is not None
    found = usage(record, PHASES, exchanges=5)
    assert found["share_by_layer"] == [[0.25, 0.75]] and found["scale_by_layer"] == [[1, 2]]
    assert found["information"] == {} and found["weight_against_probability"] == []


def test_nothing_was_decided() -> None:
    assert RoutingLog().record() is None and joined([]) is None
