# SPDX-License-Identifier: Apache-2.0
"""The cases of an evaluation over the real ROS 2 nodes in real processes, one episode at a time.

A simulator session runs them; judgement, phases and videos come from the states that
``sim_node`` writes. Imports ROS only after the environment is complete.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.manifest import check_checkpoint_files
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.data.recording import Episode
from adamoe_ros.data.sim_trace import Trace, read_trace
from adamoe_ros.evaluation.blocks import Blocks
from adamoe_ros.evaluation.cases import Case, Instructions, begin
from adamoe_ros.evaluation.evaluator import BlockResult, EpisodeRecord
from adamoe_ros.evaluation.judgement import EpisodeWatch, judge_trace
from adamoe_ros.evaluation.scenes import SceneStore
from adamoe_ros.evaluation.usage.decision_record import UNKNOWN, Label, RoutingLog, RoutingRecord
from adamoe_ros.ros.sim.node_processes import free_domain, prepare_environment

if TYPE_CHECKING:
    from adamoe_ros.ros.sim.session import SimSession

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
    check_checkpoint_files(blocks.job.checkpoint)
    profile = load_profile(profile_path(blocks.job.settings.robot, robots_dir()))
    environment = prepare_environment(free_domain())
    from adamoe_ros.ros.sim.director import SessionFailed
    from adamoe_ros.ros.sim.session import sim_session

    states = blocks.folder / _STATES
    shutil.rmtree(states, ignore_errors=True)
    try:
        with sim_session(
            profile, environment, blocks.folder / "log", *_parameters(blocks)
        ) as session:
            session.director.wait_for_camera()
            session.director.configure()
            run = _RosRun(blocks, session)
            for block in blocks.missing():
                result = run.case(block.cases[0])
                blocks.keep(block, result)
                report(result.episodes)
    except SessionFailed as failure:
        raise ContractError(str(failure)) from failure
    finally:
        shutil.rmtree(states, ignore_errors=True)  # sim_node's last at its end


def _parameters(blocks: Blocks) -> tuple[dict[str, object], dict[str, object], dict[str, object]]:
    """Of sim_node, policy_node and control_node."""
    settings, job = blocks.job.settings, blocks.job
    common = {"robot": settings.robot, "strategy": settings.strategy}
    sim = {
        "task": job.tasks[0],
        "seed": job.seeds[0],
        "trace": str((blocks.folder / _STATES).resolve()),
    }
    policy = {
        **common,
        "checkpoint": job.checkpoint.resolve(),
        "execution_horizon": settings.execution_horizon,
        "device": settings.device,
        "engine": settings.engine,
    }
    return sim, policy, {**common, "smoothing": settings.smoothing_s}


class _RosRun:
    """Cases, one after the other, on nodes that are ready."""

    def __init__(self, blocks: Blocks, session: SimSession) -> None:
        self._settings, self._session = blocks.job.settings, session
        self._traces = blocks.folder / _STATES
        self._scenes = SceneStore()

    def case(self, case: Case) -> BlockResult:
        """One episode, judged by the states that ``sim_node`` wrote."""
        settings = self._settings
        sim = self._scenes.sims(case.task, 1)[0]
        instructions = begin(sim, case, settings.wording, settings.instruction, settings.others)
        episode = self._execute(case, instructions)
        self._session.director.set_up(
            case.task, instructions.scene, case.seed
        )  # ends the episode's states
        trace = self._newest_trace()
        watch, phases = judge_trace(trace, instructions.instruction, settings.settle_s)
        record = _record(case, instructions, episode, watch)
        return BlockResult([record], [trace], _routing(case, episode, trace, phases), [])

    def _execute(self, case: Case, instructions: Instructions) -> Episode:
        episode = Episode(0, case.seed, case.task, instructions.scene)
        self._session.begin_episode(episode)
        shutil.rmtree(self._traces, ignore_errors=True)  # what was written before this episode
        first = instructions.first or instructions.instruction
        self._session.finish_episode(episode, first, self._settings.max_time_s, instructions.change)
        return episode

    def _newest_trace(self) -> Trace:
        paths = sorted(self._traces.glob("episode_*.npz"))
        if not paths:
            raise ContractError(f"{self._traces}: expected the states of an episode, got none")
        return read_trace(paths[-1])


def _record(
    case: Case, instructions: Instructions, episode: Episode, watch: EpisodeWatch
) -> EpisodeRecord:
    counters = episode.counters
    names = ("holds", "missed_ticks", "rejected_chunks", "late_chunks", "seams")
    details: dict[str, Any] = {name: int(counters.get(name, 0)) for name in names}
    details |= {"message": episode.result_message, "dropped_frames": episode.dropped_frames}
    success = bool(episode.success)
    other = watch.followed
    return EpisodeRecord(
        **dataclasses.asdict(case),
        scene=instructions.scene,
        instruction=instructions.instruction,
        success=success,  # the nodes' own judgement; the goal ends with it
        followed=success if instructions.instruction == instructions.scene else other,
        seconds=round(episode.elapsed, 3),
        inferences=len(episode.chunks),
        details=details,
        first=instructions.first,
    )


def _routing(
    case: Case, episode: Episode, trace: Trace, phases: Sequence[int]
) -> RoutingRecord | None:
    """What ``policy_status`` reported: means over the flow steps of each inference."""
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
