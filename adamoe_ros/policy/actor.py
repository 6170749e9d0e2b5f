# SPDX-License-Identifier: Apache-2.0
"""The policy on a robot: profile and checkpoint joined, observation and plan in, commands out.

The one path of everything that acts: policy_node, evaluation in simulation, replay of bags. They
differ in where observations come from and where chunks go, never in what happens between.

    ``PolicyActor``    the loaded policy; may serve several robots at once
    ``ActorSession``   what one robot's run needs beside it: the chunks before, and the noise's seed

Shapes: H rows, J joints of the robot, A action width of the model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.joint_map import build_joint_map
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.policy_settings import PolicySettings
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.leftover import Leftover, PreviousChunks
from adamoe_ros.control.rtc_math import reanchor
from adamoe_ros.control.scheduling import (
    DelayWindow,
    InferencePlan,
    InferenceRequest,
    InferenceScheduler,
    SchedulerSettings,
)
from adamoe_ros.control.strategies import make_strategy
from adamoe_ros.model.conditioning import (
    FREE,
    ChunkGuidance,
    FrozenRows,
    Jacobian,
    SamplingOptions,
    stack_options,
)
from adamoe_ros.model.policy_model import PolicySample
from adamoe_ros.policy.checkpoint import Checkpoint
from adamoe_ros.policy.compatibility import mismatches
from adamoe_ros.policy.engines import EngineSettings
from adamoe_ros.policy.runtime import PolicyRuntime, choose_device, noise_seed

Vector = NDArray[np.float64]


class InferredBatch(NamedTuple):
    """Several observations inferred at once.

    Attributes:
        inferences: in their order; ``stages`` are the batch's.
        sample: what the network gave for the batch.
    """

    inferences: list[Inference]
    sample: PolicySample


class PolicyActor:
    """One checkpoint for one kind of robot.

    Args:
        profile: of the robot.
        checkpoint: not raw-only.
        settings: how it acts.
        batch: most observations that are inferred at once.

    Raises:
        ContractError: profile, checkpoint, settings and device do not fit; all of it.

    Attributes:
        dt_s: s between rows of a chunk.
        horizon: H. max_prefix_rows: clean rows it was trained with; 0: none.
        joint_map: driver's values <-> the checkpoint's.
        runtime: the loaded checkpoint.
    """

    def __init__(
        self,
        profile: RobotProfile,
        checkpoint: Checkpoint,
        settings: PolicySettings,
        batch: int = 1,
    ) -> None:
        _check(profile, checkpoint, settings)
        self.profile, self.manifest, self.settings = profile, checkpoint.manifest, settings
        self._side = make_strategy(settings.strategy).policy_side
        self._steps = settings.flow_steps or checkpoint.config.flow_steps
        self._max_weight = float(settings.rtc_max_weight or self._steps)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.joint_map = build_joint_map(profile, checkpoint.manifest)
        engine, captured = _engine(settings, batch)
        self.runtime = PolicyRuntime(checkpoint, settings.device, engine=engine, settings=captured)
        seed = settings.seed
        self.seed = seed if seed >= 0 else random.SystemRandom().randrange(2**31)
        rate = checkpoint.manifest.control_rate_hz
        assert rate is not None  # mismatches() has seen to it
        self.horizon, self.dt_s = self.runtime.horizon, 1.0 / rate
        self.max_prefix_rows = checkpoint.manifest.rtc_max_delay

    @property
    def strategy(self) -> str:
        """Of chunk execution."""
        return self.settings.strategy

    @property
    def camera_slots(self) -> tuple[str, ...]:
        """In the checkpoint's order."""
        return tuple(self.manifest.camera_slots)

    @property
    def device(self) -> str:
        """Where the model runs, for a person."""
        device = self.runtime.engine.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        return f"{device} ({name})" if name else str(device)

    @property
    def state_range(self) -> tuple[Vector, Vector]:
        """(J,) low and high ends of the training data's states, as ``state_as_trained`` has them."""
        return self.runtime.checkpoint.state_range()

    def state_as_trained(self, observation: Observation) -> Vector:
        """(J,) the state in the convention of the training data's statistics."""
        return self.runtime.processor.vectors.inner_state(observation.state)

    def instruction_problem(self, sentence: str) -> str | None:
        """Why the policy cannot be given a sentence: more tokens than its prompt has room for."""
        return self.runtime.processor.prompts.check(sentence)

    def normalized_rows(self, commands: Vector, state: Vector) -> Vector:
        """(H, J) command units and the (J,) model state they start from -> the network's rows."""
        model = self.joint_map.model_from_command(commands)
        rows = self.runtime.processor.vectors.encode_actions(model, state)
        return np.asarray(rows[:, : commands.shape[1]], np.float64)

    def describe(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "checkpoint": str(self.runtime.checkpoint.folder),
            "device": str(self.runtime.engine.device),
            "flow_steps": self._steps,
            "horizon": self.horizon,
            "control_rate_hz": self.manifest.control_rate_hz,
            "seed": self.seed,
        }

    def warm_up(self) -> float:
        """s of an inference after the first ones' costs are paid."""
        return self.runtime.warm_up()

    def scheduler(self, delay_s: float) -> InferenceScheduler:
        """A new scheduler for the strategy.

        Args:
            delay_s: from an observation to its chunk, as it is expected before one was measured:
                without it the second chunk would plan for no delay.
        """
        settings = SchedulerSettings(
            horizon=self.horizon,
            dt_s=self.dt_s,
            execution_horizon=self.settings.execution_horizon,
            age_budget_s=self.settings.age_budget,
            max_prefix_rows=self.max_prefix_rows,
        )
        return InferenceScheduler(self._side, settings, DelayWindow(initial_s=delay_s))

    def session(self, seed: int | None = None) -> ActorSession:
        """A robot's run.

        Args:
            seed: of its noise; None: of the settings.
        """
        return ActorSession(self, self.seed if seed is None else seed)

    def infer_batch(
        self,
        sessions: Sequence[ActorSession],
        requests: Sequence[InferenceRequest],
        trace: bool = False,
    ) -> InferredBatch:
        """One chunk for each session's request, inferred together.

        Args:
            sessions: of this actor, all different.
            trace: keep the routers' decisions; a batch of one has them in ``experts``, too.
        """
        pairs = list(zip(sessions, requests, strict=True))
        conditions = [session.condition(request) for session, request in pairs]
        outputs = self.runtime.infer_batch(
            [request.observation for request in requests],
            torch.cat([session.noise(request) for session, request in pairs]),
            replace(stack_options(conditions), steps=self._steps, trace=trace),
        )
        experts = outputs[0].expert_loads() if trace and len(outputs) == 1 else ()
        inferences = []
        for (session, request), condition, output in zip(pairs, conditions, outputs, strict=True):
            session.remember(request, output.normalized)
            frozen = condition.frozen
            inferences.append(
                Inference(
                    positions=self.joint_map.command_from_model(output.actions),
                    normalized=output.normalized[:, : output.actions.shape[1]].astype(np.float64),
                    committed_rows=0 if frozen is None else int(frozen.mask.sum()),
                    stages=output.stages,
                    experts=experts,
                )
            )
        return InferredBatch(inferences, outputs[0].sample)

    def condition(self, left: Leftover) -> SamplingOptions:
        """What the sampler takes of a previous chunk, for one observation."""
        jacobian = cast(Jacobian, self.settings.rtc_jacobian)
        return condition_on(left.rows, left.weights, left.prefix_rows, self._max_weight, jacobian)


class ActorSession:
    """One robot's run with an actor; used from one thread.

    Attributes:
        horizon, dt_s, max_prefix_rows: of the actor.
    """

    def __init__(self, actor: PolicyActor, seed: int) -> None:
        self._actor, self._seed = actor, seed
        self.horizon, self.dt_s = actor.horizon, actor.dt_s
        self.max_prefix_rows = actor.max_prefix_rows
        vectors = actor.runtime.processor.vectors
        self._previous = PreviousChunks(
            lambda rows, old, new: reanchor(rows, *vectors.anchors(old, new))
        )

    def restart(self) -> None:
        """A new generation: nothing of the chunks before counts."""
        self._previous.clear()

    def infer(self, observation: Observation, plan: InferencePlan) -> Inference:
        """One chunk."""
        request = InferenceRequest(observation, plan)
        return self._actor.infer_batch([self], [request], trace=True).inferences[0]

    def noise(self, request: InferenceRequest) -> torch.Tensor:
        """(1, H, A) of a request; see ``runtime.noise_seed``."""
        return self._actor.runtime.noise(noise_seed(self._seed, request.observation.stamp_ns))

    def condition(self, request: InferenceRequest) -> SamplingOptions:
        """What of the previous chunk goes into a request."""
        left = self._previous.leftover(request.plan, request.observation.state)
        return FREE if left is None else self._actor.condition(left)

    def remember(self, request: InferenceRequest, normalized: NDArray[np.float32]) -> None:
        """Keep a chunk (H, A) for the next request."""
        self._previous.remember(request.plan.observation_ns, normalized, request.observation.state)


def condition_on(
    rows: NDArray[Any],
    weights: Vector | None,
    prefix_rows: int,
    max_weight: float,
    jacobian: Jacobian = "identity",
) -> SamplingOptions:
    """Guidance and frozen rows of one observation (B = 1), in host memory.

    Args:
        rows: (H, A) leftover of the previous chunk, normalised, re-anchored.
        weights: (H,) guidance weights; None: no guidance.
        prefix_rows: leading rows to give as clean tokens.
        max_weight, jacobian: see ``ChunkGuidance``.
    """
    target = torch.as_tensor(rows, dtype=torch.float32).unsqueeze(0)
    guidance, frozen = None, None
    if weights is not None:
        share = torch.as_tensor(weights, dtype=torch.float32)[None, :, None]
        guidance = ChunkGuidance(target, share, max_weight, jacobian)
    if prefix_rows > 0:
        frozen = FrozenRows(target, (torch.arange(target.shape[1]) < prefix_rows).unsqueeze(0))
    return SamplingOptions(frozen=frozen, guidance=guidance)


def _check(profile: RobotProfile, checkpoint: Checkpoint, settings: PolicySettings) -> None:
    """Raises ``ContractError`` with everything that does not fit."""
    problems, manifest = Problems(), checkpoint.manifest
    problems.extend(mismatches(profile, manifest))
    horizon = checkpoint.config.horizon
    if settings.execution_horizon > horizon:
        expected = f"at most the {horizon} rows of the checkpoint's chunks"
        got, do = settings.execution_horizon, "choose a smaller one"
        problems.add("execution_horizon", expected, got, do)
    steps = settings.flow_steps or checkpoint.config.flow_steps
    if not 0 <= settings.rtc_max_weight < 2 * steps:
        expected = f"0 or more, below twice the {steps} flow steps"
        do = f"use at most {steps}: beyond it every step overshoots"
        problems.add("rtc_max_weight", expected, settings.rtc_max_weight, do)
    if settings.rtc_jacobian not in get_args(Jacobian):
        expected = " or ".join(get_args(Jacobian))
        problems.add("rtc_jacobian", expected, repr(settings.rtc_jacobian), "correct it")
    if make_strategy(settings.strategy).policy_side.trained_prefix and manifest.rtc_max_delay < 1:
        problems.add(
            f"strategy {settings.strategy}",
            "a checkpoint trained for it (rtc_max_delay above 0 in its manifest)",
            manifest.rtc_max_delay,
            "use strategy rtc, or train with rtc_max_delay",
        )
    problems.raise_if_any()


def _engine(settings: PolicySettings, batch: int) -> tuple[str, EngineSettings]:
    """Name and settings: only the eager engine can be differentiated, or take any batch on CUDA.

    Raises:
        ContractError: another one was asked for together with ``rtc_jacobian`` vjp.
    """
    exact = make_strategy(settings.strategy).policy_side.guidance and settings.rtc_jacobian == "vjp"
    if exact and settings.engine not in ("auto", "eager"):
        expected, do = (
            "eager with rtc_jacobian vjp",
            "set engine to eager, or rtc_jacobian to identity",
        )
        raise ContractError(problem("engine", expected, settings.engine, do))
    many = batch > 1 and choose_device(settings.device).type == "cuda"
    name = "eager" if settings.engine == "auto" and (exact or many) else settings.engine
    batches = tuple(range(1, batch + 1)) if name == "captured" else (1,)
    return name, EngineSettings(batches=batches, steps=settings.flow_steps)
