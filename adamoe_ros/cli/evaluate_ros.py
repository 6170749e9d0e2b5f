# SPDX-License-Identifier: Apache-2.0
"""The cases of an evaluation over the real ROS 2 nodes in real processes, one episode at a time.

The demo's processes and director run them; judgement, phases and films come from the states that
``sim_node`` writes. Imports ROS only after the environment is complete.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adamoe_ros.cli.demo_environment import check_checkpoint, prepare_environment
from adamoe_ros.cli.demo_processes import NodeProcesses
from adamoe_ros.cli.demo_session import check_running, node_session, start_nodes
from adamoe_ros.cli.demo_settings import free_domain
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.data.recording import Episode
from adamoe_ros.data.sim_trace import Trace, read_trace
from adamoe_ros.evaluation.blocks import Blocks
from adamoe_ros.evaluation.cases import Case, Sentences, begin
from adamoe_ros.evaluation.evaluator import BlockResult, EpisodeRecord
from adamoe_ros.evaluation.judging import EpisodeWatch, judge_trace
from adamoe_ros.evaluation.stage import Stage
from adamoe_ros.evaluation.usage.record import UNKNOWN, Label, RoutingLog, RoutingRecord

if TYPE_CHECKING:
    from adamoe_ros.ros.sim.demo_director import DemoDirector

_STATES = "sim"  # folder of sim_node's states while it runs

Report = Callable[[Sequence[EpisodeRecord]], None]


def run_over_ros(blocks: Blocks, report: Report) -> None:
    """Run what is missing.

    Args:
        report: called with each episode as it ends.

    Raises:
        ContractError: ROS, overlay, checkpoint or robot do not fit, or a node ended.
    """
    if not blocks.missing():
        return
    job = blocks.job
    check_checkpoint(job.checkpoint)
    environment = prepare_environment({"ROS_DOMAIN_ID": str(free_domain())})
    from adamoe_ros.ros.sim.demo_director import DemoFailed

    try:
        with node_session(environment, blocks.folder / "log") as nodes:
            run = _RosRun(blocks, nodes)
            try:
                run.all(report)
            finally:
                run.close()
    except DemoFailed as failure:
        raise ContractError(str(failure)) from failure
    finally:
        shutil.rmtree(blocks.folder / _STATES, ignore_errors=True)  # sim_node's last at its end


class _RosRun:
    """Nodes that are up, and a director that tells them what to do."""

    def __init__(self, blocks: Blocks, nodes: NodeProcesses) -> None:
        from adamoe_ros.ros.sim.demo_director import DemoDirector

        self._blocks, self._nodes = blocks, nodes
        self._traces = blocks.folder / _STATES
        shutil.rmtree(self._traces, ignore_errors=True)
        self._stage = Stage()
        self._start()
        profile = load_profile(profile_path(blocks.job.settings.robot, robots_dir()))
        self._director: DemoDirector = DemoDirector(profile, lambda: check_running(nodes))

    def _start(self) -> None:
        wish, job = self._blocks.job.settings, self._blocks.job
        common = {"robot": wish.robot, "strategy": wish.strategy}
        sim = {
            "task": job.tasks[0],
            "seed": job.seeds[0],
            "trace": str(self._traces.resolve()),
        }
        policy = {
            **common,
            "checkpoint": job.checkpoint.resolve(),
            "execution_horizon": wish.execution_horizon,
            "device": wish.device,
            "engine": wish.engine,
        }
        control = {**common, "smoothing": wish.smoothing_s}
        start_nodes(self._nodes, sim, policy, control)

    def close(self) -> None:
        """Take the director's node down."""
        self._director.cancel()
        self._director.close()

    def all(self, report: Report) -> None:
        """Every case that is missing."""
        self._director.wait_for_camera()
        self._director.configure()
        for block in self._blocks.missing():
            result = self._run(block.cases[0])
            self._blocks.keep(block, result)
            report(result.episodes)

    def _run(self, case: Case) -> BlockResult:
        wish = self._blocks.job.settings
        sim = self._stage.sims(case.task, 1)[0]
        said = begin(sim, case, wish.wording, wish.instruction, wish.others)
        episode = self._execute(case, said)
        self._director.set_up(case.task, said.scene, case.seed)  # ends the episode's states
        trace = self._newest_trace()
        watch, phases = judge_trace(trace, said.told, wish.settle_s)
        record = _record(case, said, episode, watch)
        return BlockResult([record], [trace], _routing(case, episode, trace, phases), [])

    def _execute(self, case: Case, said: Sentences) -> Episode:
        director = self._director
        director.begin_episode(case.task, said.scene, case.seed)
        shutil.rmtree(self._traces, ignore_errors=True)  # what was written before this episode
        episode = Episode(0, case.seed, case.task, said.scene)
        director.recorder.begin(episode)
        change = said.change
        later = None if change is None else (change.after_s, change.instruction)
        limit = self._blocks.job.settings.max_time_s
        result = director.execute(said.first or said.told, limit, later)
        director.recorder.end()
        episode.elapsed, episode.result_message = float(result.elapsed), result.message
        director.end_episode()
        return episode

    def _newest_trace(self) -> Trace:
        paths = sorted(self._traces.glob("episode_*.npz"))
        if not paths:
            raise ContractError(f"{self._traces}: expected the states of an episode, got none")
        return read_trace(paths[-1])


def _record(case: Case, said: Sentences, episode: Episode, watch: EpisodeWatch) -> EpisodeRecord:
    counters = episode.counters
    names = ("holds", "missed_ticks", "rejected_chunks", "late_chunks", "seams")
    details: dict[str, Any] = {name: int(counters.get(name, 0)) for name in names}
    details |= {"message": episode.result_message, "dropped_frames": episode.dropped_frames}
    success = bool(episode.success)
    other = watch.followed
    return EpisodeRecord(
        **dataclasses.asdict(case),
        scene=said.scene,
        told=said.told,
        success=success,  # the nodes' own judgement; the goal ends with it
        followed=success if said.told == said.scene else other,
        seconds=round(episode.elapsed, 3),
        inferences=len(episode.chunks),
        details=details,
        first=said.first,
    )


def _routing(
    case: Case, episode: Episode, trace: Trace, phases: Sequence[int]
) -> RoutingRecord | None:
    """What ``policy_status`` said: means over the flow steps of each inference."""
    log, times = RoutingLog(), trace.times - episode.start
    for inference in episode.inferences:
        layers = inference.experts
        if not layers:
            continue
        at = int(np.searchsorted(times, inference.time).clip(max=len(times) - 1))
        phase = phases[at] if len(phases) else UNKNOWN
        label = Label(case.control, case.task, case.seed, phase)
        rows = [[layer[key] for layer in layers] for key in ("selected", "probability", "scale")]
        log.add_shares(label, *rows)
    return log.record()
