# SPDX-License-Identifier: Apache-2.0
"""The bimanual suite: one file a task."""

from __future__ import annotations

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.sim.tasks.base import Task
from adamoe_ros.sim.tasks.lift_bar import LiftBar

TASKS: dict[str, type[Task]] = {"lift_bar": LiftBar}


def make_task(name: str) -> Task:
    """The task of this name.

    Raises:
        ContractError: there is none.
    """
    if name not in TASKS:
        raise ContractError(problem("task", ", ".join(sorted(TASKS)), repr(name), "choose one"))
    return TASKS[name]()
