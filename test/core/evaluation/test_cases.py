# SPDX-License-Identifier: Apache-2.0
"""Which sentence goes with which scene, and what an episode is judged by."""

from __future__ import annotations

import numpy as np
import pytest

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.evaluation.cases import Case, Instructions, begin, check_tasks
from adamoe_ros.evaluation.judgement import CARRY, CONTACT, DONE, REACH, EpisodeWatch, judge_trace
from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.tasks import task_of, tasks_of


@pytest.fixture(scope="module")
def cubes() -> BimanualSim:
    return BimanualSim("pick_cube")


def test_the_control_changes_what_is_said_and_nothing_else(cubes: BimanualSim) -> None:
    for seed in range(5):
        plain = begin(cubes, Case("plain", "pick_cube", seed))
        there = cubes.state()
        wrong = begin(cubes, Case("wrong-sentence", "pick_cube", seed))
        assert (cubes.state() == there).all() and wrong.scene == plain.scene == plain.instruction
        language = cubes.task.language
        assert language.meaning_of(wrong.instruction) not in (
            None,
            language.meaning_of(plain.scene),
        )
        assert begin(cubes, Case("wrong-sentence", "pick_cube", seed)) == wrong


def test_a_changed_sentence_ends_as_the_plain_one(cubes: BimanualSim) -> None:
    for seed in range(5):
        plain = begin(cubes, Case("plain", "pick_cube", seed))
        changed = begin(cubes, Case("changed", "pick_cube", seed))
        assert (changed.scene, changed.instruction) == (
            plain.scene,
            plain.instruction,
        ) and plain.change is None
        assert changed.change is not None and changed.change.instruction == plain.instruction
        language = cubes.task.language
        assert language.meaning_of(str(changed.first)) not in (None, cubes.task.meaning)


def test_a_task_with_one_wish_is_contradicted_by_another_task() -> None:
    bar = BimanualSim("lift_bar")
    said = begin(bar, Case("wrong-sentence", "lift_bar", 1), others=("lift_bar", "pick_cube"))
    found = task_of(said.instruction)
    assert found is not None and found[0] == "pick_cube"
    assert EpisodeWatch(bar, said).followed is None  # there is no cube in this scene


def test_unseen_words_keep_the_meaning(cubes: BimanualSim) -> None:
    said = begin(cubes, Case("plain", "pick_cube", 3), "unseen")
    assert said.instruction in cubes.phrasings(unseen=True) and said.scene == cubes.phrasings()[0]
    assert begin(cubes, Case("plain", "pick_cube", 3), "any").instruction in cubes.phrasings()


def test_tasks_by_sentences() -> None:
    sentences = ("put the cube in the red zone", "lift the yellow bar with both arms", "dance")
    assert tasks_of(sentences) == ("lift_bar", "put_in_zone")
    with pytest.raises(ContractError, match="juggle"):
        check_tasks(["lift_bar", "juggle"])


def _play(sim: BimanualSim, said: Instructions) -> tuple[EpisodeWatch, list[int]]:
    """The expert's episode, watched; the phase at every tenth tick."""
    watch, phases = EpisodeWatch(sim, said), []
    for tick, row in enumerate(sim.plan()):
        sim.set_targets(row)
        sim.advance()
        watch()
        if tick % 10 == 0:
            phases.append(watch.phase())
    return watch, phases


def test_phases_and_judgement_of_the_expert(cubes: BimanualSim) -> None:
    said = begin(cubes, Case("plain", "pick_cube", 4))
    watch, phases = _play(cubes, said)
    assert watch.success and watch.followed is True
    assert phases == sorted(phases) and {REACH, CONTACT, DONE} <= set(phases)
    trace = watch.trace()
    again, seen = judge_trace(trace, said.instruction)
    assert again.success and seen[0] == REACH and seen[-1] == DONE
    assert np.isclose(np.diff(trace.times), 0.04).all()


def test_something_in_the_air_is_carried() -> None:
    sim = BimanualSim("put_in_zone")
    _, phases = _play(sim, begin(sim, Case("plain", "put_in_zone", 2)))
    assert [p for i, p in enumerate(phases) if i == 0 or phases[i - 1] != p][:3] == [
        REACH, CONTACT, CARRY,
    ]  # fmt: skip
    assert phases[-1] == DONE


def test_who_does_the_other_wish_has_followed(cubes: BimanualSim) -> None:
    """The expert of the told sentence in a scene that is for another one."""
    said = begin(cubes, Case("wrong-sentence", "pick_cube", 4))
    cubes.ask(said.instruction)
    plan = cubes.plan()
    cubes.ask(said.scene)
    watch = EpisodeWatch(cubes, said)
    for row in plan:
        cubes.set_targets(row)
        cubes.advance()
        watch()
    assert watch.followed is True and not watch.success
    replayed, _ = judge_trace(watch.trace(), said.instruction)
    assert replayed.followed is True and not replayed.success
