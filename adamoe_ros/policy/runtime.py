# SPDX-License-Identifier: Apache-2.0
"""A checkpoint on a device: observation in, action chunk in the checkpoint's units out.

What follows a robot's chunks over time is ``policy.actor``, which runs on this.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.observation import Observation
from adamoe_ros.model.conditioning import FREE, SamplingOptions
from adamoe_ros.model.policy_model import PolicySample
from adamoe_ros.policy.checkpoint import Checkpoint
from adamoe_ros.policy.engines import EngineSettings, make_engine
from adamoe_ros.policy.engines.eager import Engine
from adamoe_ros.policy.engines.memory_budget import check_room
from adamoe_ros.policy.processing import Processor

_WARM_UPS = 3


@dataclass(frozen=True)
class PolicyOutput:
    """What the policy makes of one observation.

    Attributes:
        actions: (H, D) float64, the checkpoint's physical units.
        normalized: (H, A) float32, as the network gave them; never clipped.
        sample: everything the network gave, batch of one.
        stages: stage -> s, wall clock, ``total`` among them.
    """

    actions: NDArray[np.float64]
    normalized: NDArray[np.float32]
    sample: PolicySample
    stages: Mapping[str, float]

    def expert_loads(self) -> list[dict[str, Any]]:
        """Per mixture layer over all flow steps: ``layer``; per expert ``selected`` (share of the
        tokens' choices), ``probability`` and ``scale`` (mean, 0 where never selected)."""
        statistics = self.sample.statistics() if self.sample.routing else None
        if statistics is None:
            return []
        counts = statistics.selection_counts.double()
        shares = counts / counts.sum(1, keepdim=True)
        rows = zip(shares, statistics.mean_probability, statistics.mean_scale, strict=True)
        return [
            {
                "layer": layer,
                "selected": share.tolist(),
                "probability": probability.tolist(),
                "scale": scale.tolist(),
            }
            for layer, (share, probability, scale) in enumerate(rows)
        ]


def choose_device(name: str) -> torch.device:
    """``auto``: CUDA where there is a device, else the CPU; anything else is taken as it is.

    Raises:
        ContractError: no such device on this machine; nothing is replaced silently.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        expected = "auto, cpu, cuda or cuda:N"
        raise ContractError(problem("device", expected, repr(name), "correct it")) from error
    known = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.type not in ("cpu", "cuda") or (device.index or 0) >= known:
        got, do = f"{known} CUDA devices here", "choose another, or set device to cpu"
        raise ContractError(problem(f"device {name}", "one that exists", got, do))
    return device


class PolicyRuntime:
    """One loaded policy.

    Args:
        checkpoint: not raw-only.
        device: name, see ``choose_device``.
        dtype: of the weights; None: as stored (float16 runs as float32).
        engine: of ``policy.engines``: eager is the definition, auto the fastest of the device.
        settings: of the engine; None: its defaults.

    Raises:
        ContractError: weights, tokenizer, device or engine do not fit.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        dtype: torch.dtype | None = None,
        engine: str = "eager",
        settings: EngineSettings | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.processor = Processor(checkpoint)
        place = choose_device(device)
        check_room(checkpoint.config, place, dtype, settings or EngineSettings())
        network = checkpoint.load_network(place, dtype)
        self.engine: Engine = make_engine(engine, network, settings)

    @property
    def horizon(self) -> int:
        """H, rows of a chunk."""
        return self.checkpoint.config.horizon

    def noise(self, seed: int | None = None, count: int = 1) -> torch.Tensor:
        """(count, H, A) unit normal; the same for the same seed, on every device."""
        sizes = self.checkpoint.config
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        return torch.randn(count, sizes.horizon, sizes.action_dim, generator=generator)

    def infer(
        self,
        observation: Observation,
        noise: torch.Tensor,
        options: SamplingOptions = FREE,
    ) -> PolicyOutput:
        """One chunk.

        Args:
            noise: (1, H, A); see ``noise``.
            options: in host memory.
        """
        return self.infer_batch([observation], noise, options)[0]

    def infer_batch(
        self,
        observations: Sequence[Observation],
        noise: torch.Tensor,
        options: SamplingOptions = FREE,
    ) -> list[PolicyOutput]:
        """One chunk for each observation; ``sample`` and ``stages`` are those of the batch."""
        begun = time.perf_counter()
        inputs = self.processor.inputs(observations)
        prepared = time.perf_counter()
        result = self.engine.sample(inputs, noise, options)
        back = time.perf_counter()
        normalized = result.sample.actions.numpy()
        states = np.stack([observation.state for observation in observations])
        actions = self.processor.actions(normalized, states)
        ended = time.perf_counter()
        stages = {
            "prepare": prepared - begun,
            **result.stages,
            "decode": ended - back,
            "total": ended - begun,
        }
        return [
            PolicyOutput(actions[i], normalized[i], result.sample, stages)
            for i in range(len(observations))
        ]

    def warm_up(self, observation: Observation) -> float:
        """Run on an observation until the first calls' costs are paid.

        Returns:
            s of the last run.
        """
        output = None
        for _ in range(_WARM_UPS):
            output = self.infer(observation, self.noise(0))
        assert output is not None
        return output.stages["total"]
