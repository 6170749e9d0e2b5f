# SPDX-License-Identifier: Apache-2.0
"""Which episodes an evaluation runs, and which instruction the policy is given in each.

A seed draws the scene and the scene's instruction; the control decides what the policy is given of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.data.recording import Change
from adamoe_ros.evaluation.evaluation_settings import Wording
from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.tasks import TASKS, make_task

Control = Literal["plain", "wrong-sentence", "changed", "blind"]
"""plain: as in use. wrong-sentence: the policy alone is given another instruction than the scene was
set up for. changed: it is given another one first, and the scene's own while its arms move. blind: its
images are black."""
CONTROLS: tuple[Control, ...] = get_args(Control)
_PHRASING = 7  # of the random numbers that choose sentences; scenes draw from others


@dataclass(frozen=True)
class Case:
    """One episode that is to be run."""

    control: Control
    task: str
    seed: int


@dataclass(frozen=True)
class Instructions:
    """Of one episode.

    Attributes:
        scene: what the scene asks for, and what is judged as success.
        instruction: what the policy is given, at last.
        first: what it is given before that; None: nothing else.
    """

    scene: str
    instruction: str
    first: str | None = None

    @property
    def change(self) -> Change | None:
        """From the first sentence to the last."""
        return None if self.first is None else Change(self.instruction)


def begin(
    sim: BimanualSim,
    case: Case,
    wording: Wording = "usual",
    instruction: str | None = None,
    others: Sequence[str] = (),
) -> Instructions:
    """Set up the scene of a case.

    Args:
        instruction: what the scene is to ask for; None: drawn from the seed.
        others: tasks that another instruction may come from, where the case's own has one meaning
            only; the case's own among them does not count.

    Raises:
        ContractError: the sentence is none of the task's.
    """
    sim.reset(case.seed, instruction)
    scene = sim.instruction
    rng = np.random.default_rng((case.seed, _PHRASING))
    if case.control == "wrong-sentence":
        return Instructions(scene, _another_instruction(sim, others, wording, rng))
    given = scene
    if instruction is None:
        given = _phrased(sim.phrasings(), sim.phrasings(unseen=True), wording, rng)
    if case.control == "changed":
        return Instructions(scene, given, first=_another_instruction(sim, others, wording, rng))
    return Instructions(scene, given)


def _phrased(
    seen: Sequence[str], unseen: Sequence[str], wording: Wording, rng: np.random.Generator
) -> str:
    if wording == "usual":
        return seen[0]
    chosen = unseen if wording == "unseen" else seen
    return chosen[int(rng.integers(len(chosen)))]


def _another_instruction(
    sim: BimanualSim, others: Sequence[str], wording: Wording, rng: np.random.Generator
) -> str:
    """A sentence of the same task with another meaning, or of another task where there is none."""
    language = sim.task.language
    meanings = language.others(sim.task.meaning)
    if not meanings:
        names = [name for name in others if name != sim.task.name]
        names = names or [name for name in TASKS if name != sim.task.name]
        language = make_task(names[int(rng.integers(len(names)))]).language
        meanings = language.meanings
    meaning = meanings[int(rng.integers(len(meanings)))]
    return _phrased(
        language.sentences(meaning), language.sentences(meaning, unseen=True), wording, rng
    )


def check_tasks(tasks: Sequence[str]) -> None:
    """Raises ``ContractError`` for names that are none of the suite's, or for no task at all."""
    lines = [
        problem("task", ", ".join(sorted(TASKS)), repr(name), "choose among these")
        for name in tasks
        if name not in TASKS
    ]
    if not tasks:
        lines = [problem("task", ", ".join(sorted(TASKS)), "none", "name at least one")]
    if lines:
        raise ContractError(lines)
