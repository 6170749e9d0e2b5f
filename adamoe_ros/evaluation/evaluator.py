# SPDX-License-Identifier: Apache-2.0
"""A checkpoint in the embedded simulator: blocks of episodes in step, inferred together.

Each episode is a ``ClosedLoop``, so chunks are scheduled, steered, spliced and limited by the
product's own lines, in simulated time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.control.scheduling import InferenceRequest
from adamoe_ros.control.strategies import STRATEGIES
from adamoe_ros.data.sim_trace import Trace
from adamoe_ros.evaluation.cases import Case, Instructions, begin
from adamoe_ros.evaluation.closed_loop import ClosedLoop, LoopOutcome, LoopSettings, run_together
from adamoe_ros.evaluation.evaluation_settings import EvaluationSettings
from adamoe_ros.evaluation.judgement import EpisodeWatch
from adamoe_ros.evaluation.scenes import SceneStore, SimulatedArms
from adamoe_ros.evaluation.usage.decision_record import Label, RoutingLog, RoutingRecord
from adamoe_ros.model.policy_model import PolicySample
from adamoe_ros.policy.actor import ActorSession, PolicyActor
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.sim.bimanual import CONTROL_RATE


def loop_settings(settings: EvaluationSettings) -> LoopSettings:
    """Of one episode."""
    return LoopSettings(
        strategy=settings.strategy,
        delay_s=settings.latency_s,
        execution_horizon=settings.execution_horizon,
        smoothing_s=settings.smoothing_s,
    )


def policy_settings(settings: EvaluationSettings) -> PolicySettings:
    """Of the policy; every episode has a seed of its own."""
    return PolicySettings(
        strategy=settings.strategy,
        device=settings.device,
        engine=settings.engine,
        threads=settings.threads,
    )


@dataclass(frozen=True)
class EpisodeRecord:
    """What an episode came to.

    Attributes:
        scene, instruction, first: see ``cases.Instructions``.
        success: of the scene's own task.
        followed: whether the policy's instruction is done; None: this scene lacks its objects.
        seconds: simulated, until one of the two was done, or the limit.
        inferences: chunks that were made.
        details: of the control core (in-process) or of the nodes (over ROS).
    """

    control: str
    task: str
    seed: int
    scene: str
    instruction: str
    success: bool
    followed: bool | None
    seconds: float
    inferences: int
    details: dict[str, Any] = field(default_factory=dict)
    first: str | None = None


@dataclass(frozen=True)
class BlockResult:
    """Of one block; ``traces`` in the order of ``episodes``, None where there is none.

    Attributes:
        infer_s: wall clock of each batch.
    """

    episodes: list[EpisodeRecord]
    traces: Sequence[Trace | None]
    routing: RoutingRecord | None
    infer_s: list[float]


@dataclass
class _Running:
    """One episode of a block."""

    case: Case
    sentences: Instructions
    watch: EpisodeWatch
    session: ActorSession
    loop: ClosedLoop

    def label(self) -> Label:
        return Label(self.case.control, self.case.task, self.case.seed, self.watch.phase())

    def record(self, outcome: LoopOutcome) -> EpisodeRecord:
        return EpisodeRecord(
            **dataclasses.asdict(self.case),
            scene=self.sentences.scene,
            instruction=self.sentences.instruction,
            success=self.watch.success,
            followed=self.watch.followed,
            seconds=outcome.seconds,
            inferences=outcome.inferences,
            details={
                "dropped": outcome.dropped,
                "late": outcome.late,
                "rejected": outcome.rejected,
                "clips": sum(outcome.clips.values()),
                "hold_share": round(outcome.seams.hold_share, 4),
            },
            first=self.sentences.first,
        )


class Evaluator:
    """Runs episodes of one checkpoint; scenes and GL contexts stay from block to block.

    Args:
        folder: of the checkpoint.

    Raises:
        ContractError: checkpoint, robot, strategy, device or engine do not fit.
    """

    def __init__(self, folder: Path, settings: EvaluationSettings) -> None:
        checkpoint = read_checkpoint(folder)
        check_fit(checkpoint.manifest.control_rate_hz, settings)
        self.settings = settings
        self._profile = load_profile(profile_path(settings.robot, robots_dir()))
        self.actor = PolicyActor(
            self._profile, checkpoint, policy_settings(settings), batch=settings.parallel
        )
        self._stage = SceneStore()

    def close(self) -> None:
        """Give every GL context back."""
        self._stage.close()

    def run(self, cases: Sequence[Case]) -> BlockResult:
        """Run cases of one task in step, all of them at once.

        Raises:
            ContractError: a sentence is none of the task's.
        """
        task = cases[0].task
        sims = self._stage.sims(task, len(cases))
        running = [self._begin(case, sim) for case, sim in zip(cases, sims, strict=True)]
        log = RoutingLog() if self._traces() else None
        seconds: list[float] = []

        def infer(asking: Sequence[int], requests: Sequence[InferenceRequest]) -> list[Inference]:
            sessions = [running[number].session for number in asking]
            made = self.actor.infer_batch(sessions, requests, trace=log is not None)
            seconds.append(made.inferences[0].stages["total"])
            if log is not None:
                _note(log, [running[number].label() for number in asking], made.sample)
            return made.inferences

        outcomes = run_together(
            [one.loop for one in running],
            [one.watch for one in running],
            infer,
            self.settings.max_time_s,
            self.settings.settle_s,
        )
        return BlockResult(
            [one.record(outcome) for one, outcome in zip(running, outcomes, strict=True)],
            [one.watch.trace() for one in running],
            None if log is None else log.record(),
            seconds,
        )

    def _traces(self) -> bool:
        return self.settings.routing and self.actor.runtime.checkpoint.config.moe.num_experts > 0

    def _begin(self, case: Case, sim: Any) -> _Running:
        settings = self.settings
        sentences = begin(sim, case, settings.wording, settings.instruction, settings.others)
        watch = EpisodeWatch(sim, sentences, settings.settle_s)
        camera = None if case.control == "blind" else self._stage.camera(case.task)
        session = self.actor.session(case.seed)
        loop = ClosedLoop(
            self._profile,
            SimulatedArms(sim, camera),
            session,
            sentences.first or sentences.instruction,
            loop_settings(settings),
            self.actor.joint_map.model_from_state,
            sentences.change,
        )
        return _Running(case, sentences, watch, session, loop)


def _note(log: RoutingLog, labels: Sequence[Label], sample: PolicySample) -> None:
    """A batch's decisions as (S, L, B, T, ...) arrays on the host."""
    import torch

    batch = len(labels)

    def gathered(name: str) -> np.ndarray:
        steps = [torch.stack([getattr(layer, name) for layer in step]) for step in sample.routing]
        stacked = torch.stack(steps).unflatten(2, (batch, -1))
        return (stacked if name == "selected" else stacked.float()).cpu().numpy()

    log.add(labels, gathered("probabilities"), gathered("selected"), gathered("scales"))


def check_fit(control_rate_hz: float | None, settings: EvaluationSettings) -> None:
    """Raises ``ContractError`` where checkpoint or settings do not fit the simulator."""
    lines = []
    if control_rate_hz != CONTROL_RATE:
        where, do = "manifest: control_rate_hz", "evaluate it on its own robot"
        lines.append(problem(where, f"{CONTROL_RATE} Hz", control_rate_hz, do))
    if settings.strategy not in STRATEGIES:
        expected = ", ".join(sorted(STRATEGIES))
        lines.append(problem("strategy", expected, repr(settings.strategy), "choose one"))
    if lines:
        raise ContractError(lines)
