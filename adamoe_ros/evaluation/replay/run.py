# SPDX-License-Identifier: Apache-2.0
"""One bag through one or several policies, in one pass and with bounded memory.

Deterministic: which observations are used, their noise, and when chunks take effect follow from
stamps and settings alone; wall time only enters the latency figures.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.joint_map import state_to_command
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.scheduling import InferencePlan
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.episode_info import read_info
from adamoe_ros.data.observations import (
    LAG_NS,
    BagObservation,
    BagStream,
    Event,
    StreamOptions,
    gap_ns,
)
from adamoe_ros.evaluation.replay.bag_pictures import decoded_ahead
from adamoe_ros.evaluation.replay.chunk_limits import ChunkLimits
from adamoe_ros.evaluation.replay.executed import Execution
from adamoe_ros.evaluation.replay.replay_errors import OpenLoopErrors, grippers_of
from adamoe_ros.evaluation.replay.schedule import Actor, ReplaySchedule
from adamoe_ros.evaluation.replay.trajectories import ShownChunks
from adamoe_ros.streams.memory import keep_freed_pictures

Vector = NDArray[np.float64]
Truth = Literal["command", "next_state"]
_SLACK_NS = 500_000_000  # until what was commanded at a time is taken as known
_TOLD_JUMPS = 20
_KEPT_EXPERTS = 2000  # inferences whose routing is kept for the report
_KEPT_LATENCIES = 100_000
_THREADS = 4  # that decode pictures


@dataclass(frozen=True)
class ReplaySettings:
    """How bags are replayed.

    Attributes:
        stride_s: s between inferences, see ``ReplaySchedule``; 0: at every observation.
        truth: what chunks are compared with; ``auto``: commands where the bag has them.
        latency_s: from an observation to its chunk.
        stream: how bags are read.
        decode_all: decode every picture, also of observations that nobody uses.
    """

    stride_s: float = 0.5
    truth: Literal["auto", "command", "next_state"] = "auto"
    latency_s: float = 0.1
    stream: StreamOptions = field(default_factory=StreamOptions)
    decode_all: bool = False


@dataclass
class PolicyRecord:
    """What one policy did on one bag.

    Attributes:
        errors: against the recording.
        corrected: of these, against what a human led the arms to.
        limits: rows beyond the robot's limits.
        execution: by control.
        times: s since the first observation, of each inference.
        latencies: stage -> s of each inference.
        experts: (s, per mixture layer) of inferences.
        shown: some chunks beside the recording.
    """

    name: str
    errors: OpenLoopErrors
    corrected: OpenLoopErrors
    limits: ChunkLimits
    execution: Execution
    times: list[float] = field(default_factory=list)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    experts: list[tuple[float, Sequence[Any]]] = field(default_factory=list)
    shown: ShownChunks = field(default_factory=ShownChunks)


@dataclass
class BagRecord:
    """What one bag gave.

    Attributes:
        start_ns, end_ns: stamps of the first and last observation.
        wall_s: that the pass took.
        streams: health of every input.
    """

    path: Path
    policies: list[PolicyRecord]
    truth: Truth = "command"
    observations: int = 0
    start_ns: int = 0
    end_ns: int = 0
    wall_s: float = 0.0
    state: str = "whole"
    instruction: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    streams: list[dict[str, Any]] = field(default_factory=list)
    success: bool | None = None

    @property
    def duration_s(self) -> float:
        """s of recording that observations cover."""
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True)
class Chunk:
    """A chunk whose time has not passed."""

    policy: int
    stamp_ns: int
    state: Vector
    inference: Inference


@dataclass(frozen=True)
class Listeners:
    """Who else wants to know.

    Attributes:
        progress: s of recording that are done.
        observed: each observation that was inferred on, with its pictures.
        predicted: each chunk: policy number, observation, inference.
        commanded: policy number, time ns, command of each control tick; None: not wanted.
    """

    progress: Callable[[float], None] = lambda seconds: None
    observed: Callable[[Observation], None] = lambda observation: None
    predicted: Callable[[int, Observation, Inference], None] = lambda *_: None
    commanded: Callable[[int, int, Vector], None] | None = None


class BagReplay:
    """One pass over one bag.

    Args:
        bag: open.
        profile: of the robot.
        policies: by name; none: only the inputs are looked at. All take the same cameras' order
            from the first one's.
        settings: how.
        listeners: who else wants to know.

    Raises:
        ContractError: topics are missing.
    """

    def __init__(
        self,
        bag: Bag,
        profile: RobotProfile,
        policies: Mapping[str, Actor],
        settings: ReplaySettings,
        listeners: Listeners | None = None,
    ) -> None:
        self._bag, self._profile, self._settings = bag, profile, settings
        self._names, self._actors = list(policies), list(policies.values())
        self._sessions = [actor.session() for actor in self._actors]
        looking: Sequence[Actor | None] = self._actors or [None]
        self._schedules = [
            ReplaySchedule(actor, settings.stride_s, settings.latency_s) for actor in looking
        ]
        self._listeners = listeners or Listeners()
        self.info = read_info(bag.path, bag.files.custom, bag.note)
        self.stream = BagStream(bag, profile, None, self._options())
        self.record = BagRecord(bag.path, [self._new_record(i) for i in range(len(policies))])
        self.record.truth = self._choose_truth()
        self._truth = self.stream.timeline("command" if self.record.truth == "command" else "state")
        self._pose = self.stream.timeline("state")
        self._leader = self.stream.timeline("leader")
        self._pending: deque[Chunk] = deque()
        # read, not yet inferred on: observation, plan of each policy that infers
        self._due: deque[tuple[BagObservation, dict[int, InferencePlan]]] = deque()
        self._read_ns = 0
        self._now_ns = 0
        self._jumps = 0
        self._until_ns: int | None = None  # nothing later is compared
        self._gap_ns = gap_ns(profile)
        self._to_command = state_to_command(profile)

    def _options(self) -> StreamOptions:
        options = self._settings.stream
        changes: dict[str, Any] = {}
        if self._actors:
            wanted = [slot for actor in self._actors for slot in actor.camera_slots]
            changes["slots"] = tuple(dict.fromkeys(wanted))
        if not options.instruction and self.info is not None and self.info.instruction:
            changes["instruction"] = self.info.instruction
        return StreamOptions(**{**vars(options), **changes})

    def _new_record(self, number: int) -> PolicyRecord:
        actor, listener = self._actors[number], self._listeners.commanded
        keep = None if listener is None else (lambda now, command: listener(number, now, command))
        width = len(self._profile.joint_ids)
        grippers = grippers_of(self._profile)
        return PolicyRecord(
            self._names[number],
            OpenLoopErrors(actor.horizon, width, grippers),
            OpenLoopErrors(actor.horizon, width, grippers),
            ChunkLimits(self._profile),
            Execution(self._profile, actor.strategy, self._settings.latency_s, keep),
        )

    def _choose_truth(self) -> Truth:
        if self._settings.truth != "auto":
            return self._settings.truth
        return "command" if self.stream.has_commands else "next_state"

    def run(self) -> BagRecord:
        """The whole bag."""
        begun = time.perf_counter()
        keep_freed_pictures()
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            for event, loading in decoded_ahead(self.stream.events(), self._is_wanted, pool):
                self._take(event, loading)
                self._settle(event.now_ns)
                self._now_ns = event.now_ns
        self._settle(None)
        for record in self.record.policies:
            record.execution.advance(self._now_ns)
        self._finish(time.perf_counter() - begun)
        return self.record

    # --- events ---------------------------------------------------------------------------------

    def _is_wanted(self, seen: BagObservation) -> bool:
        """Whether the pictures are looked at: where a policy infers, or has to be asked anew."""
        back, self._read_ns = seen.stamp_ns < self._read_ns, seen.stamp_ns
        plans = {}
        for number, schedule in enumerate(self._schedules):
            if back:
                schedule.restart()
            plan = schedule.plan(seen.stamp_ns)
            if plan is not None:
                plans[number] = plan
        if plans:
            self._due.append((seen, plans))
        return bool(plans) or self._settings.decode_all

    def _take(self, event: Event, loading: Future[Observation] | None) -> None:
        if event.kind == "observation":
            self._observe(event.value, loading)
        elif event.kind == "instruction":
            self.record.instruction = self.record.instruction or event.value
        elif event.kind == "leader":
            self._leader.add(event.stamp_ns, event.value)
        else:
            self._joints(event)

    def _joints(self, event: Event) -> None:
        wanted = "command" if self.record.truth == "command" else "state"
        if event.kind == wanted:
            self._truth.add(event.stamp_ns, event.value)
        if event.kind == "state":
            self._pose.add(event.stamp_ns, event.value)
            pose = self._pose.held(event.stamp_ns) if self._actors else None
            if pose is not None:
                for record in self.record.policies:
                    record.execution.state(event.now_ns - LAG_NS, pose)
            self._pose.forget(event.stamp_ns - _SLACK_NS)

    def _observe(self, seen: BagObservation, loading: Future[Observation] | None) -> None:
        record = self.record
        step_ns = seen.stamp_ns - record.end_ns
        if record.observations and (step_ns < 0 or step_ns > self._gap_ns):
            self._restart(seen.stamp_ns)
        if record.observations == 0:
            record.start_ns = seen.stamp_ns
        record.observations += 1
        record.end_ns = seen.stamp_ns
        self._listeners.progress((seen.stamp_ns - record.start_ns) / 1e9)
        due = bool(self._due) and self._due[0][0] is seen
        plans = self._due.popleft()[1] if due else {}
        observation = loading.result() if loading is not None else None
        if plans and observation is not None and self._actors:
            self._infer(observation, plans)

    def _restart(self, stamp_ns: int) -> None:
        """A jump of the clock, or a pause: nothing before is compared with what comes."""
        step_s = (stamp_ns - self.record.end_ns) / 1e9
        what = (
            f"nothing fits together for {step_s:.2f} s"
            if step_s > 0
            else f"the clock went back by {-step_s:.2f} s"
        )
        self._jumps += 1
        if self._jumps <= _TOLD_JUMPS:
            line = f"{self.record.path.name}: {what}; chunks before are compared up to there"
            self.record.notes.append(line)
        self._until_ns = self.record.end_ns
        self._settle(None)
        self._until_ns = None
        if step_s < 0:
            self._truth.clear()
            self._pose.clear()
            self._leader.clear()
            for session in self._sessions:
                session.restart()
        self.record.start_ns += stamp_ns - self.record.end_ns

    def _infer(self, raw: Observation, plans: Mapping[int, InferencePlan]) -> None:
        self._listeners.observed(raw)
        for number, plan in plans.items():
            actor, record = self._actors[number], self.record.policies[number]
            observation = self._for_policy(actor, raw)
            made = self._sessions[number].infer(observation, plan)
            seconds = (raw.stamp_ns - self.record.start_ns) / 1e9
            record.times.append(seconds)
            for stage, value in made.stages.items():
                values = record.latencies.setdefault(stage, [])
                if len(values) < _KEPT_LATENCIES:
                    values.append(value)
            if made.experts and len(record.experts) < _KEPT_EXPERTS:
                record.experts.append((seconds, made.experts))
            self._pending.append(Chunk(number, raw.stamp_ns, observation.state, made))
            measured = actor.joint_map.command_from_model(observation.state)
            record.limits.add(made.positions, measured, actor.dt_s)
            sent = made.positions[: plan.publish_rows]
            record.execution.chunk(raw.stamp_ns, self._profile.joint_ids, actor.dt_s, sent)
            self._listeners.predicted(number, observation, made)

    def _for_policy(self, actor: Actor, raw: Observation) -> Observation:
        """In a policy's units and with its cameras."""
        joints = actor.joint_map
        commands = self._profile.state_source == "last_command"
        convert = joints.model_from_command if commands else joints.model_from_state
        images = {slot: raw.images[slot] for slot in actor.camera_slots if slot in raw.images}
        return Observation(
            raw.stamp_ns,
            images,
            convert(raw.state),
            raw.instruction or (self.info.sentence if self.info else ""),
            {slot: raw.image_stamps_ns[slot] for slot in images},
            raw.state_stamp_ns,
        )

    # --- truth ----------------------------------------------------------------------------------

    def _settle(self, now_ns: int | None) -> None:
        """Compare the chunks whose whole time has passed."""
        while self._pending:
            chunk = self._pending[0]
            actor = self._actors[chunk.policy]
            end = chunk.stamp_ns + round((actor.horizon + 1) * actor.dt_s * 1e9)
            if now_ns is not None and now_ns < end + _SLACK_NS:
                break
            self._pending.popleft()
            self._compare(chunk, actor)
        keep = self._pending[0].stamp_ns if self._pending else now_ns
        if keep is not None:
            self._truth.forget(keep - _SLACK_NS)
            self._leader.forget(keep - _SLACK_NS)

    def _compare(self, chunk: Chunk, actor: Actor) -> None:
        truth = np.full((actor.horizon, len(self._profile.joint_ids)), np.nan)
        newest = self._truth.newest_ns
        for row in range(actor.horizon):
            found = self._true_row(chunk.stamp_ns, row, actor.dt_s, newest)
            if found is not None:
                truth[row] = found
        wanted = actor.normalized_rows(truth, chunk.state)
        predicted = chunk.inference
        record = self.record.policies[chunk.policy]
        record.errors.add(predicted.positions, truth, predicted.normalized - wanted)
        times = [chunk.stamp_ns + round(row * actor.dt_s * 1e9) for row in range(actor.horizon)]
        led = np.array([self._is_led(when) for when in times])
        if (led & np.isfinite(truth).any(axis=1)).any():
            human = np.where(led[:, None], truth, np.nan)
            record.corrected.add(predicted.positions, human, predicted.normalized - wanted)
        seconds = (chunk.stamp_ns - self.record.start_ns) / 1e9
        record.shown.add(seconds, actor.dt_s, predicted.positions, truth)

    def _true_row(self, stamp_ns: int, row: int, dt_s: float, newest: int | None) -> Vector | None:
        until = self._until_ns
        if self.record.truth == "command":
            when = stamp_ns + round(row * dt_s * 1e9)
            late = newest is None or when > newest or (until is not None and when > until)
            return None if late else self._truth.held(when)
        if until is not None and stamp_ns + round((row + 1) * dt_s * 1e9) > until:
            return None
        state = self._truth.interpolated(stamp_ns + round((row + 1) * dt_s * 1e9))
        return None if state is None else self._to_command.apply(state)

    def _is_led(self, time_ns: int) -> bool:
        """Whether a human led the arms at a time."""
        leads = self._leader.held(time_ns)
        return leads is not None and bool(leads[0])

    def _finish(self, wall_s: float) -> None:
        record, stream = self.record, self.stream
        record.wall_s = wall_s
        record.problems = list(self._bag.problems)
        record.notes += stream.notes
        if stream.refused:
            line = f"{stream.refused} messages have stamps of another clock: see --clock"
            record.notes.append(line)
        if not record.observations:
            record.notes.append("no complete observation: cameras and joints never fit together")
        counted = stream.broken or stream.refused or self._jumps
        damaged = self._bag.state == "partial" or counted or stream.contradictory
        record.state = "partial" if damaged or not record.observations else "whole"
        record.streams = [account.summary() for account in stream.accounts.values()]
        if self.info is not None:
            record.success = self.info.success
            record.instruction = record.instruction or self.info.sentence
        record.instruction = record.instruction or self._settings.stream.instruction
