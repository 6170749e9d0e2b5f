# SPDX-License-Identifier: Apache-2.0
"""Many bags -> one dataset: a process per core, continued where it stopped, bad bags by name.

Staged episodes lie in a folder beside the dataset until it is complete. A staged episode is used
again when its bag and the settings are the same.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adamoe_ros import __version__
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.files import replace_text
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.workers import UnitWork, Workers
from adamoe_ros.data.bag_conversion import (
    ConvertSettings,
    convert_bag,
    episode_folder,
    fingerprint,
    schema_for,
)
from adamoe_ros.data.episode_info import hash_of
from adamoe_ros.data.lerobot.dataset_schema import Totals, Version
from adamoe_ros.data.lerobot.dataset_writer import DatasetDetails, assemble
from adamoe_ros.data.lerobot.episode_writer import FACTS
from adamoe_ros.data.units import Units


@dataclass(frozen=True)
class ConversionJob:
    """What is to be made.

    Attributes:
        bags: in the order of their episodes.
        target: dataset folder; does not exist yet.
        version: of the format.
    """

    bags: Sequence[Path]
    target: Path
    profile: RobotProfile
    units: Units
    settings: ConvertSettings
    version: Version = "v3.0"
    workers: Workers = field(default_factory=Workers)

    @property
    def staging(self) -> Path:
        """Where episodes wait."""
        return self.target.with_name(f".{self.target.name}.staging")


@dataclass
class Outcome:
    """What became of the bags.

    Attributes:
        done: bag name -> facts, in the order of the dataset.
        reused: of these, taken from an earlier run.
        failed: bag name -> lines.
        totals: of the dataset; None: none was written.
    """

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    reused: int = 0
    failed: dict[str, list[str]] = field(default_factory=dict)
    totals: Totals | None = None

    @property
    def partial(self) -> list[str]:
        """Bags of which not everything could be read."""
        return [name for name, facts in self.done.items() if facts.get("state") == "partial"]


Progress = Callable[[Path, dict[str, Any] | None, list[str]], None]


def staged_folder(job: ConversionJob, bag: Path) -> Path:
    """Folder of one bag's first episode."""
    mark = hashlib.sha256(str(bag.resolve()).encode()).hexdigest()[:8]
    name = re.sub(r"[^\w.-]+", "_", bag.name)
    return job.staging / f"{name}-{mark}"


def staged_facts(job: ConversionJob, bag: Path) -> dict[str, Any] | None:
    """Facts of an episode that an earlier run has finished; None: it has to be made."""
    path = staged_folder(job, bag) / FACTS
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    return {**facts, **facts["of_bag"]} if facts.get("fingerprint") == _mark(job, bag) else None


def _mark(job: ConversionJob, bag: Path) -> str:
    settings = {
        **job.settings.as_dict(),
        "profile": job.profile.model_dump(mode="json"),
        "units": [job.units.names, job.units.gripper],
    }
    return hash_of(fingerprint(bag, settings))


def convert_bags(job: ConversionJob, progress: Progress) -> Outcome:
    """Make the dataset.

    Args:
        progress: called with each bag when it is done: facts, or None and what is wrong with it.

    Raises:
        ContractError: the target exists, or not a single bag could be used.
    """
    if job.target.exists():
        raise ContractError(problem(str(job.target), "a new folder", "one that exists", "choose"))
    outcome = Outcome()
    found: dict[Path, dict[str, Any]] = {}
    waiting = []
    for bag in job.bags:
        facts = staged_facts(job, bag)
        if facts is None:
            waiting.append(bag)
        else:
            found[bag] = facts
            outcome.reused += 1
            progress(bag, facts, [])
    for bag, facts, lines in _results(job, waiting):
        if facts is None:
            outcome.failed[bag.name] = lines
        else:
            found[bag] = facts
        progress(bag, facts, lines)
    good = [bag for bag in job.bags if bag in found]
    if not good:
        raise ContractError([line for lines in outcome.failed.values() for line in lines])
    outcome.done = {bag.name: found[bag] for bag in good}
    outcome.totals = assemble(
        [
            episode_folder(staged_folder(job, bag), number)
            for bag in good
            for number in range(found[bag]["episodes"])
        ],
        job.target,
        schema_for(job.profile, job.units, job.settings),
        job.version,
        DatasetDetails(job.profile.name, _ours(job, outcome)),
    )
    shutil.rmtree(job.staging, ignore_errors=True)
    return outcome


def _results(
    job: ConversionJob, bags: Sequence[Path]
) -> Iterator[tuple[Path, dict[str, Any] | None, list[str]]]:
    work = UnitWork(
        _one,
        [(job, bag) for bag in bags],
        [bag.name for bag in bags],
        folder=job.staging if job.workers.ray else None,
        data=f"bags and episodes by path, episodes in {job.staging}",
    )
    for number, done in job.workers.run(work):
        bag = bags[number]
        try:
            yield (bag, *done.result())
        except ContractError as error:
            yield bag, None, list(error.problems)
        except Exception as error:  # a bag that nobody foresaw must not take the others along
            yield bag, None, [f"{bag.name}: {type(error).__name__}: {error}"]


def _one(job: ConversionJob, bag: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Convert one bag; facts, or None and what is wrong with it."""
    folder = staged_folder(job, bag)
    try:
        facts = convert_bag(bag, folder, job.profile, job.units, job.settings)
    except (ContractError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        return None, list(error.problems) if isinstance(error, ContractError) else [str(error)]
    path = folder / FACTS
    own = {name: facts[name] for name in ("length", "episodes")}
    document = json.loads(path.read_text(encoding="utf-8"))
    document |= {"fingerprint": _mark(job, bag), "of_bag": own}
    replace_text(path, json.dumps(document))
    return facts, []


def _ours(job: ConversionJob, outcome: Outcome) -> dict[str, Any]:
    gripper = job.units.gripper
    return {
        "format": "adamoe_ros/dataset/1",
        "created_by": f"adamoe_ros {__version__}",
        "robot": job.profile.name,
        "embodiments": list(job.profile.embodiments),
        "profile_hash": hash_of(job.profile.model_dump(mode="json")),
        "joints": list(job.profile.joint_ids),
        "roles": list(job.units.names),
        "gripper": None if gripper is None else {"open": gripper[0], "closed": gripper[1]},
        "state_source": job.profile.state_source,
        "settings": job.settings.as_dict(),
        "failed": outcome.failed,
    }
