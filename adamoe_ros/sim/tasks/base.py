# SPDX-License-Identifier: Apache-2.0
"""What a task is: objects, their random placement, instructions, judgement, and an expert's plan.

A task owns its words: phrasings are templates whose slots are filled by the words of a meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.sim.robot import DualArm

Vector = NDArray[np.float64]
Meaning = Mapping[str, str]  # slot of the phrasings -> word
# Where the grasp centres are at home, m: what ``goal_points`` gives for an arm without a job.
REST = ((-0.188, 0.5, 0.307), (0.188, 0.5, 0.307))


@dataclass(frozen=True)
class Language:
    """How a task is put into words.

    Attributes:
        meanings: what the task can ask for, one entry per variant.
        phrasings: templates for training, the usual one first.
        unseen: templates kept out of training, to test how a policy takes new words.
    """

    meanings: tuple[Meaning, ...]
    phrasings: tuple[str, ...]
    unseen: tuple[str, ...]

    def sentences(self, meaning: Meaning, unseen: bool = False) -> tuple[str, ...]:
        """Every way to say one meaning, in training's words or in the unseen ones."""
        templates = self.unseen if unseen else self.phrasings
        return tuple(template.format(**meaning) for template in templates)

    def all_sentences(self, unseen: bool = False) -> tuple[str, ...]:
        """Every sentence, the usual phrasing of each meaning first."""
        ways = zip(*(self.sentences(meaning, unseen) for meaning in self.meanings), strict=True)
        return tuple(sentence for way in ways for sentence in way)

    def others(self, meaning: Meaning) -> tuple[Meaning, ...]:
        """What else the task can ask for."""
        return tuple(other for other in self.meanings if other != meaning)

    def meaning_of(self, sentence: str) -> Meaning | None:
        """The meaning of a sentence, seen or unseen; None: it is none of this task's.

        Case, spacing and the full stop do not count.
        """
        wanted = _plain(sentence)
        for meaning in self.meanings:
            known = (*self.sentences(meaning), *self.sentences(meaning, unseen=True))
            if wanted in map(_plain, known):
                return meaning
        return None


def _plain(sentence: str) -> str:
    return " ".join(sentence.lower().split()).rstrip(" .!")


def every(**choices: tuple[str, ...]) -> tuple[Meaning, ...]:
    """A meaning per combination of words: ``every(colour=("red", "blue"), side=SIDES)``."""
    return tuple(dict(zip(choices, words, strict=True)) for words in product(*choices.values()))


def ordered_pairs(first: str, second: str, words: tuple[str, ...]) -> tuple[Meaning, ...]:
    """A meaning per ordered pair of two different words."""
    return tuple({first: one, second: other} for one, other in permutations(words, 2))


class Task(Protocol):
    """One task of the suite.

    Attributes:
        name: in the registry.
        language: its sentences; ``instructions`` and ``held_out`` list them.
        goals: number of 3-D points in ``goal_points``: one per hand.
        tolerance: share of the usual disturbance that the expert's execution bears.
        meaning: what the present episode asks for; one of ``language.meanings``.
    """

    name: str
    language: Language
    goals: int
    tolerance: float
    meaning: Meaning

    @property
    def instructions(self) -> tuple[str, ...]:
        """Sentences for training; the first one is the usual one."""

    @property
    def held_out(self) -> tuple[str, ...]:
        """Sentences with the same meanings that training never shows."""

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """Put the task's bodies into the scene."""

    def place(self, model: mujoco.MjModel, data: Any, rng: np.random.Generator) -> None:
        """Random start positions and shades; the same for every meaning of the same seed."""

    def begin(self, meaning: Meaning) -> None:
        """A new episode that asks for this."""

    def watch(self, model: mujoco.MjModel, data: Any) -> None:
        """See every state between ``begin`` and ``success``, for a judgement with a memory."""

    def goal_points(self, model: mujoco.MjModel, data: Any) -> Vector:
        """(3 * goals,) where the hands have to go, m in the world; training's auxiliary target."""

    def success(self, model: mujoco.MjModel, data: Any) -> bool:
        """Judgement of the present state."""

    def plan(self, model: mujoco.MjModel, data: Any, robot: DualArm) -> Vector:
        """(T, 14) targets at 50 Hz of the scripted expert from the home pose."""


class SuiteTask:
    """What the tasks have in common: sentences, and a judgement without a memory."""

    name: str
    language: Language
    goals = 2
    tolerance = 1.0

    def __init__(self) -> None:
        self.begin(self.language.meanings[0])

    @property
    def instructions(self) -> tuple[str, ...]:
        """See ``Task``."""
        return self.language.all_sentences()

    @property
    def held_out(self) -> tuple[str, ...]:
        """See ``Task``."""
        return self.language.all_sentences(unseen=True)

    def begin(self, meaning: Meaning) -> None:
        """See ``Task``."""
        self.meaning: Meaning = meaning

    def watch(self, model: mujoco.MjModel, data: Any) -> None:
        """Nothing to remember."""


class OneArmTask(SuiteTask):
    """A task whose scene, at the start, settles which arm has the job."""

    def begin(self, meaning: Meaning) -> None:
        """See ``Task``."""
        super().begin(meaning)
        self._side: int | None = None

    def watch(self, model: mujoco.MjModel, data: Any) -> None:
        """Remember whose job it is."""
        self.arm(model, data)

    def arm(self, model: mujoco.MjModel, data: Any) -> int:
        """0 left, 1 right; settled when first asked."""
        if self._side is None:
            self._side = self.choose_arm(model, data)
        return self._side

    def choose_arm(self, model: mujoco.MjModel, data: Any) -> int:
        """Whose job it is, at the start."""
        raise NotImplementedError
