# SPDX-License-Identifier: Apache-2.0
"""Chunks for a ``ClosedLoop``: from a checkpoint, or from a motion that is known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamoe_ros.contract.joint_map import JointMap
from adamoe_ros.contract.observation import Observation
from adamoe_ros.control.leftover import PreviousChunks
from adamoe_ros.control.rtc_math import reanchor
from adamoe_ros.control.scheduling import InferencePlan
from adamoe_ros.evaluation.closed_loop import Request
from adamoe_ros.policy.guidance import FREE, ChunkGuide, Steering, stacked
from adamoe_ros.policy.runtime import PolicyOutput, PolicyRuntime

Vector = NDArray[np.float64]


class PolicySource:
    """A checkpoint, steered as ``policy_node`` steers it.

    Args:
        runtime: the loaded checkpoint.
        joint_map: of the robot's profile and the checkpoint.
        guide: of strategy ``rtc``.
        seed: of the noise, which is a function of it and the inference's number alone: two
            strategies see the same noise.
    """

    def __init__(
        self, runtime: PolicyRuntime, joint_map: JointMap, guide: ChunkGuide, seed: int
    ) -> None:
        manifest = runtime.checkpoint.manifest
        if manifest.control_rate_hz is None:
            raise ValueError("a checkpoint without a control rate")
        self.horizon, self.dt_s = runtime.horizon, 1.0 / manifest.control_rate_hz
        self.max_prefix_rows = manifest.rtc_max_delay
        self.runtime, self._map, self._guide = runtime, joint_map, guide
        vectors = runtime.processor.vectors
        self._previous = PreviousChunks(
            lambda rows, old, new: reanchor(rows, *vectors.anchors(old, new))
        )
        self._seed, self._count = seed, 0

    def restart(self) -> None:
        """Nothing of the chunks before counts."""
        self._previous.clear()

    def infer(self, observation: Observation, plan: InferencePlan) -> Vector:
        """(H, J) rows in command units."""
        return infer_together([self], [Request(observation, plan)])[0]

    def noise(self) -> Tensor:
        """(1, H, A) of the next inference."""
        self._count += 1
        return self.runtime.noise(self._seed * 10_000 + self._count)

    def steering(self, request: Request) -> Steering:
        """What of its previous chunk goes into an inference."""
        left = self._previous.leftover(request.plan, request.observation.state)
        return self._guide.steering(left.rows, left.weights, left.prefix_rows) if left else FREE

    def take(self, request: Request, output: PolicyOutput) -> Vector:
        """Remember what was made; (H, J) rows in command units."""
        stamp, state = request.plan.observation_ns, request.observation.state
        self._previous.remember(stamp, output.normalized, state)
        return self._map.command_from_model(output.actions)


def infer_together(
    sources: Sequence[PolicySource],
    requests: Sequence[Request],
    see: Callable[[PolicyOutput], None] | None = None,
    trace: bool = False,
) -> list[Vector]:
    """One batch for several sources of the same runtime.

    Args:
        see: gets the batch's ``sample`` and ``stages``.
        trace: keep the routers' decisions.
    """
    runtime = sources[0].runtime
    pairs = list(zip(sources, requests, strict=True))
    steering = stacked([source.steering(request) for source, request in pairs])
    outputs = runtime.infer_batch(
        [request.observation for request in requests],
        torch.cat([source.noise() for source in sources]),
        known=steering.known,
        guidance=steering.guidance,
        trace=trace,
    )
    if see is not None:
        see(outputs[0])
    return [
        source.take(request, output)
        for (source, request), output in zip(pairs, outputs, strict=True)
    ]


class ScriptedSource:
    """Chunks cut from a motion that is known beforehand, each from where the last one is left.

    Args:
        motion: (T, J) command units, rows ``dt_s`` apart.
        horizon: rows of a chunk; beyond the motion's end its last row repeats.
        dt_s: s between rows.
        spread: standard deviation of a constant offset of each chunk, per joint (J,) or one for
            all: a policy that does not quite agree with itself.
        seed: of the offsets.
    """

    max_prefix_rows = 0

    def __init__(
        self,
        motion: Vector,
        horizon: int = 50,
        dt_s: float = 0.02,
        spread: Vector | float = 0.0,
        seed: int = 0,
    ) -> None:
        self.horizon, self.dt_s = horizon, dt_s
        self._motion, self._spread = motion, spread
        self._rng = np.random.default_rng(seed)
        self._row = 0.0

    def restart(self) -> None:
        """The motion goes on from where it is."""

    def infer(self, observation: Observation, plan: InferencePlan) -> Vector:
        """(H, J) rows in command units."""
        # rows that were played since the last observation: what was not sent was not played
        self._row += min(plan.shift_rows, plan.publish_rows)
        first = round(self._row)
        wanted = np.minimum(np.arange(first, first + self.horizon), len(self._motion) - 1)
        offset = self._rng.normal(size=self._motion.shape[1]) * self._spread
        return np.asarray(self._motion[wanted] + offset)
