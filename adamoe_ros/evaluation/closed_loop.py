# SPDX-License-Identifier: Apache-2.0
"""The product's own control core and inference schedule around robots, in simulated time.

No threads and no clock: a tick is a control period, and a chunk arrives a given delay after its
observation. So every figure of it is that of ``control/``, and a run is a function of its seed.
Episodes run alone, or many in step so that they are inferred together. Times are ns of simulated time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import ActionChunk, Inference
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.parameters import same_as
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.core import ControlCore
from adamoe_ros.control.metrics import SeamSummary
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.control.scheduling import (
    DelayWindow,
    InferencePlan,
    InferenceRequest,
    InferenceScheduler,
    InstructionChange,
    SchedulerSettings,
)
from adamoe_ros.control.settings import ControlSettings
from adamoe_ros.control.status import TickResult
from adamoe_ros.control.strategies import STRATEGIES
from adamoe_ros.data.recording import Change

Vector = NDArray[np.float64]
START_NS = 1_000_000_000  # of simulated time; 0 would be taken for no stamp


class Robot(Protocol):
    """A simulated robot; vectors in the profile's order and the driver's units."""

    def measured(self) -> Vector:
        """(J,) joint state, now."""

    def look(self) -> Any:
        """What is needed to take the pictures of this moment later."""

    def pictures(self, moment: Any) -> Mapping[str, NDArray[np.uint8]]:
        """Camera slot -> (H, W, 3) RGB of a moment."""

    def follow(self, command: Vector) -> None:
        """Hold (J,) targets for one control period."""


class ChunkSource(Protocol):
    """What makes chunks.

    Attributes:
        horizon: rows. dt_s: s between them.
        max_prefix_rows: clean rows it was trained with; 0: none.
    """

    horizon: int
    dt_s: float
    max_prefix_rows: int

    def restart(self) -> None:
        """Nothing of the chunks before counts."""

    def infer(self, observation: Observation, plan: InferencePlan) -> Inference:
        """One chunk."""


@dataclass(frozen=True)
class LoopSettings:
    """How chunks are made and followed.

    Attributes:
        strategy: name in ``control.strategies``.
        delay_s: s from an observation to the arrival of its chunk.
        execution_horizon: rows between two observations; 0: half of a chunk.
        camera_rate_hz: of the observations.
        age_budget_s: see ``SchedulerSettings``.
        smoothing_s: see ``ControlSettings``.
    """

    strategy: str = same_as(PolicySettings, "strategy")
    delay_s: float = 0.0
    execution_horizon: int = same_as(PolicySettings, "execution_horizon")
    camera_rate_hz: float = 25.0
    age_budget_s: float = same_as(PolicySettings, "age_budget")
    smoothing_s: float = same_as(ControlSettings, "smoothing")


@dataclass(frozen=True)
class _Flight:
    """An inference that is done and whose chunk is on its way."""

    ready_ns: int
    plan: InferencePlan
    inference: Inference
    instruction: str


class ClosedLoop:
    """One episode, tick by tick.

    Args:
        profile: of the robot; its cameras deliver in step.
        robot: stands where the episode begins.
        source: of the chunks.
        instruction: sentence.
        settings: strategy and delay.
        to_model: driver's state -> the checkpoint's.
        change: another sentence later; None: it stays.

    Attributes:
        core: what the arms are under.
        scheduler: what decides when to infer.
        inferences: chunks that were made; some may have been dropped.
        now_ns: of the last tick.
    """

    def __init__(
        self,
        profile: RobotProfile,
        robot: Robot,
        source: ChunkSource,
        instruction: str,
        settings: LoopSettings,
        to_model: Callable[[Vector], Vector] = np.copy,
        change: Change | None = None,
    ) -> None:
        chosen = ControlSettings(strategy=settings.strategy, smoothing=settings.smoothing_s)
        self.core = ControlCore(profile, chosen)
        self.scheduler = InferenceScheduler(
            STRATEGIES[settings.strategy].policy_side,
            SchedulerSettings(
                horizon=source.horizon,
                dt_s=source.dt_s,
                execution_horizon=settings.execution_horizon,
                age_budget_s=settings.age_budget_s,
                max_prefix_rows=source.max_prefix_rows,
            ),
            DelayWindow(initial_s=settings.delay_s),  # known from the warm-up
        )
        self.instruction = instruction
        self.inferences = 0
        self.now_ns = START_NS
        self._robot, self._source, self._settings = robot, source, settings
        self._to_model, self._change = to_model, change
        self._delay_ns = round(settings.delay_s * 1e9)
        self._period_ns = round(self.core.period_s * 1e9)
        self._frame_ns = round(1e9 / settings.camera_rate_hz)
        self._next_frame_ns = START_NS + self._period_ns
        self._moment: tuple[int, Any, Vector] | None = None
        self._asked: InferenceRequest | None = None
        self._flight: _Flight | None = None
        self._generation, self._chunk_id = 1, 0
        source.restart()
        self.core.activate(START_NS, robot.measured())
        self.core.on_run(self._generation)

    def instruct(self, instruction: str, how: InstructionChange) -> None:
        """Another sentence from now on, as policy_node takes it."""
        self.instruction = instruction
        if how == "cut":  # a new generation: control brakes and waits for its first chunk
            self._generation, self._chunk_id = self._generation + 1, 0
            self.core.on_run(self._generation)
            self.scheduler.reset()
            self._source.restart()
        else:
            self.scheduler.change_instruction(how)

    def step(self) -> TickResult:
        """One control period: inputs, inference where it is due, the tick, the robot."""
        request = self.begin_step()
        if request is not None:
            self.answer(self._source.infer(request.observation, request.plan))
        return self.end_step()

    def begin_step(self) -> InferenceRequest | None:
        """The first half of a step: inputs, and what is to be inferred now, if anything."""
        self.now_ns += self._period_ns
        self._change_when_due()
        measured = self._robot.measured()
        self.core.on_heartbeat(self.now_ns)
        self.core.on_state(self.now_ns, measured)
        if self.now_ns >= self._next_frame_ns:
            self._moment = (self.now_ns, self._robot.look(), measured)
            self._next_frame_ns += self._frame_ns
        self._arrive()
        if self._moment is None or self._flight is not None:
            return None
        stamp, moment, measured = self._moment
        if not self.scheduler.due(self.now_ns, stamp):
            return None
        pictures = self._robot.pictures(moment)
        observation = Observation(stamp, pictures, self._to_model(measured), self.instruction)
        self._asked = InferenceRequest(observation, self.scheduler.start(stamp))
        return self._asked

    def answer(self, inference: Inference) -> None:
        """What ``begin_step`` asked for; it arrives after the delay."""
        request = self._asked
        if request is None:
            raise ValueError("nothing was asked")
        self._asked = None
        self.inferences += 1
        # it begins now, with a picture that may be a tick old
        ready = self.now_ns + self._delay_ns
        self._flight = _Flight(ready, request.plan, inference, request.observation.instruction)

    def end_step(self) -> TickResult:
        """The second half: what has arrived, the tick, the robot."""
        self._arrive()
        result = self.core.tick(self.now_ns)
        assert result.command is not None
        self._robot.follow(result.command)
        return result

    def _change_when_due(self) -> None:
        change = self._change
        if change is not None and self.now_ns >= START_NS + round(change.after_s * 1e9):
            self._change = None
            self.instruct(change.instruction, change.how)

    def _arrive(self) -> None:
        flight = self._flight
        if flight is None or self.now_ns < flight.ready_ns:
            return
        self._flight = None
        if not self.scheduler.finish(self.now_ns):
            return
        self._chunk_id += 1
        chunk = ActionChunk(
            stamp_ns=flight.plan.observation_ns,
            chunk_id=self._chunk_id,
            generation=self._generation,
            joint_names=self.core.joint_ids,
            dt_s=self._source.dt_s,
            positions=flight.inference.positions[: flight.plan.publish_rows],
            committed_rows=flight.inference.committed_rows,
            instruction=flight.instruction,
        )
        verdict = self.core.on_chunk(chunk, self.now_ns)
        if not (verdict.accepted or verdict.late):
            self.scheduler.forget()


InferTogether = Callable[[Sequence[int], Sequence[InferenceRequest]], Sequence[Inference]]
"""(numbers of the loops that ask, what they ask) -> a chunk for each."""


@dataclass(frozen=True)
class LoopOutcome:
    """What an episode came to.

    Attributes:
        success: the judgement held for the settling time.
        seconds: s of simulated time until that began; the limit without success.
        inferences: chunks made. dropped: of these, thrown away for their age.
        late, rejected: chunks that control did not take up.
        clips: gate interventions, joints times ticks, by cause.
        seams: of the whole episode.
    """

    success: bool
    seconds: float
    inferences: int
    dropped: int
    late: int
    rejected: int
    clips: dict[str, int]
    seams: SeamSummary


class _Episode:
    """One loop and how long its success has held."""

    def __init__(self, loop: ClosedLoop, judge: Callable[[], bool], max_s: float, settle_s: float):
        period = loop.core.period_s
        self.loop, self._judge = loop, judge
        self._ticks, self._needed = round(max_s / period), max(1, round(settle_s / period))
        self._tick = self._held = 0

    @property
    def over(self) -> bool:
        return self._tick >= self._ticks or self._held >= self._needed

    def end_step(self) -> None:
        self.loop.end_step()
        self._tick += 1
        self._held = self._held + 1 if self._judge() else 0

    def outcome(self) -> LoopOutcome:
        loop = self.loop
        success = self._held >= self._needed
        status = loop.core.status(loop.now_ns)
        causes = ("position", "velocity", "acceleration", "step")
        return LoopOutcome(
            success=success,
            seconds=round((self._tick - self._held * success) * loop.core.period_s, 6),
            inferences=loop.inferences,
            dropped=loop.scheduler.dropped,
            late=status.late_chunks,
            rejected=status.rejected_chunks,
            clips={cause: int(getattr(loop.core.gate.clips, cause).sum()) for cause in causes},
            seams=loop.core.metrics.summary(),
        )


def run_together(
    loops: Sequence[ClosedLoop],
    judges: Sequence[Callable[[], bool]],
    infer: InferTogether,
    max_s: float,
    settle_s: float = 0.5,
) -> list[LoopOutcome]:
    """Run each until its success has settled or time is up.

    Args:
        judges: the simulators' judgements, now.
        infer: called once per tick in which any loop asks.
        settle_s: s that success must hold without a break.
    """
    episodes = [
        _Episode(loop, judge, max_s, settle_s) for loop, judge in zip(loops, judges, strict=True)
    ]
    while True:
        running = [number for number, episode in enumerate(episodes) if not episode.over]
        if not running:
            return [episode.outcome() for episode in episodes]
        asked: dict[int, InferenceRequest] = {}
        for number in running:
            request = loops[number].begin_step()
            if request is not None:
                asked[number] = request
        if asked:
            made = infer(list(asked), list(asked.values()))
            for number, own in zip(asked, made, strict=True):
                loops[number].answer(own)
        for number in running:
            episodes[number].end_step()
