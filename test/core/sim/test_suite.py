# SPDX-License-Identifier: Apache-2.0
"""Every registered task: set-up, physics, expert, judgement, and the sentence that drives it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.sim.bimanual import CONTROL_RATE, BimanualSim
from adamoe_ros.sim.demonstrations import run_expert
from adamoe_ros.sim.randomisation import RandomisationSettings
from adamoe_ros.sim.tasks import TASKS
from adamoe_ros.training.vocabulary import build_tokenizer

SEEDS = (11, 12, 13)
SPOKEN = [name for name in TASKS if len(TASKS[name].language.meanings) > 1]
every_task = pytest.mark.parametrize("name", TASKS)
spoken_task = pytest.mark.parametrize("name", SPOKEN)


@cache
def sim_of(name: str) -> BimanualSim:
    """One compiled scene per task; each test resets it."""
    return BimanualSim(name)


@every_task
def test_starts_still_and_unsolved(name: str) -> None:
    sim = sim_of(name)
    sim.reset(5)
    before, goals = sim.state(), sim.goal_points()
    sim.advance(250)
    assert goals.shape == (6,) and np.isfinite(goals).all()
    objects = slice(16, None)  # the arms' joints come first
    assert np.abs(sim.state() - before)[objects].max() < 1e-3
    assert not sim.success()


@every_task
def test_random_targets_give_finite_states(name: str) -> None:
    sim = sim_of(name)
    sim.reset(6)
    rng = np.random.default_rng(0)
    for _ in range(40):
        sim.set_targets(rng.uniform(-2, 2, 14))
        sim.advance()
    positions, velocities = sim.measured()
    assert np.isfinite([*positions, *velocities, *sim.state(), *sim.goal_points()]).all()


@every_task
def test_expert_succeeds(name: str) -> None:
    assert all(run_expert(sim_of(name), seed, 25, None).success for seed in SEEDS)


@every_task
def test_expert_keeps_speed_and_acceleration(name: str) -> None:
    sim = sim_of(name)
    plans = []
    for seed in range(8):
        sim.reset(seed)
        plans.append(sim.plan())
    arms = [joint for joint in range(14) if joint not in (6, 13)]
    for rows in plans:
        speed = np.abs(np.diff(rows, axis=0)).max(0) * CONTROL_RATE
        bend = np.abs(np.diff(rows, 2, axis=0)).max(0) * CONTROL_RATE**2
        assert speed[arms].max() < 0.6 * 3.14 and bend[arms].max() < 0.6 * 20.0
        assert speed[[6, 13]].max() < 0.6 * 0.2 and bend[[6, 13]].max() < 0.6 * 4.0
        assert np.abs(rows[:, [3, 10]]).max() < 1.0  # the forearm never rolls over: learnable


@every_task
def test_same_seed_same_episode(name: str) -> None:
    sim, other = sim_of(name), BimanualSim(name)
    other.reset(99)  # what came before does not matter
    for each in (sim, other):
        each.reset(7)
        each.advance(50)
    assert np.array_equal(sim.state(), other.state())
    assert np.array_equal(sim.model.geom_rgba, other.model.geom_rgba)
    assert sim.instruction == other.instruction
    sim.reset(8)
    assert not np.array_equal(sim.state(), other.state())


@every_task
def test_sentences_are_told_apart(name: str) -> None:
    task = TASKS[name]()
    sentences = (*task.instructions, *task.held_out)
    assert len(set(sentences)) == len(sentences)
    assert len(task.language.phrasings) >= 3 and len(task.language.unseen) >= 2
    for meaning in task.language.meanings:
        for unseen in (False, True):
            for sentence in task.language.sentences(meaning, unseen):
                assert task.language.meaning_of(f" {sentence.upper()}. ") == meaning


def test_no_sentence_belongs_to_two_tasks() -> None:
    sentences = [
        s for name in TASKS for s in (*TASKS[name]().instructions, *TASKS[name]().held_out)
    ]
    assert len(set(sentences)) == len(sentences)


@every_task
def test_unseen_phrasings_use_words_that_the_task_brings_or_that_are_usual(name: str) -> None:
    """They test how a policy takes a new order of words, not words it cannot know."""
    task = TASKS[name]()
    tokenizer = build_tokenizer(task.instructions)
    for sentence in task.held_out:
        assert "<unk>" not in tokenizer.encode(sentence).tokens, sentence


@every_task
def test_foreign_sentence_is_refused_and_the_episode_goes_on(name: str) -> None:
    sim = sim_of(name)
    sim.reset(3)
    state, sentence = sim.state(), sim.instruction
    with pytest.raises(ContractError, match=f"instruction of {name}: expected"):
        sim.reset(4, "fold the towel")
    assert sim.instruction == sentence and sim.seed == 3
    assert np.array_equal(sim.state(), state)
    with pytest.raises(ContractError):
        BimanualSim(name, "fold the towel")


@spoken_task
def test_sentence_selects_what_is_asked_for(name: str) -> None:
    sim = sim_of(name)
    scenes, wishes, drawn = [], set(), set()
    for meaning in sim.task.language.meanings:
        sentence = sim.task.language.sentences(meaning, unseen=True)[1]
        sim.reset(21, sentence)
        assert sim.instruction == sentence and sim.task.meaning == meaning
        scenes.append(sim.state())
        wishes.add(tuple(sim.goal_points().round(4)))
    assert all(np.array_equal(scene, scenes[0]) for scene in scenes)  # same seed, same scene
    assert len(wishes) > 1  # other words, other goals
    for seed in range(40):
        sim.reset(seed)
        drawn.add(sim.instruction)
    assert drawn == {sim.task.language.sentences(m)[0] for m in sim.task.language.meanings}


def test_another_sentence_half_way() -> None:
    sim = sim_of("pick_cube")
    sim.reset(51, "pick up the red cube with the left arm")
    for row in sim.plan():
        sim.set_targets(row)
        sim.advance()
    assert sim.success()
    state = sim.state()
    sim.ask("pick up the green cube with the right arm")
    assert np.array_equal(sim.state(), state)
    assert not sim.success()
    assert sim.instruction == "pick up the green cube with the right arm"


@spoken_task
def test_doing_what_another_sentence_asks_is_no_success(name: str) -> None:
    sim = sim_of(name)
    first, *others = sim.task.language.meanings
    if name == "pick_two":  # the same two cubes the other way round are the same wish
        others = [m for m in others if set(m.values()) != set(first.values())]
    sim.reset(31, sim.task.language.sentences(others[-1])[0])
    plan = sim.plan()
    sim.reset(31, sim.task.language.sentences(first)[0])
    for row in plan:
        sim.set_targets(row)
        sim.advance()
    assert not sim.success()


def test_handover_without_the_giver_does_not_count() -> None:
    """The taker may not fetch the cube itself: the judgement has a memory."""
    sim = sim_of("handover")
    sim.reset(41, "hand the red cube over from the left arm to the right arm")
    picker = BimanualSim("pick_cube", "pick up the red cube with the right arm")
    picker.reset(0)
    picker.data.qpos[:] = sim.data.qpos
    for row in picker.plan():
        sim.set_targets(row)
        sim.advance()
    assert sim.data.body("red_cube").xpos[2] > 0.07
    assert not sim.success()


def test_lights_and_cameras_vary_only_when_asked() -> None:
    plain, random = (
        sim_of("pick_cube"),
        BimanualSim(
            "pick_cube",
            randomisation=RandomisationSettings(light=0.3, camera_shift=0.02, camera_turn=0.05),
        ),
    )
    looks = []
    for sim in (plain, random):
        for seed in (1, 2, 1):
            sim.reset(seed)
            model = sim.model
            looks.append(np.concatenate([model.light_diffuse.ravel(), model.cam_pos.ravel()]))
    assert np.array_equal(looks[0], looks[1])
    assert not np.array_equal(looks[3], looks[4]) and np.array_equal(looks[3], looks[5])
    sim_of("pick_cube").reset(1)
    random.reset(1)
    assert np.array_equal(plain.state(), random.state())  # the scene itself is the same
