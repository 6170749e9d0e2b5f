# SPDX-License-Identifier: Apache-2.0
"""When the policy infers next, and what of the previous chunk it is given. Pure numpy.

Used by ``policy_node``, the replay and the evaluation; the strategy's ``PolicySide`` says how.
All times are ns of ROS time, rows are ``dt`` apart. Delay is counted from the stamp of the
observation to the publication of its chunk: those are the rows that the arms really consume.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.observation import Observation
from adamoe_ros.control.rtc_math import hard_mask, soft_mask
from adamoe_ros.control.strategies import PolicySide

Vector = NDArray[np.float64]
InstructionChange = Literal["finish", "blend", "cut"]
_ALMOST = 1e-6  # rows; stamps are whole ns, so a boundary may be missed by rounding


@dataclass(frozen=True)
class SchedulerSettings:
    """What the scheduler is told.

    Attributes:
        horizon: H, rows of a chunk.
        dt_s: s between rows.
        execution_horizon: rows wanted between two observations; 0: half of H.
        margin_rows: rows kept in hand, because frames come at their own times.
        age_budget_s: an older observation's chunk is dropped; 0: as long as a row of it is left.
        max_prefix_rows: ``rtc_max_delay`` of the checkpoint, for trained prefixes.
    """

    horizon: int
    dt_s: float
    execution_horizon: int = 0
    margin_rows: int = 1
    age_budget_s: float = 0.0
    max_prefix_rows: int = 0


@dataclass(frozen=True)
class InferencePlan:
    """What one inference is given beside its observation.

    Attributes:
        observation_ns: stamp of the observation.
        previous_ns: stamp of the previous chunk's observation; None: there is none.
        delay_rows: d, rows that will be consumed before the chunk can be followed.
        shift_rows: rows from the beginning of the previous chunk to this observation, not whole;
            for ``rtc_math.leftover``. 0 without a previous chunk.
        executed_rows: s, ``shift_rows`` rounded up: the leftover's last s rows do not exist.
        weights: (H,) guidance weight per row; None: sample freely.
        prefix_rows: rows to be given as clean tokens (trained prefix); 0: none.
        publish_rows: leading rows to send.
    """

    observation_ns: int
    previous_ns: int | None
    delay_rows: int
    shift_rows: float
    executed_rows: int
    weights: Vector | None
    prefix_rows: int
    publish_rows: int

    @property
    def needs_leftover(self) -> bool:
        """Whether the previous chunk is wanted."""
        return self.weights is not None or self.prefix_rows > 0


def free_plan(observation_ns: int, rows: int) -> InferencePlan:
    """Of a chunk that goes on from nothing, all rows of which are wanted."""
    return InferencePlan(observation_ns, None, 0, 0.0, 0, None, 0, rows)


class InferenceRequest(NamedTuple):
    """An inference that is due."""

    observation: Observation
    plan: InferencePlan


class DelayWindow:
    """Recent delays.

    Args:
        size: delays that count (b of the RTC paper); an old slow one is forgotten after as many.
        warmup: first delays that do not count (compilation, caches).
        initial_s: assumed until one counts.
    """

    def __init__(self, size: int = 10, warmup: int = 1, initial_s: float = 0.0) -> None:
        self._recent: deque[float] = deque(maxlen=size)
        self._warmup = warmup
        self._initial_s = initial_s

    def add(self, delay_s: float) -> None:
        """A measured delay; ValueError below 0."""
        if delay_s < 0:
            raise ValueError(f"expected a delay >= 0 s, got {delay_s}")
        if self._warmup > 0:
            self._warmup -= 1
        else:
            self._recent.append(delay_s)

    @property
    def largest_s(self) -> float:
        """s, of the window."""
        return max(self._recent, default=self._initial_s)


class InferenceScheduler:
    """Decides when to infer, one inference at a time.

    Args:
        side: declaration of the strategy.
        settings: sizes and budgets.
        delays: measured so far; kept over ``reset``.

    Attributes:
        dropped: results that were thrown away (cut, or over the age budget).
        overlong: inferences slower than a trained prefix can cover.
    """

    def __init__(
        self, side: PolicySide, settings: SchedulerSettings, delays: DelayWindow | None = None
    ) -> None:
        self.settings = settings
        self.delays = delays or DelayWindow()
        self.dropped = 0
        self.overlong = 0
        self._side = side
        self._running: InferencePlan | None = None
        self.reset()

    def reset(self) -> None:
        """A new goal: there is no previous chunk. An inference in flight is thrown away."""
        self.forget()
        self._rest_ns = 0
        self._cut = self._running is not None
        self._hurry = False

    def forget(self) -> None:
        """The previous chunk is not followed (control refused it): the next one is made freely."""
        self._previous_ns: int | None = None
        self._begin_ns = self._end_ns = 0  # control time of the previous chunk's first, last row

    @property
    def delay_rows(self) -> int:
        """d: rows consumed during inference, rounded up, at most H."""
        rows = math.ceil(self.delays.largest_s / self.settings.dt_s - _ALMOST)
        return min(max(rows, 0), self.settings.horizon)

    @property
    def execution_rows(self) -> int:
        """s: rows between observations, d <= s <= H - d less the margin; as wanted in sync."""
        horizon, delay = self.settings.horizon, self.delay_rows
        if self._side.start == "at_end":
            return self._wanted_rows
        return max(1, delay, min(self._wanted_rows, horizon - delay - self.settings.margin_rows))

    @property
    def _wanted_rows(self) -> int:
        horizon = self.settings.horizon
        return min(self.settings.execution_horizon or max(1, horizon // 2), horizon)

    @property
    def starved(self) -> bool:
        """Inference takes so long that a chunk runs out before the next can be there (2 d > H)."""
        return 2 * self.delay_rows > self.settings.horizon

    @property
    def in_flight(self) -> bool:
        """Whether an inference has been started and not ended."""
        return self._running is not None

    def due(self, now_ns: int, observation_ns: int) -> bool:
        """Whether an inference on this observation should start now.

        Args:
            observation_ns: stamp of the newest consistent observation.
        """
        if self._running is not None:
            return False
        previous = self._previous_ns
        if previous is None:
            return True
        if observation_ns <= previous:
            return False
        if self._side.start == "at_end":
            return now_ns >= self._rest_ns and observation_ns >= self._rest_ns
        if self._side.start == "at_once" or self._hurry:
            return True
        return self._rows(observation_ns - self._begin_ns) >= self.execution_rows - _ALMOST

    def _rows(self, duration_ns: int) -> float:
        return duration_ns / (self.settings.dt_s * 1e9)

    def start(self, observation_ns: int) -> InferencePlan:
        """Begin an inference.

        Raises:
            ValueError: one is in flight already.
        """
        if self._running is not None:
            raise ValueError("one inference at a time")
        self._cut = False
        self._running = self._plan(observation_ns)
        self._hurry = False
        return self._running

    def _plan(self, observation_ns: int) -> InferencePlan:
        settings, delay, side = self.settings, self.delay_rows, self._side
        previous = self._previous_ns
        shift = 0.0 if previous is None else self._rows(observation_ns - self._begin_ns)
        executed = min(max(math.ceil(shift - _ALMOST), 0), settings.horizon)
        weights, prefix = None, 0
        if previous is not None and executed < settings.horizon:
            if side.guidance and self._hurry:
                weights = hard_mask(settings.horizon, delay)
            elif side.guidance:
                weights = soft_mask(settings.horizon, delay, executed)
            if side.trained_prefix:
                prefix = min(delay, settings.max_prefix_rows)
                self.overlong += delay > settings.max_prefix_rows
        publish = self.execution_rows if side.publish == "executed" else settings.horizon
        return InferencePlan(
            observation_ns, previous, delay, shift, executed, weights, prefix, publish
        )

    def finish(self, now_ns: int) -> bool:
        """The inference in flight is ready.

        Returns:
            Whether its chunk is to be published; False: it was cut, or is too old.

        Raises:
            ValueError: none is in flight.
        """
        plan, self._running = self._running, None
        if plan is None:
            raise ValueError("no inference in flight")
        age_s = max(0.0, (now_ns - plan.observation_ns) / 1e9)
        self.delays.add(age_s)
        if self._cut or age_s > self._budget_s():
            self.dropped += 1
            self._cut = False
            return False
        rested = self._previous_ns is None or self._end_ns <= plan.observation_ns
        self._begin_ns = now_ns if rested else plan.observation_ns  # as ``timeline`` has it
        rows_ns = round((plan.publish_rows - 1) * self.settings.dt_s * 1e9)
        self._previous_ns, self._end_ns = plan.observation_ns, self._begin_ns + rows_ns
        self._rest_ns = now_ns + rows_ns + round(self.settings.dt_s * 1e9)
        return True

    def _budget_s(self) -> float:
        if self.settings.age_budget_s > 0:
            return self.settings.age_budget_s
        if self._side.start == "at_end":
            return math.inf  # the arms wait, so every row is still to come
        return self.settings.horizon * self.settings.dt_s

    def abandon(self) -> None:
        """The inference in flight failed or is not wanted; its time does not count."""
        self._running = None
        self._cut = False

    def change_instruction(self, how: InstructionChange) -> None:
        """The sentence changed while arms move.

        finish: nothing is hurried; the next inference, at its usual time, has the new sentence.
        blend: it starts at once (not ``at_end``: then as finish); what is in flight is still used,
            and guidance keeps only the rows that will surely be executed.
        cut: what is in flight is thrown away and nothing of the old chunk is kept. The node also
            sends RUN with the next generation, upon which the arms brake and wait.
        """
        if how == "blend":
            self._hurry = self._side.start != "at_end"
        elif how == "cut":
            self.reset()
