# SPDX-License-Identifier: Apache-2.0
"""When a policy infers on a recording, and what of its previous chunk it is given.

A strategy that goes on from the previous chunk is scheduled as by policy_node: the chunk depends on
when the one before was made. The chunks of all others do not, so they are made at a fixed stride.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.joint_map import JointMap
from adamoe_ros.contract.observation import Observation
from adamoe_ros.control.scheduling import InferencePlan, InferenceScheduler
from adamoe_ros.control.strategies import make_strategy

Vector = NDArray[np.float64]
_ALMOST_NS = 1_000_000  # stamps of a camera are not spaced evenly to the nanosecond


class ReplaySession(Protocol):
    """One run of an actor over one bag."""

    def restart(self) -> None:
        """Nothing of the chunks before counts."""

    def infer(self, observation: Observation, plan: InferencePlan) -> Inference:
        """One chunk."""


class Actor(Protocol):
    """What a replay asks of ``policy.actor.PolicyActor``; see there."""

    horizon: int
    dt_s: float
    joint_map: JointMap

    @property
    def strategy(self) -> str:
        """Of chunk execution."""

    @property
    def camera_slots(self) -> tuple[str, ...]:
        """In its order."""

    def session(self) -> ReplaySession:
        """A run with nothing before it."""

    def scheduler(self, delay_s: float) -> InferenceScheduler:
        """For its strategy."""

    def normalized_rows(self, commands: Vector, state: Vector) -> Vector:
        """(H, J) command units and the (J,) model state -> the network's rows."""

    def describe(self) -> Mapping[str, Any]:
        """For the report."""


class ReplaySchedule:
    """Of one policy over one bag; asked for every observation, in order.

    Args:
        actor: the policy; None: observations are only looked at.
        stride_s: s between inferences of a strategy that makes each chunk by itself; 0: at every
            observation.
        latency_s: from an observation's stamp to the arrival of its chunk.
    """

    def __init__(self, actor: Actor | None, stride_s: float, latency_s: float) -> None:
        self._stride, self._latency = round(stride_s * 1e9), round(latency_s * 1e9)
        self._rows = 0 if actor is None else actor.horizon
        self._last: int | None = None
        self._scheduler: InferenceScheduler | None = None
        if actor is not None and make_strategy(actor.strategy).policy_side.needs_leftover:
            self._scheduler = actor.scheduler(latency_s)

    def restart(self) -> None:
        """The recording begins anew."""
        self._last = None
        if self._scheduler is not None:
            self._scheduler.abandon()
            self._scheduler.reset()

    def plan(self, stamp_ns: int) -> InferencePlan | None:
        """Of an inference on the observation of this stamp; None: there is none."""
        if self._scheduler is not None:
            return self._scheduled(self._scheduler, stamp_ns)
        if self._last is not None and stamp_ns - self._last < self._stride - _ALMOST_NS:
            return None
        self._last = stamp_ns
        return InferencePlan(stamp_ns, None, 0, 0.0, 0, None, 0, self._rows)

    def _scheduled(self, scheduler: InferenceScheduler, stamp_ns: int) -> InferencePlan | None:
        if scheduler.in_flight and self._last is not None:
            ready = self._last + self._latency
            if stamp_ns < ready:
                return None
            scheduler.finish(ready)
        if not scheduler.due(stamp_ns, stamp_ns):
            return None
        self._last = stamp_ns
        return scheduler.start(stamp_ns)
