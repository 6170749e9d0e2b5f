# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of LIBERO's tasks as a LeRobot dataset with openpi's cameras and vectors.

As ``suite_dataset``, with a simulator in a process beside each of ours. Scenes are drawn from the seed:
none is one of LIBERO's initial states, on which policies are tested.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adamoe_ros import __version__
from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.data.lerobot.dataset_schema import DatasetCamera, DatasetSchema
from adamoe_ros.data.lerobot.dataset_writer import DatasetDetails
from adamoe_ros.data.lerobot.episode_writer import EpisodeWriter, FrameRow
from adamoe_ros.sim.libero import CAMERAS, RATE_HZ
from adamoe_ros.sim.libero.process import own_simulator
from adamoe_ros.training.suite_dataset import SuiteJob, SuiteOutcome, mark_staged, shown_frame

POSE = ("ee_x", "ee_y", "ee_z", "ee_rx", "ee_ry", "ee_rz")
STATE_ROLES, ACTION_ROLES = (*POSE, "finger_0", "finger_1"), (*POSE, "gripper")
OBJECT_POSITIONS = tuple(f"{what}_{axis}" for what in ("object", "goal") for axis in "xyz")
_TASKS = 10  # of each suite that the expert can do


@dataclass(frozen=True)
class LiberoDemonstrations:
    """What decides an episode's content.

    Attributes:
        size: px of the pictures, both ways.
        noise: standard deviation of the disturbance, share of the largest step, in turn over seeds.
        most: steps; below the test's budget, or the policy learns to be late.
        lossless: PNG instead of H.264. crf: quality of H.264.
    """

    size: int = 256
    noise: tuple[float, ...] = (0.0, 0.15)
    most: int = 270
    lossless: bool = False
    crf: int = 18

    def check(self) -> None:
        """Raises ``ContractError`` where the noise does not fit."""
        if not self.noise or not all(0 <= value <= 1 for value in self.noise):
            do = "give e.g. 0 0.15"
            raise ContractError(problem("noise", "shares in 0 ... 1", self.noise, do))


@dataclass(frozen=True)
class LiberoJob(SuiteJob):
    """A dataset of LIBERO's tasks; a task is ``libero_object-3``.

    Attributes:
        python: of the simulator's environment.
    """

    settings: Any = field(default_factory=LiberoDemonstrations)
    python: Path = Path()

    def check_tasks(self, problems: Problems) -> None:
        """See ``SuiteJob``."""
        for task in self.tasks:
            number = task.rpartition("-")[2]
            if not number.isdigit() or int(number) >= _TASKS:
                problems.add("--tasks", f"numbers 0 ... {_TASKS - 1}", number, "correct it")

    @property
    def show(self) -> Any:
        """See ``SuiteJob``."""
        return _show_batch

    def schema(self) -> DatasetSchema:
        """Of the dataset."""
        size = self.settings.size
        cameras = tuple(DatasetCamera(name, size, size) for name in CAMERAS)
        lossless = self.settings.lossless
        return DatasetSchema(
            STATE_ROLES, cameras, RATE_HZ, "float32", lossless, ACTION_ROLES, OBJECT_POSITIONS
        )

    def details(self, outcome: SuiteOutcome) -> DatasetDetails:
        """What it says of itself."""
        ours = {
            "format": "adamoe_ros/dataset/1",
            "created_by": f"adamoe_ros {__version__}",
            "embodiments": ["libero_panda"],
            "roles": list(STATE_ROLES),
            "action_roles": list(ACTION_ROLES),
            "object_positions": list(OBJECT_POSITIONS),
            "gripper": {"open": -1.0, "closed": 1.0},
            "state_source": "measured",
            "settings": asdict(self.settings),
            "tasks": list(self.tasks),
            "failed": outcome.failed,
        }
        return DatasetDetails("panda", ours)


def _show_batch(job: LiberoJob, task: str, seeds: list[int]) -> int:
    """Stage some episodes of one task; how many."""
    simulator = own_simulator(job.python)
    suite, _, number = task.rpartition("-")
    opened = simulator.ask("open", suite=suite, task=int(number), size=job.settings.size)
    for seed in seeds:
        noise = job.settings.noise[seed % len(job.settings.noise)]
        made = simulator.ask("demonstrate", seed=seed, noise=noise, most=job.settings.most)
        facts = {"task": task, "seed": seed, "noise": noise, "success": made["success"]}
        if made["success"]:
            write_episode(job, opened["sentence"], made, facts)
        mark_staged(job, facts)
    return len(seeds)


def write_episode(
    job: LiberoJob, sentence: str, made: dict[str, Any], facts: dict[str, Any]
) -> None:
    """Stage what ``expert.demonstrate`` returned.

    Args:
        facts: with ``task`` and ``seed``.
    """
    folder = job.folder(facts["task"], facts["seed"])
    writer = EpisodeWriter(folder, job.schema(), job.settings.crf)
    try:
        vectors = zip(made["states"], made["actions"], made["objects"], strict=True)
        for step, (state, action, objects) in enumerate(vectors):
            stamps = np.full(2 + len(CAMERAS), step * 1_000_000_000 // RATE_HZ, np.int64)
            shown = {name: shown_frame(made["pictures"][name][step]) for name in CAMERAS}
            writer.add(FrameRow(state, action, stamps, sentence, shown, environment=objects))
        writer.close(facts)
    except BaseException:
        writer.abort()
        raise
