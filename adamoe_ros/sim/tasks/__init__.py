# SPDX-License-Identifier: Apache-2.0
"""The bimanual suite: one file a task."""

from __future__ import annotations

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.sim.tasks.base import Task
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
