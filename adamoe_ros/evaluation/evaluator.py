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

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.joint_map import build_joint_map
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.control.strategies import STRATEGIES
from adamoe_ros.data.sim_trace import Trace
from adamoe_ros.evaluation.cases import Case, Instructions, Wording, begin
from adamoe_ros.evaluation.chunk_sources import PolicySource, infer_together
from adamoe_ros.evaluation.closed_episodes import LoopOutcome, run_together
from adamoe_ros.evaluation.closed_loop import ClosedLoop, LoopSettings, Request
from adamoe_ros.evaluation.judgement import EpisodeWatch
from adamoe_ros.evaluation.scenes import SceneStore, SimulatedArms
from adamoe_ros.evaluation.usage.record import Label, RoutingLog, RoutingRecord
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.engines import EngineSettings
from adamoe_ros.policy.guidance import ChunkGuide, check_trained_prefix
from adamoe_ros.policy.runtime import PolicyOutput, PolicyRuntime, choose_device
from adamoe_ros.sim.bimanual import CONTROL_RATE


@dataclass(frozen=True)
class EvaluationSettings:
    """What every episode of an evaluation has in common.

    Attributes:
        robot: profile with the simulator's units.
        strategy, execution_horizon, smoothing_s: see ``closed_loop.LoopSettings``.
        latency_s: simulated, from an observation to its chunk.
        max_time_s: simulated, until an episode counts as failed.
        settle_s: that a judgement must hold without a break.
        wording: of the sentences. instruction: what every scene asks for; None: the seed's.
        others: tasks that other instructions may come from.
        device, engine: of the policy. threads: of torch; 0: its own choice.
        parallel: episodes in step.
        routing: keep the routers' decisions.
    """

    robot: str = "aloha_sim"
    strategy: str = "rtc"
    execution_horizon: int = 25
    latency_s: float = 0.15
    smoothing_s: float = 0.3
    max_time_s: float = 15.0
    settle_s: float = 0.5
    wording: Wording = "usual"
    instruction: str | None = None
    others: tuple[str, ...] = ()
    device: str = "auto"
    engine: str = "auto"
    threads: int = 0
    parallel: int = 16
    routing: bool = True

    def loop(self) -> LoopSettings:
        """Of one episode."""
        return LoopSettings(
            strategy=self.strategy,
            delay_s=self.latency_s,
            execution_horizon=self.execution_horizon,
            smoothing_s=self.smoothing_s,
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
    """Of one block; ``traces`` in the order of ``episodes``.

    Attributes:
        infer_s: wall clock of each batch.
    """

    episodes: list[EpisodeRecord]
    traces: list[Trace]
    routing: RoutingRecord | None
    infer_s: list[float]


@dataclass
class _Running:
    """One episode of a block."""

    case: Case
    sentences: Instructions
    watch: EpisodeWatch
    source: PolicySource
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
        import torch

        if settings.threads:
            torch.set_num_threads(settings.threads)
        checkpoint = read_checkpoint(folder)
        check_fit(checkpoint.manifest.control_rate_hz, settings)
        if settings.strategy == "rtc_trained":
            check_trained_prefix(checkpoint.manifest, settings.strategy)
        self.settings = settings
        self._profile = load_profile(profile_path(settings.robot, robots_dir()))
        self._map = build_joint_map(self._profile, checkpoint.manifest)
        self.runtime = make_runtime(checkpoint, settings)
        steps = checkpoint.config.flow_steps
        self._guide = ChunkGuide("identity", 0, steps, self.runtime.engine.device)
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

        def infer(asking: Sequence[int], requests: Sequence[Request]) -> list[np.ndarray]:
            def see(output: PolicyOutput) -> None:
                seconds.append(output.stages["total"])
                if log is not None:
                    _note(log, [running[number].label() for number in asking], output)

            sources = [running[number].source for number in asking]
            return infer_together(sources, requests, see, trace=log is not None)

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
        return self.settings.routing and self.runtime.checkpoint.config.moe.num_experts > 0

    def _begin(self, case: Case, sim: Any) -> _Running:
        settings = self.settings
        sentences = begin(sim, case, settings.wording, settings.instruction, settings.others)
        watch = EpisodeWatch(sim, sentences, settings.settle_s)
        camera = None if case.control == "blind" else self._stage.camera(case.task)
        source = PolicySource(self.runtime, self._map, self._guide, case.seed)
        loop = ClosedLoop(
            self._profile,
            SimulatedArms(sim, camera),
            source,
            sentences.first or sentences.instruction,
            settings.loop(),
            self._map.model_from_state,
            sentences.change,
        )
        return _Running(case, sentences, watch, source, loop)


def _note(log: RoutingLog, labels: Sequence[Label], output: PolicyOutput) -> None:
    """A batch's decisions as (S, L, B, T, ...) arrays on the host."""
    import torch

    batch = len(labels)

    def gathered(name: str) -> np.ndarray:
        steps = [
            torch.stack([getattr(layer, name) for layer in step]) for step in output.sample.routing
        ]
        stacked = torch.stack(steps).unflatten(2, (batch, -1))
        return (stacked if name == "selected" else stacked.float()).cpu().numpy()

    log.add(labels, gathered("probabilities"), gathered("selected"), gathered("scales"))


def make_runtime(checkpoint: Any, settings: EvaluationSettings) -> PolicyRuntime:
    """The policy on its device; on CUDA, graphs are for fixed batches, so it runs eagerly there."""
    engine = settings.engine
    if engine == "auto" and choose_device(settings.device).type == "cuda":
        engine = "eager"
    batches = tuple(range(1, settings.parallel + 1)) if engine == "captured" else (1,)
    return PolicyRuntime(
        checkpoint, settings.device, engine=engine, settings=EngineSettings(batches=batches)
    )


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
