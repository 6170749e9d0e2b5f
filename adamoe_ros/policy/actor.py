# SPDX-License-Identifier: Apache-2.0
"""The policy on a robot: profile and checkpoint joined, observation and plan in, commands out.

The one path of everything that acts: policy_node, evaluation in simulation, replay of bags, the
policy server. They differ in where observations come from and where chunks go, never in what
happens between.

    ``PolicyActor``    the loaded policy; may serve several robots at once
    ``ActorSession``   what one robot's run needs beside it: the chunks before, and the noise's seed

Shapes: H rows, J joints of the robot, A action width of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.leftover import Leftover
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.control.scheduling import InferencePlan, InferenceRequest
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
from adamoe_ros.policy.actor_base import BaseActor, BaseSession
from adamoe_ros.policy.checkpoint import Checkpoint
from adamoe_ros.policy.engines import EngineSettings
from adamoe_ros.policy.runtime import PolicyRuntime, choose_device

Vector = NDArray[np.float64]


class InferredBatch(NamedTuple):
    """Several observations inferred at once.

    Attributes:
        inferences: in their order; ``stages`` are the batch's.
        sample: what the network gave for the batch.
    """

    inferences: list[Inference]
    sample: PolicySample


class Requester(Protocol):
    """Whose request is inferred: a robot's session here, or a client of the server."""

    def noise(self, request: InferenceRequest) -> torch.Tensor:
        """(1, H, A) of a request."""

    def condition(self, request: InferenceRequest) -> SamplingOptions:
        """What of the previous chunk goes into a request."""

    def remember(self, request: InferenceRequest, normalized: NDArray[np.float32]) -> None:
        """Keep a chunk (H, A) for the next request."""


class PolicyActor(BaseActor):
    """One checkpoint for one kind of robot, run in this process.

    Args:
        profile: of the robot; None: vectors stay in the checkpoint's own order and units.
        checkpoint: not raw-only.
        settings: how it acts.
        batch: most observations that are inferred at once.

    Raises:
        ContractError: profile, checkpoint, settings and device do not fit; all of it.

    Attributes:
        runtime: the loaded checkpoint.
    """

    def __init__(
        self,
        profile: RobotProfile | None,
        checkpoint: Checkpoint,
        settings: PolicySettings,
        batch: int = 1,
    ) -> None:
        super().__init__(
            profile, checkpoint.manifest, checkpoint.config, checkpoint.statistics, settings
        )
        if settings.threads:
            torch.set_num_threads(settings.threads)
        engine, captured = _engine(settings, batch)
        self.runtime = PolicyRuntime(checkpoint, settings.device, engine=engine, settings=captured)

    @property
    def device(self) -> str:
        """Where the model runs, for a person."""
        device = self.runtime.engine.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        return f"{device} ({name})" if name else str(device)

    def peak_memory(self) -> int:
        """See ``BaseActor``."""
        return self.runtime.engine.peak_memory()

    def instruction_problem(self, sentence: str) -> str | None:
        """See ``BaseActor``."""
        return self.runtime.processor.prompts.check(sentence)

    def describe(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "checkpoint": str(self.runtime.checkpoint.folder),
            "device": str(self.runtime.engine.device),
            "flow_steps": self.steps,
            "horizon": self.horizon,
            "control_rate_hz": self.manifest.control_rate_hz,
            "seed": self.seed,
        }

    def warm_up(self) -> float:
        """s of an inference after the first ones' costs are paid."""
        return self.runtime.warm_up(self.warm_up_observation())

    def session(self, seed: int | None = None) -> ActorSession:
        """See ``BaseActor``."""
        return ActorSession(self, self.seed if seed is None else seed)

    def infer_batch(
        self,
        sessions: Sequence[Requester],
        requests: Sequence[InferenceRequest],
        trace: bool = False,
    ) -> InferredBatch:
        """One chunk for each session's request, inferred together.

        Args:
            sessions: of this actor, all different, with the same clip and Jacobian.
            trace: keep the routers' decisions; a batch of one has them in ``experts``, too.
        """
        pairs = list(zip(sessions, requests, strict=True))
        conditions = [session.condition(request) for session, request in pairs]
        outputs = self.runtime.infer_batch(
            [request.observation for request in requests],
            torch.cat([session.noise(request) for session, request in pairs]),
            replace(stack_options(conditions), steps=self.steps, trace=trace),
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
        return condition_on(left.rows, left.weights, left.prefix_rows, self.max_weight, jacobian)


class ActorSession(BaseSession):
    """One robot's run with a policy in this process."""

    def __init__(self, actor: PolicyActor, seed: int) -> None:
        super().__init__(actor, seed)
        self._actor = actor

    def infer(self, observation: Observation, plan: InferencePlan) -> Inference:
        """One chunk."""
        request = InferenceRequest(observation, plan)
        return self._actor.infer_batch([self], [request], trace=True).inferences[0]

    def noise(self, request: InferenceRequest) -> torch.Tensor:
        """(1, H, A) of a request."""
        return self._actor.runtime.noise(self.noise_seed(request))

    def condition(self, request: InferenceRequest) -> SamplingOptions:
        """What of the previous chunk goes into a request."""
        left = self.leftover(request)
        return FREE if left is None else self._actor.condition(left)


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
