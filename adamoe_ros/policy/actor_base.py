# SPDX-License-Identifier: Apache-2.0
"""What acts for one kind of robot, wherever its network runs.

    ``BaseActor``     checkpoint and profile joined: names, units, schedule
    ``BaseSession``   one robot's run: the chunks before, and the noise's seed

``policy.actor`` runs the network in this process, ``serving.remote_actor`` asks a server for it.

Shapes: H rows, J joints of the robot, A action width of the model.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.errors import Problems
from adamoe_ros.contract.joint_map import build_joint_map, identity_joint_map
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.leftover import Leftover, PreviousChunks
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.control.rtc_math import reanchor
from adamoe_ros.control.scheduling import (
    DelayWindow,
    InferencePlan,
    InferenceRequest,
    InferenceScheduler,
    SchedulerSettings,
)
from adamoe_ros.control.strategies import make_strategy
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.policy.compatibility import mismatches
from adamoe_ros.policy.normalise import NormStats
from adamoe_ros.policy.vectors import VectorSpace

Vector = NDArray[np.float64]


class BaseActor(ABC):
    """One checkpoint for one kind of robot.

    Args:
        profile: of the robot; None: vectors stay in the checkpoint's own order and units.
        manifest, config, statistics: of the checkpoint, not raw-only.
        settings: how it acts.

    Raises:
        ContractError: profile, checkpoint and settings do not fit; all of it.

    Attributes:
        dt_s: s between rows of a chunk.
        horizon: H. max_prefix_rows: clean rows it was trained with; 0: none.
        joint_map: driver's values <-> the checkpoint's.
        steps: flow steps of an inference. max_weight: clip of the guidance.
    """

    def __init__(
        self,
        profile: RobotProfile | None,
        manifest: CheckpointManifest,
        config: ModelConfig,
        statistics: NormStats | None,
        settings: PolicySettings,
    ) -> None:
        _check(profile, manifest, config, settings)
        assert (
            statistics is not None and manifest.control_rate_hz is not None
        )  # mismatches() saw to it
        self.profile, self.manifest, self.settings = profile, manifest, settings
        self.config: ModelConfig = config
        self.statistics: NormStats = statistics
        self._side = make_strategy(settings.strategy).policy_side
        self.steps = settings.flow_steps or config.flow_steps
        self.max_weight = float(settings.rtc_max_weight or self.steps)
        self.joint_map = (
            identity_joint_map(manifest) if profile is None else build_joint_map(profile, manifest)
        )
        self.vectors = VectorSpace(manifest, statistics, config.state_dim, config.action_dim)
        seed = settings.seed
        self.seed = seed if seed >= 0 else random.SystemRandom().randrange(2**31)
        self.horizon, self.dt_s = config.horizon, 1.0 / manifest.control_rate_hz
        self.max_prefix_rows = manifest.rtc_max_delay

    @property
    def strategy(self) -> str:
        """Of chunk execution."""
        return self.settings.strategy

    @property
    def camera_slots(self) -> tuple[str, ...]:
        """In the checkpoint's order."""
        return tuple(self.manifest.camera_slots)

    @property
    @abstractmethod
    def device(self) -> str:
        """Where the model runs, for a person."""

    @property
    def fault(self) -> str:
        """Why no inference can be had at the moment, one line; empty: nothing is known against it."""
        return ""

    def instruction_problem(self, sentence: str) -> str | None:
        """Why the policy cannot be given a sentence; None: it can, or only the server knows."""
        return None

    def peak_memory(self) -> int:
        """Most bytes of device memory so far; 0: none of this computer's."""
        return 0

    def close(self) -> None:  # noqa: B027  (most hold nothing)
        """Give back what is held outside of this process; may be called twice."""

    @property
    def state_range(self) -> tuple[Vector, Vector]:
        """(J,) low and high ends of the training data's states, as ``state_as_trained`` has them."""
        return self.statistics.state.usual_range()

    def state_as_trained(self, observation: Observation) -> Vector:
        """(J,) the state in the convention of the training data's statistics."""
        return self.vectors.inner_state(observation.state)

    def normalized_rows(self, commands: Vector, state: Vector) -> Vector:
        """(H, J) command units and the (J,) model state they start from -> the network's rows."""
        model = self.joint_map.model_from_command(commands)
        rows = self.vectors.encode_actions(model, state)
        return np.asarray(rows[:, : commands.shape[1]], np.float64)

    @abstractmethod
    def warm_up(self) -> float:
        """s of an inference after the first ones' costs are paid."""

    def warm_up_observation(self) -> Observation:
        """Black pictures of 640x480 and the mean state."""
        manifest = self.manifest
        return Observation(
            stamp_ns=0,
            images=dict.fromkeys(manifest.camera_slots, np.zeros((480, 640, 3), np.uint8)),
            state=np.array(self.statistics.state.mean),
            instruction=manifest.instructions[0] if manifest.instructions else "wait",
        )

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

    @abstractmethod
    def session(self, seed: int | None = None) -> BaseSession:
        """A robot's run.

        Args:
            seed: of its noise; None: of the settings.
        """


class BaseSession(ABC):
    """One robot's run with an actor; used from one thread.

    Attributes:
        horizon, dt_s, max_prefix_rows: of the actor.
    """

    def __init__(self, actor: BaseActor, seed: int) -> None:
        self._seed = seed
        self.horizon, self.dt_s = actor.horizon, actor.dt_s
        self.max_prefix_rows = actor.max_prefix_rows
        vectors = actor.vectors
        self._previous = PreviousChunks(
            lambda rows, old, new: reanchor(rows, *vectors.anchors(old, new))
        )

    def restart(self) -> None:
        """A new generation: nothing of the chunks before counts."""
        self._previous.clear()

    @abstractmethod
    def infer(self, observation: Observation, plan: InferencePlan) -> Inference:
        """One chunk.

        Raises:
            PolicyUnavailable: none can be had at the moment.
        """

    def noise_seed(self, request: InferenceRequest) -> int:
        """Of a request's noise; see ``noise_seed``."""
        return noise_seed(self._seed, request.observation.stamp_ns)

    def leftover(self, request: InferenceRequest) -> Leftover | None:
        """What of the previous chunk goes into a request."""
        return self._previous.leftover(request.plan, request.observation.state)

    def remember(self, request: InferenceRequest, normalized: NDArray[np.float32]) -> None:
        """Keep a chunk (H, A) for the next request."""
        self._previous.remember(request.plan.observation_ns, normalized, request.observation.state)


def noise_seed(seed: int, stamp_ns: int) -> int:
    """Seed of one observation's noise, everywhere: on the robot, in simulation, in replay.

    A function of the run's seed and the observation's stamp alone, so an inference gives the same
    chunk whatever was inferred before it.
    """
    return (seed * 0x9E3779B97F4A7C15 + stamp_ns) % 2**63


def _check(
    profile: RobotProfile | None,
    manifest: CheckpointManifest,
    config: ModelConfig,
    settings: PolicySettings,
) -> None:
    """Raises ``ContractError`` with everything that does not fit."""
    problems = Problems()
    problems.extend(mismatches(profile, manifest))
    horizon = config.horizon
    if settings.execution_horizon > horizon:
        expected = f"at most the {horizon} rows of the checkpoint's chunks"
        got, do = settings.execution_horizon, "choose a smaller one"
        problems.add("execution_horizon", expected, got, do)
    steps = settings.flow_steps or config.flow_steps
    if not 0 <= settings.rtc_max_weight < 2 * steps:
        expected = f"0 or more, below twice the {steps} flow steps"
        do = f"use at most {steps}: beyond it every step overshoots"
        problems.add("rtc_max_weight", expected, settings.rtc_max_weight, do)
    choices = PolicySettings.declaration("rtc_jacobian").spec.choices
    if settings.rtc_jacobian not in choices:
        expected = " or ".join(choices)
        problems.add("rtc_jacobian", expected, repr(settings.rtc_jacobian), "correct it")
    if make_strategy(settings.strategy).policy_side.trained_prefix and manifest.rtc_max_delay < 1:
        problems.add(
            f"strategy {settings.strategy}",
            "a checkpoint trained for it (rtc_max_delay above 0 in its manifest)",
            manifest.rtc_max_delay,
            "use strategy rtc, or train with rtc_max_delay",
        )
    problems.raise_if_any()
