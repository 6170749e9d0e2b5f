# SPDX-License-Identifier: Apache-2.0
"""Which scenes a demo shows, from its arguments. Imports the simulator's tasks inside functions."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import dataclass

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.evaluation.changes import CHANGE_AFTER_S


@dataclass(frozen=True)
class Scene:
    """One episode of a demo.

    Attributes:
        task: of the simulator.
        instruction: sentence at the start; None: the simulator's own for the seed.
        seed: of the scene.
        change_to: sentence that replaces it while the arms move; None: none does.
        change_after: s of the robot's clock until then.
    """

    task: str
    instruction: str | None
    seed: int
    change_to: str | None = None
    change_after: float = CHANGE_AFTER_S


# (task, sentence, sentence that replaces it) of ``adamoe demo`` without --task and --instruction: as
# far as the policy was trained on the task
TOUR: tuple[tuple[str, str, str | None], ...] = (
    ("lift_bar", "lift the yellow bar with both arms", None),
    (
        "pick_cube",
        "pick up the red cube with the left arm",
        "pick up the blue cube with the right arm",
    ),
    ("push_to_line", "push the blue cube to the line", None),
    ("pick_two", "pick up the red cube and the blue cube with both arms", None),
)


def scenes_from(options: argparse.Namespace, taught: Collection[str] = ()) -> tuple[Scene, ...]:
    """The scenes that the arguments ask for.

    Args:
        taught: sentences that the policy was trained on; empty: nobody knows.

    Raises:
        ContractError: a sentence or task that the simulator does not know, or one that does not
            belong to the other.
    """
    rows = _rows(options, taught)
    return tuple(
        Scene(task, sentence, options.seed + number, change, options.change_after)
        for number in range(options.episodes)
        for task, sentence, change in rows
    )


def _rows(
    options: argparse.Namespace, taught: Collection[str]
) -> tuple[tuple[str, str | None, str | None], ...]:
    task, sentence, change = options.task, options.instruction, options.change_to
    problems = Problems()
    for option, text in (("--instruction", sentence), ("--change-to", change)):
        if text is not None and not text.strip():
            problems.add(option, "a sentence", "an empty one", "write one, or leave the option out")
    problems.raise_if_any()
    if task is None and sentence is None:
        if change is None:
            return tour(taught)
        do = "add --instruction with the sentence to begin with"
        raise ContractError(problem("--change-to", "a sentence to change", "none", do))
    name = task or find_task(str(sentence))
    if change is not None:
        _check_change(name, change)
    return ((name, sentence, change),)


def tour(taught: Collection[str]) -> tuple[tuple[str, str, str | None], ...]:
    """The rows of ``TOUR`` whose task has a sentence that was taught; at least the first one."""
    from adamoe_ros.sim.tasks import TASKS

    if not taught:
        return TOUR
    known = [row for row in TOUR if set(TASKS[row[0]].language.all_sentences()) & set(taught)]
    return tuple(known) or TOUR[:1]


def find_task(sentence: str) -> str:
    """The task whose scene allows what a sentence asks for.

    Raises:
        ContractError: none does.
    """
    from adamoe_ros.sim.tasks import TASKS, task_of

    found = task_of(sentence)
    if found is not None:
        return found[0]
    usual = " | ".join(kind.language.phrasings[0] for kind in TASKS.values())
    do = "or name the scene with --task"
    raise ContractError(problem("--instruction", usual, repr(sentence), do))


def _check_change(task: str, sentence: str) -> None:
    """The second sentence is judged in the same scene."""
    from adamoe_ros.sim.tasks import make_task

    language = make_task(task).language
    if language.meaning_of(sentence) is None:
        usual = " | ".join(language.phrasings)
        raise ContractError(
            problem("--change-to", usual, repr(sentence), f"choose one of {task}'s sentences")
        )
