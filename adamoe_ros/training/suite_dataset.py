# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of the bimanual suite as a LeRobot dataset: a process per core, resumable.

Each episode is first tried without pictures, which costs a twentieth, so that nothing is rendered
of one that fails. Staged episodes wait beside the dataset; a stopped run goes on with them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros import __version__
from adamoe_ros.contract.errors import ContractError, Problems
from adamoe_ros.contract.files import replace_text
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.workers import UnitWork, Workers
from adamoe_ros.data.episode_info import hash_of
from adamoe_ros.data.lerobot.dataset_schema import DatasetCamera, DatasetSchema, Totals, Version
from adamoe_ros.data.lerobot.dataset_writer import DatasetDetails, assemble
from adamoe_ros.data.lerobot.episode_writer import FACTS, EpisodeWriter, FrameRow
from adamoe_ros.data.units import Units, units_for
from adamoe_ros.sim.bimanual import CONTROL_RATE, BimanualSim
from adamoe_ros.sim.demonstrations import PlannedEpisode, phrasing, play, prepare
from adamoe_ros.sim.randomisation import RandomisationSettings
from adamoe_ros.sim.render import CameraRenderer
from adamoe_ros.sim.scene import CAMERAS
from adamoe_ros.sim.tasks import TASKS
from adamoe_ros.streams.frames import Frame

_BATCH = 5  # episodes of one task that a process shows before it reports
_NS_PER_TICK = round(1e9 / CONTROL_RATE)


@dataclass(frozen=True)
class SuiteSettings:
    """What decides an episode's content.

    Attributes:
        fps: frames per second; divides the control rate.
        size: (height, width) of the pictures, even.
        noise: rad, standard deviation of the disturbed execution, in turn over the seeds; less
            for a task of little tolerance.
        all_phrasings: draw among the training phrasings; else the usual one.
        randomisation: what about lights and cameras is random.
        robot: profile with the simulator's units.
        gripper: units of the grippers, as ``adamoe dataset convert --gripper``.
        lossless: PNG instead of H.264. crf: quality of H.264.
    """

    fps: int = 25
    size: tuple[int, int] = (480, 640)
    noise: tuple[float, ...] = (0.0, 0.008)
    all_phrasings: bool = True
    randomisation: RandomisationSettings = field(default_factory=RandomisationSettings)
    robot: str = "aloha_sim"
    gripper: str = "1_open"
    lossless: bool = False
    crf: int = 18

    def check(self) -> None:
        """Raises ``ContractError`` with every value that does not fit."""
        problems = Problems()
        if self.fps < 1 or CONTROL_RATE % self.fps:
            allowed = f"a divisor of the control rate, {CONTROL_RATE:g} Hz"
            problems.add("fps", allowed, self.fps, "choose e.g. 25 or 10")
        if min(self.size) < 16 or (not self.lossless and any(side % 2 for side in self.size)):
            problems.add("size", "even sides of at least 16 px", self.size, "choose e.g. 480 x 640")
        if not self.noise or min(self.noise) < 0:
            problems.add("noise", "values of 0 rad or more", self.noise, "give e.g. 0 0.008")
        problems.raise_if_any()


@dataclass(frozen=True)
class SuiteJob:
    """A dataset that is to be made.

    Attributes:
        target: its folder; does not exist yet.
        tasks: registry names; episodes: of each, before failed ones are left out.
        first_seed: of each task's episodes.
    """

    target: Path
    tasks: tuple[str, ...]
    episodes: int
    first_seed: int = 200_000
    settings: Any = field(default_factory=SuiteSettings)
    version: Version = "v3.0"
    workers: Workers = field(default_factory=Workers)

    @property
    def staging(self) -> Path:
        """Where episodes wait."""
        return self.target.with_name(f".{self.target.name}.staging")

    def folder(self, task: str, seed: int) -> Path:
        """Of one staged episode."""
        return self.staging / f"{task}-{seed}"

    def check(self) -> None:
        """Raises ``ContractError`` with everything that does not fit."""
        problems = Problems()
        if self.target.exists():
            problems.add(str(self.target), "a new folder", "one that exists", "choose another")
        self.check_tasks(problems)
        if self.episodes < 1 or not self.tasks:
            problems.add(
                "episodes", "at least 1 of at least one task", self.episodes, "ask for more"
            )
        problems.raise_if_any()
        self.settings.check()

    def check_tasks(self, problems: Problems) -> None:
        """Add every task that is none."""
        for task in [name for name in self.tasks if name not in TASKS]:
            problems.add("task", ", ".join(sorted(TASKS)), repr(task), "choose among these")

    @property
    def show(self) -> Callable[[SuiteJob, str, list[int]], int]:
        """Stages some episodes of one task; of a module that every process can import."""
        return _show_batch

    def schema(self) -> DatasetSchema:
        """Of the dataset."""
        return _schema(self.settings, self.robot()[1])

    def details(self, outcome: SuiteOutcome) -> DatasetDetails:
        """What it says of itself."""
        profile, units = self.robot()
        return DatasetDetails(profile.name, _ours(self, profile, units, outcome))

    def robot(self) -> tuple[RobotProfile, Units]:
        """Profile and units of the numbers."""
        profile = load_profile(profile_path(self.settings.robot, robots_dir()))
        return profile, units_for(profile, None, self.settings.gripper)


@dataclass
class SuiteOutcome:
    """What became of the episodes.

    Attributes:
        made: task -> seeds in the dataset. failed: task -> seeds where the expert failed.
        reused: staged episodes of an earlier run.
    """

    made: dict[str, list[int]] = field(default_factory=dict)
    failed: dict[str, list[int]] = field(default_factory=dict)
    reused: int = 0
    totals: Totals | None = None


def generate_dataset(job: SuiteJob, report: Callable[[str, int], None]) -> SuiteOutcome:
    """Make the dataset: episodes in the order of tasks and seeds, whatever process made them.

    Args:
        report: called with a task and how many of its episodes are done now.

    Raises:
        ContractError: the job does not fit, or the expert failed everywhere.
    """
    job.check()
    outcome = SuiteOutcome()
    seeds = range(job.first_seed, job.first_seed + job.episodes)
    batches = []
    for task in job.tasks:
        waiting = [seed for seed in seeds if not _is_staged(job, task, seed)]
        outcome.reused += len(seeds) - len(waiting)
        report(task, len(seeds) - len(waiting))
        batches += [(task, waiting[n : n + _BATCH]) for n in range(0, len(waiting), _BATCH)]
    batches.sort(key=lambda batch: batch[1][0])  # a stopped run has as much of every task
    for task, count in _run(job, batches):
        report(task, count)
    for task in job.tasks:
        made = {seed: _facts(job, task, seed)["success"] for seed in seeds}
        outcome.made[task] = [seed for seed, success in made.items() if success]
        outcome.failed[task] = [seed for seed, success in made.items() if not success]
    folders = [job.folder(task, seed) for task in job.tasks for seed in outcome.made[task]]
    if not folders:
        raise ContractError("dataset: expected successful episodes, got none; lower the noise")
    outcome.totals = assemble(folders, job.target, job.schema(), job.version, job.details(outcome))
    shutil.rmtree(job.staging, ignore_errors=True)
    return outcome


def _run(job: SuiteJob, batches: list[tuple[str, list[int]]]) -> Iterator[tuple[str, int]]:
    work = UnitWork(
        job.show,
        [(job, *batch) for batch in batches],
        [f"{task}, seeds {seeds[0]} to {seeds[-1]}" for task, seeds in batches],
        folder=job.staging if job.workers.ray else None,
        data=f"episodes by path, in {job.staging}",
    )
    for number, done in job.workers.run(work):
        yield batches[number][0], done.result()


def _show_batch(job: SuiteJob, task: str, seeds: list[int]) -> int:
    """Stage some episodes of one task; how many."""
    _, units = job.robot()
    sim = BimanualSim(task, randomisation=job.settings.randomisation)
    camera = CameraRenderer(sim.model, *job.settings.size[::-1])
    try:
        for seed in seeds:
            _show(job, sim, camera, units, seed)
    finally:
        camera.close()
    return len(seeds)


def _show(job: SuiteJob, sim: BimanualSim, camera: CameraRenderer, units: Units, seed: int) -> None:
    settings, folder = job.settings, job.folder(sim.task.name, seed)
    noise = settings.noise[seed % len(settings.noise)] * sim.task.tolerance
    sim.reset(seed)
    sentence = sim.instruction
    if settings.all_phrasings:
        sentence = phrasing(sim, seed)
    every = round(CONTROL_RATE / settings.fps)

    def begin() -> PlannedEpisode:
        return prepare(sim, seed, every, noise, sentence)

    for _ in play(sim, begin()):
        pass
    facts = {"task": sim.task.name, "seed": seed, "noise_rad": noise, "success": sim.success()}
    if facts["success"]:
        writer = EpisodeWriter(folder, _schema(settings, units), settings.crf)
        try:
            showing = begin()
            for tick in play(sim, showing):
                writer.add(_row(sim, camera, units, tick, showing.actions[tick]))
            writer.close(facts)
        except BaseException:
            writer.abort()
            raise
    mark_staged(job, facts)


def mark_staged(job: SuiteJob, facts: Mapping[str, Any]) -> None:
    """An episode is done.

    Args:
        facts: with ``task``, ``seed`` and ``success``; what its writer noted is kept.
    """
    task, seed = str(facts["task"]), int(facts["seed"])
    folder = job.folder(task, seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FACTS
    known = json.loads(path.read_text(encoding="utf-8")) if facts["success"] else facts
    replace_text(path, json.dumps({**known, "mark": _mark(job, task, seed)}))


def _row(
    sim: BimanualSim, camera: CameraRenderer, units: Units, tick: int, target: NDArray[np.float64]
) -> FrameRow:
    pictures = camera.slots(sim.data)
    return FrameRow(
        state=units.state.apply(sim.measured()[0]),
        action=units.command.apply(target),
        stamps_ns=np.full(2 + len(pictures), tick * _NS_PER_TICK, np.int64),
        task=sim.instruction,
        frames={slot: shown_frame(pixels) for slot, pixels in pictures.items()},
    )


def shown_frame(pixels: NDArray[np.uint8]) -> Frame:
    """A picture that is there already."""
    return Frame(lambda: pixels)


def _schema(settings: SuiteSettings, units: Units) -> DatasetSchema:
    cameras = tuple(DatasetCamera(slot, *settings.size) for slot in CAMERAS)
    return DatasetSchema(units.names, cameras, settings.fps, "float32", settings.lossless)


def _mark(job: SuiteJob, task: str, seed: int) -> str:
    """What decides whether a staged episode is still good."""
    return hash_of([__version__, asdict(job.settings), task, seed])


def _facts(job: SuiteJob, task: str, seed: int) -> dict[str, Any]:
    path = job.folder(task, seed) / FACTS
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def _is_staged(job: SuiteJob, task: str, seed: int) -> bool:
    try:
        return bool(_facts(job, task, seed).get("mark") == _mark(job, task, seed))
    except (OSError, json.JSONDecodeError):
        return False


def _ours(
    job: SuiteJob, profile: RobotProfile, units: Units, outcome: SuiteOutcome
) -> dict[str, Any]:
    """meta/adamoe.json, with the keys that datasets from bags have, too."""
    return {
        "format": "adamoe_ros/dataset/1",
        "created_by": f"adamoe_ros {__version__}",
        "robot": profile.name,
        "embodiments": list(profile.embodiments),
        "profile_hash": hash_of(profile.model_dump(mode="json")),
        "joints": list(profile.joint_ids),
        "roles": list(units.names),
        "gripper": None
        if units.gripper is None
        else {"open": units.gripper[0], "closed": units.gripper[1]},
        "state_source": profile.state_source,
        "settings": asdict(job.settings),
        "tasks": list(job.tasks),
        "failed": outcome.failed,
    }
