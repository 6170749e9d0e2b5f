# SPDX-License-Identifier: Apache-2.0
"""The policy as policy_node uses it: profile and checkpoint joined, observation in, commands out.

Everything that can be checked before the arms move is checked when it is made.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.joint_map import JointMap, build_joint_map
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.control.leftover import PreviousChunks
from adamoe_ros.control.rtc_math import reanchor
from adamoe_ros.control.scheduling import (
    DelayWindow,
    InferencePlan,
    InferenceScheduler,
    SchedulerSettings,
)
from adamoe_ros.control.strategies import make_strategy
from adamoe_ros.policy.checkpoint import Checkpoint, read_checkpoint
from adamoe_ros.policy.engines import EngineSettings
from adamoe_ros.policy.guidance import FREE, ChunkGuide, check_trained_prefix
from adamoe_ros.policy.runtime import PolicyRuntime, noise_seed
from adamoe_ros.ros.policy.policy_checks import mismatches
from adamoe_ros.ros.policy.policy_parameters import PolicyParameters
from adamoe_ros.ros.policy.policy_worker import Inference


def read_pair(params: PolicyParameters) -> tuple[RobotProfile, Checkpoint]:
    """Profile and checkpoint that fit each other and the parameters.

    Raises:
        ContractError: everything that is wrong with either, or between them.
    """
    problems = Problems()
    for name in ("robot", "checkpoint"):
        if not getattr(params, name):
            problems.add(f"parameter {name}", "a value", "none", f"set {name}:=...")
    problems.raise_if_any()
    profile, checkpoint = None, None
    try:
        profile = load_profile(profile_path(params.robot, robots_dir()))
    except ContractError as error:
        problems.extend(error.problems)
    try:
        checkpoint = read_checkpoint(Path(params.checkpoint))
    except ContractError as error:
        problems.extend(error.problems)
    if profile is not None and checkpoint is not None:
        manifest, horizon = checkpoint.manifest, checkpoint.config.horizon
        problems.extend(mismatches(profile, manifest, horizon, params))
    problems.raise_if_any()
    assert profile is not None and checkpoint is not None
    return profile, checkpoint


def engine_of(params: PolicyParameters) -> str:
    """The engine's name; only the eager one can be differentiated.

    Raises:
        ContractError: another one was asked for together with ``rtc_jacobian`` vjp.
    """
    if params.strategy != "rtc" or params.rtc_jacobian != "vjp" or params.engine == "eager":
        return params.engine
    if params.engine == "auto":
        return "eager"
    do = "set engine to eager, or rtc_jacobian to identity"
    raise ContractError(
        problem("parameter engine", "eager with rtc_jacobian vjp", params.engine, do)
    )


class PolicyEngine:
    """One configured policy.

    Args:
        params: of the node.

    Raises:
        ContractError: profile, checkpoint, parameters and device do not fit; all of it.

    Attributes:
        dt_s: s between rows of a chunk.
        joint_map: driver's values <-> the checkpoint's.
        schedule: the scheduler that was made last, for its counters; None before the first.
    """

    def __init__(self, params: PolicyParameters) -> None:
        self._params = params
        self.profile, checkpoint = read_pair(params)
        self._side = make_strategy(params.strategy).policy_side
        if self._side.trained_prefix:
            check_trained_prefix(checkpoint.manifest, params.strategy)
        if params.threads:
            torch.set_num_threads(params.threads)
        self._steps = params.flow_steps or checkpoint.config.flow_steps
        self.joint_map: JointMap = build_joint_map(self.profile, checkpoint.manifest)
        self._runtime = PolicyRuntime(
            checkpoint,
            params.device,
            engine=engine_of(params),
            settings=EngineSettings(steps=params.flow_steps),
        )
        engine = self._runtime.engine
        # a captured engine takes everything in one upload from the host
        where = "cpu" if engine.name == "captured" else engine.device
        self._guide = ChunkGuide(params.rtc_jacobian, params.rtc_max_weight, self._steps, where)
        vectors = self._runtime.processor.vectors
        self._previous = PreviousChunks(
            lambda rows, old, new: reanchor(rows, *vectors.anchors(old, new))
        )
        seed = params.seed if params.seed >= 0 else random.SystemRandom().randrange(2**31)
        self._seed = seed
        self._warm_s = 0.0
        self.schedule: InferenceScheduler | None = None
        rate = checkpoint.manifest.control_rate_hz
        assert rate is not None  # mismatches() has seen to it
        self.dt_s = 1.0 / rate

    @property
    def manifest(self) -> CheckpointManifest:
        """Of the checkpoint."""
        return self._runtime.checkpoint.manifest

    @property
    def horizon(self) -> int:
        """H, rows of a chunk."""
        return self._runtime.horizon

    @property
    def device(self) -> str:
        """Where the model runs, for a person."""
        device = self._runtime.engine.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        return f"{device} ({name})" if name else str(device)

    @property
    def state_range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(J,) low and high ends of the training data's states, as ``state_as_trained`` has them."""
        return self._runtime.checkpoint.state_range()

    def state_as_trained(self, observation: Observation) -> NDArray[np.float64]:
        """(J,) the state in the convention of the training data's statistics."""
        return self._runtime.processor.vectors.inner_state(observation.state)

    def peak_memory(self) -> int:
        """Bytes of device memory, 0 on a CPU."""
        return self._runtime.engine.peak_memory()

    def warm_up(self) -> float:
        """s of an inference after the first ones' costs are paid."""
        self._warm_s = self._runtime.warm_up()
        return self._warm_s

    def scheduler(self) -> InferenceScheduler:
        """A new scheduler for the node's strategy."""
        settings = SchedulerSettings(
            horizon=self.horizon,
            dt_s=self.dt_s,
            execution_horizon=self._params.execution_horizon,
            age_budget_s=self._params.age_budget,
            max_prefix_rows=self.manifest.rtc_max_delay,
        )
        # what is known before the first goal: without it the second chunk would plan for no delay
        expected_s = self._warm_s + self._params.inject_latency
        self.schedule = InferenceScheduler(self._side, settings, DelayWindow(initial_s=expected_s))
        return self.schedule

    def restart(self) -> None:
        """A new generation: nothing of the chunk before counts."""
        self._previous.clear()

    def infer(self, observation: Observation, plan: InferencePlan) -> Inference:
        """One chunk in command units."""
        noise = self._runtime.noise(noise_seed(self._seed, observation.stamp_ns))
        left = self._previous.leftover(plan, observation.state)
        steering = FREE
        if left is not None:
            steering = self._guide.steering(left.rows, left.weights, left.prefix_rows)
        output = self._runtime.infer(
            observation, noise, self._steps, steering.known, steering.guidance, trace=True
        )
        self._previous.remember(plan.observation_ns, output.normalized, observation.state)
        return Inference(
            positions=self.joint_map.command_from_model(output.actions),
            committed_rows=steering.committed_rows,
            stages=output.stages,
            experts=output.expert_loads(),
        )
