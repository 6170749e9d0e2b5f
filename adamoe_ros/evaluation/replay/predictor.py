# SPDX-License-Identifier: Apache-2.0
"""One checkpoint as replay uses it: the runtime of the nodes, noise fixed by seed and stamp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, Problems
from adamoe_ros.contract.joint_map import JointMap, build_joint_map
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What a policy makes of one observation.

    Attributes:
        positions: (H, J) command units.
        normalized: (H, J) as the network gave them.
        stages: stage -> s.
        experts: per mixture layer, as in ``Inference.experts``.
    """

    positions: Vector
    normalized: Vector
    stages: Mapping[str, float] = field(default_factory=dict)
    experts: Sequence[Mapping[str, Any]] = ()


class Predictor(Protocol):
    """A policy for one robot.

    Attributes:
        name: label in reports.
        horizon: H. dt_s: s between rows.
        slots: camera slots in its order.
        joint_map: driver's units <-> its own.
        facts: for the report: checkpoint, device, ...
    """

    name: str
    horizon: int
    dt_s: float
    slots: tuple[str, ...]
    joint_map: JointMap
    facts: dict[str, Any]

    def predict(self, observation: Observation) -> Prediction:
        """One chunk; the same for the same observation."""

    def normalized_rows(self, commands: Vector, state: Vector) -> Vector:
        """(H, J) command units as the network's normalised rows, for the (J,) model state."""


class PolicyPredictor:
    """A checkpoint folder; see ``Predictor``.

    Args:
        folder: checkpoint. name: label.
        device: see ``policy.runtime.choose_device``.
        steps: flow steps; 0: the checkpoint's.
        seed: of the noise.

    Raises:
        ContractError: checkpoint and profile do not fit; every mismatch.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        profile: RobotProfile,
        device: str = "auto",
        steps: int = 0,
        seed: int = 0,
    ) -> None:
        from adamoe_ros.policy.checkpoint import read_checkpoint
        from adamoe_ros.policy.runtime import PolicyRuntime

        checkpoint = read_checkpoint(folder)
        manifest = checkpoint.manifest
        _check(profile, manifest, str(folder))
        self.joint_map = build_joint_map(profile, manifest)
        self._runtime = PolicyRuntime(checkpoint, device, engine="auto")  # as policy_node does
        self.name, self.horizon = name, self._runtime.horizon
        assert manifest.control_rate_hz is not None  # _check has seen to it
        self.dt_s = 1.0 / manifest.control_rate_hz
        self.slots = tuple(manifest.camera_slots)
        self._steps, self._seed = steps or None, seed
        self.facts = {
            "checkpoint": str(folder),
            "device": str(self._runtime.engine.device),
            "flow_steps": steps or checkpoint.config.flow_steps,
            "horizon": self.horizon,
            "control_rate_hz": manifest.control_rate_hz,
            "seed": seed,
        }

    def warm_up(self) -> float:
        """s of an inference once the first ones' costs are paid."""
        return self._runtime.warm_up()

    def predict(self, observation: Observation) -> Prediction:
        """One chunk."""
        from adamoe_ros.policy.runtime import noise_seed

        noise = self._runtime.noise(noise_seed(self._seed, observation.stamp_ns))
        output = self._runtime.infer(observation, noise, self._steps, trace=True)
        return Prediction(
            self.joint_map.command_from_model(output.actions),
            np.asarray(output.normalized[:, : output.actions.shape[1]], np.float64),
            output.stages,
            output.expert_loads(),
        )

    def normalized_rows(self, commands: Vector, state: Vector) -> Vector:
        """(H, J) command units -> the network's rows."""
        model = self.joint_map.model_from_command(commands)
        rows = self._runtime.processor.vectors.encode_actions(model, state)
        return np.asarray(rows[:, : commands.shape[1]], np.float64)


def _check(profile: RobotProfile, manifest: Any, where: str) -> None:
    problems = Problems()
    if manifest.raw_only:
        do = "convert it with joint roles, statistics and tokenizer"
        problems.add(f"{where}: raw_only", "false", "true", do)
    elif manifest.control_rate_hz is None:
        problems.add(f"{where}: control_rate_hz", "a value", "null", "set it in manifest.json")
    if manifest.state_source not in (None, profile.state_source):
        problems.add(
            f"profile {profile.name}: state_source",
            f"{manifest.state_source!r} as the checkpoint was trained with",
            repr(profile.state_source),
            "change the profile",
        )
    try:
        build_joint_map(profile, manifest)
    except ContractError as error:
        problems.extend(error.problems)
    problems.raise_if_any()
