# SPDX-License-Identifier: Apache-2.0
"""An evaluation as blocks of cases: run in one process or several, each block kept as it ends.

    <folder>/episodes.jsonl    settings in the first line, then one line per block
    <folder>/routing/<n>.npz   the routers' decisions of a block
    <folder>/traces/<n>-<i>.npz  states of the episodes that are to become videos

A run that was stopped goes on with the blocks that are missing; with other settings it is refused.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.files import PackedFolder, replace_text
from adamoe_ros.contract.workers import UnitWork, Workers
from adamoe_ros.data.sim_trace import Trace, read_trace, write_trace
from adamoe_ros.evaluation.cases import CONTROLS, Case
from adamoe_ros.evaluation.evaluation_settings import EvaluationSettings
from adamoe_ros.evaluation.evaluator import BlockResult, EpisodeRecord, Evaluator
from adamoe_ros.evaluation.usage.decision_record import RoutingRecord, joined, load

FORMAT = "adamoe_ros/episodes/2"
LOG, ROUTING, TRACES = "episodes.jsonl", "routing", "traces"


@dataclass(frozen=True)
class EpisodeBlock:
    """Cases of one control and one task.

    Attributes:
        number: place in the whole, which names its files.
    """

    number: int
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Job:
    """A whole evaluation.

    Attributes:
        checkpoint: folder. weights: what its files hash to.
        seeds: of every task under every control.
        videos: failed episodes of each task and control whose states are kept.
        path: ``in process``, or ``ros`` for the real nodes.
    """

    checkpoint: Path
    weights: str
    tasks: tuple[str, ...]
    controls: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: Any  # EvaluationSettings, or another declaration with ``parallel``
    videos: int = 0
    path: str = "in process"

    def head(self) -> dict[str, Any]:
        """What must be the same for a run to go on, as JSON gives it back."""
        settings = dataclasses.asdict(self.settings)
        for free in ("device", "engine", "threads"):  # change no episode's content
            settings.pop(free, None)
        names = ("path", "weights", "tasks", "controls", "seeds")
        head = {name: getattr(self, name) for name in names} | {"settings": settings}
        return {"format": FORMAT, **json.loads(json.dumps(head))}

    def blocks(self) -> list[EpisodeBlock]:
        """Control by control, task by task; a block is as many episodes as run in step."""
        size = self.settings.parallel
        made: list[EpisodeBlock] = []
        for control in [c for c in CONTROLS if c in self.controls]:
            for task in self.tasks:
                for first in range(0, len(self.seeds), size):
                    some = self.seeds[first : first + size]
                    cases = tuple(Case(control, task, seed) for seed in some)
                    made.append(EpisodeBlock(len(made), cases))
        return made


@dataclass(frozen=True)
class KeptFailure:
    """A failed episode whose states were kept."""

    episode: EpisodeRecord
    trace: Trace


class Blocks:
    """The folder of an evaluation.

    Raises:
        ContractError: it holds another evaluation, or cannot be written.
    """

    def __init__(self, job: Job, folder: Path, overwrite: bool = False) -> None:
        self.job, self.folder = job, folder
        self._lines: dict[int, dict[str, Any]] = {}
        if overwrite:
            self._clear()
        try:
            for name in (ROUTING, TRACES):
                (folder / name).mkdir(parents=True, exist_ok=True)
            self._claim()
        except OSError as error:
            do = "give another --out"
            raise ContractError(problem(str(folder), "a folder to write", error, do)) from error

    def _clear(self) -> None:
        (self.folder / LOG).unlink(missing_ok=True)
        for name in (ROUTING, TRACES):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _claim(self) -> None:
        path, head = self.folder / LOG, self.job.head()
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        known = [line for line in map(_parsed, lines) if line is not None]
        if known and known[0] != head:
            different = sorted(key for key in head if known[0].get(key) != head[key])
            do = "add --overwrite, or give another --out"
            got = f"one with other {', '.join(different)}"
            raise ContractError(problem(str(path), "this evaluation", got, do))
        if len(known) < max(1, len(lines)):  # new, or a kill has cut a line off
            whole = "".join(json.dumps(line) + "\n" for line in known or [head])
            replace_text(path, whole)
        self._lines = {line["block"]: line for line in known[1:]}

    def missing(self) -> list[EpisodeBlock]:
        """What is still to be run."""
        return [block for block in self.job.blocks() if block.number not in self._lines]

    def keep(self, block: EpisodeBlock, result: BlockResult) -> None:
        """Write a block; its line, written last, makes it count."""
        kept: list[int] = []
        for place, (episode, trace) in enumerate(zip(result.episodes, result.traces, strict=True)):
            if trace is not None and failed(episode) and len(kept) < self.job.videos:
                write_trace(self._trace(block.number, place), trace)
                kept.append(place)
        if result.routing is not None:
            result.routing.save(self.folder / ROUTING / f"{block.number}.npz")
        line = {
            "block": block.number,
            "episodes": [dataclasses.asdict(episode) for episode in result.episodes],
            "traces": kept,
            "infer_s": [round(value, 5) for value in result.infer_s],
        }
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
            log.flush()
            os.fsync(log.fileno())
        self._lines[block.number] = line

    def _trace(self, block: int, place: int) -> Path:
        return self.folder / TRACES / f"{block}-{place}.npz"

    def episodes(self) -> list[EpisodeRecord]:
        """Of every block so far, in order."""
        return [
            EpisodeRecord(**values)
            for number in sorted(self._lines)
            for values in self._lines[number]["episodes"]
        ]

    def infer_seconds(self) -> list[float]:
        """Wall clock of every batch."""
        return [value for line in self._lines.values() for value in line["infer_s"]]

    def routing(self, control: str = "plain") -> RoutingRecord | None:
        """Of every block of one control so far."""
        paths = [
            self.folder / ROUTING / f"{number}.npz"
            for number in sorted(self._lines)
            if self._lines[number]["episodes"][0]["control"] == control
        ]
        return joined([load(path) for path in paths if path.is_file()])

    def kept_failures(self) -> Iterator[KeptFailure]:
        """Failed episodes for videos: so many of each task and control as the job asks for."""
        count: dict[tuple[str, str], int] = {}
        for number in sorted(self._lines):
            line = self._lines[number]
            for place in line["traces"]:
                episode = EpisodeRecord(**line["episodes"][place])
                key = (episode.control, episode.task)
                count[key] = count.get(key, 0) + 1
                if count[key] <= self.job.videos:
                    yield KeptFailure(episode, read_trace(self._trace(number, place)))


def failed(episode: EpisodeRecord) -> bool:
    """Whether an episode is worth a video: the policy saw, and did not what it was instructed.

    Where a scene cannot tell that, the scene's own task done in spite of the sentence is the failure.
    """
    if episode.control == "blind":
        return False
    return episode.success if episode.followed is None else not episode.followed


def _parsed(line: str) -> dict[str, Any] | None:
    """A line; None for one that a kill has cut off."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def run_blocks(
    blocks: Blocks, workers: Workers, report: Callable[[Sequence[EpisodeRecord]], None]
) -> None:
    """Run what is missing.

    Args:
        workers: each with its own policy and scenes.
        report: called with the episodes of each block as it ends.

    Raises:
        ContractError: checkpoint, task or robot do not fit, or there is no such Ray cluster.
    """
    todo, job = blocks.missing(), blocks.job
    if not todo:
        return
    for block, result in _results(job, todo, workers):
        blocks.keep(block, result)
        report(result.episodes)


def _results(
    job: Job, todo: list[EpisodeBlock], workers: Workers
) -> Iterator[tuple[EpisodeBlock, BlockResult]]:
    processes = min(workers.most, len(todo))
    if not workers.ray and processes <= 1:
        evaluator = Evaluator(job.checkpoint, job.settings)
        try:
            for block in todo:
                yield block, evaluator.run(block.cases)
        finally:
            evaluator.close()
        return
    share = 1 if workers.ray else max(1, len(os.sched_getaffinity(0)) // processes)
    settings = dataclasses.replace(job.settings, threads=job.settings.threads or share)
    work = UnitWork(
        _run,
        [(block.cases,) for block in todo],
        [f"block {b.number} ({b.cases[0].control} {b.cases[0].task})" for b in todo],
        _begin,
        (PackedFolder.of(job.checkpoint) if workers.ray else job.checkpoint, settings),
        data="checkpoint and results through Ray's store",
    )
    for number, done in workers.run(work):
        yield todo[number], done.result()


_own: Evaluator | None = None
_settings: tuple[Path | PackedFolder, EvaluationSettings] | None = None


def _begin(checkpoint: Path | PackedFolder, settings: EvaluationSettings) -> None:
    global _own, _settings
    _own, _settings = None, (checkpoint, settings)


def _run(cases: Sequence[Case]) -> BlockResult:
    global _own
    if _own is None:  # here, not in the initialiser, whose errors only say that the pool broke
        assert _settings is not None
        checkpoint, settings = _settings
        if isinstance(checkpoint, PackedFolder):
            checkpoint = checkpoint.unpack(Path(tempfile.gettempdir()) / "adamoe_checkpoints")
        _own = Evaluator(checkpoint, settings)
    return _own.run(cases)
