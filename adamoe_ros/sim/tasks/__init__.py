# SPDX-License-Identifier: Apache-2.0
"""The bimanual suite: one file a task, with its words, and one line in ``TASKS``.

``base`` says what a task is; ``cubes``, ``objects`` and ``grasping`` are what several share.
"""

from __future__ import annotations

from collections.abc import Collection

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.sim.tasks.base import Meaning, Task
from adamoe_ros.sim.tasks.handover import Handover
from adamoe_ros.sim.tasks.insert_peg import InsertPeg
from adamoe_ros.sim.tasks.lift_bar import LiftBar
from adamoe_ros.sim.tasks.pick_cube import PickCube
from adamoe_ros.sim.tasks.pick_two import PickTwo
from adamoe_ros.sim.tasks.push_to_line import PushToLine
from adamoe_ros.sim.tasks.put_in_zone import PutInZone
from adamoe_ros.sim.tasks.stack_cubes import StackCubes

TASKS: dict[str, type[Task]] = {
    "lift_bar": LiftBar,
    "pick_cube": PickCube,
    "handover": Handover,
    "push_to_line": PushToLine,
    "stack_cubes": StackCubes,
    "put_in_zone": PutInZone,
    "pick_two": PickTwo,
    "insert_peg": InsertPeg,
}


def make_task(name: str) -> Task:
    """The task of this name.

    Raises:
        ContractError: there is none.
    """
    if name not in TASKS:
        raise ContractError(problem("task", ", ".join(sorted(TASKS)), repr(name), "choose one"))
    return TASKS[name]()


def task_of(sentence: str) -> tuple[str, Meaning] | None:
    """The task that a sentence belongs to and what it asks for."""
    for name, kind in TASKS.items():
        meaning = kind.language.meaning_of(sentence)
        if meaning is not None:
            return name, meaning
    return None


def tasks_of(sentences: Collection[str]) -> tuple[str, ...]:
    """Tasks that some of the sentences belong to, in the suite's order."""
    return tuple(
        name
        for name, kind in TASKS.items()
        if any(kind.language.meaning_of(sentence) is not None for sentence in sentences)
    )
