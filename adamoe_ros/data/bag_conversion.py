# SPDX-License-Identifier: Apache-2.0
"""One bag -> staged episodes: observations at an even rate, with what the arms were told.

Frames are taken on a grid of 1 / fps from the first complete moment on; each takes the observation
whose stamp is nearest, whole: its joint state is of its pictures' time, as the policy sees it. The
action of a frame is the command in force at the frame's time, or the state one frame later. Where
nothing comes for long, or the clock goes back, the episode ends, and another one begins behind it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.files import replace_text
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.episode_info import read_info
from adamoe_ros.data.lerobot.dataset_schema import DatasetCamera, DatasetSchema
from adamoe_ros.data.lerobot.episode_writer import FACTS, EpisodeWriter, FrameRow
from adamoe_ros.data.observations import (
    GAP_S,
    BagObservation,
    BagStream,
    StreamOptions,
    gap_ns,
    need_instruction,
)
from adamoe_ros.data.units import Units

ActionSource = Literal["command", "next_state"]
_SETTLE_NS = 500_000_000  # after a frame's time until its action is taken as known
_HOLD_PERIODS = 3  # frames that one observation may stand for before it is told
_BACK_NS = 500_000_000  # that a command or state is before the newest: the clock went back
_KEPT_NS = 5_000_000_000  # of commands and states while there are no observations
_TOLD_BREAKS = 20


@dataclass(frozen=True)
class ConvertSettings:
    """How bags become episodes.

    Attributes:
        fps: of the dataset, Hz.
        action: what the action column is.
        stream: how bags are read.
        precision: of state and action.
        lossless: PNG instead of H.264.
        crf: quality of H.264: less is better.
        gap_s: s without an observation that end an episode; never less than 3 frames of the dataset
            or of its slowest camera.
    """

    fps: float
    action: ActionSource = "command"
    stream: StreamOptions = field(default_factory=StreamOptions)
    precision: Literal["float32", "float64"] = "float32"
    lossless: bool = False
    crf: int = 23
    gap_s: float = GAP_S

    def as_dict(self) -> dict[str, Any]:
        """For files; also part of what decides whether a staged episode is still good."""
        return asdict(self)


def schema_for(profile: RobotProfile, units: Units, settings: ConvertSettings) -> DatasetSchema:
    """Columns of the dataset.

    Raises:
        ContractError: H.264 needs even picture sizes.
    """
    slots = settings.stream.slots or tuple(profile.cameras)
    present = [(slot, profile.cameras[slot]) for slot in slots if slot in profile.present_cameras]
    cameras = tuple(DatasetCamera(slot, item.height, item.width) for slot, item in present)
    odd = [item.slot for item in cameras if item.height % 2 or item.width % 2]
    if odd and not settings.lossless:
        raise ContractError(
            problem(", ".join(odd), "even picture sizes for video", "odd ones", "use --images png")
        )
    return DatasetSchema(units.names, cameras, settings.fps, settings.precision, settings.lossless)


@dataclass
class _Pending:
    """A frame that waits for its action."""

    time_ns: int
    observation: BagObservation


class FrameGrid:
    """Picks observations for an even grid of times.

    Args:
        period_ns: of the grid.

    Attributes:
        repeated: frames whose observation an earlier frame has already.
        passed: observations that no frame took.
        longest_hold: frames in a row with one observation.
    """

    def __init__(self, period_ns: float) -> None:
        self._period = self._spacing = period_ns
        self._start: int | None = None
        self._count = 0
        self._before: BagObservation | None = None
        self._last_taken = -1
        self._run = 0
        self.repeated = self.passed = self.longest_hold = 0

    def add(self, observation: BagObservation) -> Iterator[tuple[int, BagObservation]]:
        """Take the next observation; (time, observation) of the frames that are settled by it."""
        if self._start is None:
            self._start = observation.stamp_ns
        before = self._before
        while before is not None and self._time() <= observation.stamp_ns:
            nearer_new = observation.stamp_ns - self._time() < self._time() - before.stamp_ns
            yield self._take(observation if nearer_new else before)
        if before is not None:
            self.passed += self._last_taken < before.stamp_ns
            self._spacing = observation.stamp_ns - before.stamp_ns
        self._before = observation

    def finish(self) -> Iterator[tuple[int, BagObservation]]:
        """The last frame, where the last observation is the nearest; the grid is ready for another."""
        before = self._before
        near = min(self._period, self._spacing) / 2
        if before is not None and self._time() - before.stamp_ns <= near:
            yield self._take(before)
        self._spacing, self._start, self._count = self._period, None, 0
        self._before, self._last_taken, self._run = None, -1, 0

    def _time(self) -> int:
        assert self._start is not None
        return self._start + round(self._count * self._period)

    def _take(self, observation: BagObservation) -> tuple[int, BagObservation]:
        again = observation.stamp_ns == self._last_taken
        self.repeated += again
        self._run = self._run + 1 if again else 1
        self.longest_hold = max(self.longest_hold, self._run)
        self._last_taken = observation.stamp_ns
        time_ns = self._time()
        self._count += 1
        return time_ns, observation


class EpisodeFrames:
    """The frames of one bag, one pass.

    Args:
        stream: over the bag; its state conversion is that of ``units``.
        units: of the dataset.
        settings: how.
        gap_ns: without an observation that end an episode.
        first: sentence before the bag says one.

    Attributes:
        grid: its counts.
        led: frames in which a human led the arms.
        without_action: frames left out because nothing was commanded yet, or no state follows.
        breaks: why each episode but the last one ended.
        gap_ns: as given.
        rest_s: s of the bag behind the last observation.
    """

    def __init__(
        self,
        stream: BagStream,
        units: Units,
        settings: ConvertSettings,
        gap_ns: float,
        first: str = "",
    ) -> None:
        self._stream, self._units, self._settings, self._first = stream, units, settings, first
        self._period, self.gap_ns = 1e9 / settings.fps, gap_ns
        self.grid = FrameGrid(self._period)
        self.without_action = self.led = 0
        self.breaks: list[str] = []
        self.rest_s = 0.0
        self._begin_ns: int | None = None  # stamps of the bag's first and newest observation
        self._newest_ns = 0
        self._newest_action_ns: dict[tuple[int, ...], int] = {}  # by the joints of a message
        self._wanted: Literal["command", "state"] = (
            "command" if settings.action == "command" else "state"
        )
        self._timeline, self._leader = stream.timeline(self._wanted), stream.timeline("leader")
        self._pending: deque[_Pending] = deque()
        self._where = stream.path

    def rows(self) -> Iterator[tuple[int, FrameRow]]:
        """Number of the episode, and every frame in order.

        Raises:
            ContractError: a frame has no instruction.
        """
        now_ns = observed_ns = 0
        for event in self._stream.events():
            now_ns = event.now_ns
            if event.kind == "observation":
                observed_ns = now_ns
            if event.kind == self._wanted:
                joints = event.value.columns
                if event.stamp_ns < self._newest_action_ns.get(joints, 0) - _BACK_NS:
                    yield from self._ended()
                    self._timeline.clear()
                    self._leader.clear()
                    self._newest_action_ns.clear()  # the other arm's next one is no jump of its own
                self._newest_action_ns[joints] = event.stamp_ns
                self._timeline.add(event.stamp_ns, event.value)
            elif event.kind == "leader":
                self._leader.add(event.stamp_ns, event.value)
            elif event.kind == "observation":
                yield from self._broken(event.stamp_ns)
                self._pending += (_Pending(*item) for item in self.grid.add(event.value))
            yield from self._settled(event.now_ns)
            if not self._pending:
                self._forget(event.now_ns - _KEPT_NS)
        self.rest_s = (now_ns - observed_ns) / 1e9 if observed_ns else 0.0
        yield from self._ended()

    def _broken(self, stamp_ns: int) -> Iterator[tuple[int, FrameRow]]:
        """End the episode where the next observation is too far from the last one."""
        if self._begin_ns is None:
            self._begin_ns = self._newest_ns = stamp_ns
        step_s = (stamp_ns - self._newest_ns) / 1e9
        if step_s < 0 or step_s * 1e9 > self.gap_ns:
            yield from self._ended()
            after = f"{(self._newest_ns - self._begin_ns) / 1e9:.2f} s after the first frame"
            what = (
                f"nothing fits together for {step_s:.2f} s"
                if step_s > 0
                else f"the clock went back by {-step_s:.2f} s"
            )
            self.breaks.append(f"{self._where.name}: {what}, {after}: the episode ends there")
        self._newest_ns = stamp_ns

    def _ended(self) -> Iterator[tuple[int, FrameRow]]:
        self._pending += (_Pending(*item) for item in self.grid.finish())
        yield from self._settled(None)

    def _settled(self, now_ns: int | None) -> Iterator[tuple[int, FrameRow]]:
        while self._pending and (now_ns is None or now_ns - self._pending[0].time_ns > _SETTLE_NS):
            pending = self._pending.popleft()
            action = self._action(pending.time_ns)
            if action is None:
                self.without_action += 1
            else:
                yield len(self.breaks), self._row(pending, action)
            self._forget(pending.time_ns)

    def _forget(self, before_ns: int) -> None:
        self._timeline.forget(before_ns)
        self._leader.forget(before_ns)

    def _action(self, time_ns: int) -> Any:
        if self._settings.action == "command":
            held = self._timeline.held(time_ns)
            return None if held is None else self._units.command.apply(held)
        state = self._timeline.interpolated(time_ns + round(self._period))
        return None if state is None else self._units.state.apply(state)

    def _row(self, pending: _Pending, action: Any) -> FrameRow:
        observation, leads = pending.observation, self._leader.held(pending.time_ns)
        led = leads is not None and bool(leads[0])
        self.led += led
        stamps = [observation.stamp_ns, observation.state_stamp_ns]
        stamps += [observation.image_stamps_ns[slot] for slot in observation.frames]
        return FrameRow(
            state=observation.state,
            action=action,
            stamps_ns=np.array(stamps, np.int64),
            task=need_instruction(observation.instruction or self._first, self._where),
            frames=observation.frames,
            intervention=led,
        )


class _Episodes:
    """Staging folders of the episodes of one bag; those of less than two frames are left out.

    Attributes:
        folders: of the episodes.
        lengths: their frames.
        short: frames of episodes that were too short.
        lost: lines about pictures that could not be decoded.
    """

    def __init__(self, folder: Path, schema: DatasetSchema, crf: int) -> None:
        self._folder, self._schema, self._crf = folder, schema, crf
        self.folders: list[Path] = []
        self.lengths: list[int] = []
        self.lost: list[str] = []
        self.short = 0
        self._number = -1
        self._first: FrameRow | None = None
        self._writer: EpisodeWriter | None = None

    def add(self, number: int, row: FrameRow) -> None:
        """Append a frame to an episode; ``number`` grows from episode to episode."""
        if number != self._number:
            self.end()
            self._number, self._first = number, row
            return
        if self._writer is None:
            assert self._first is not None
            self.folders.append(episode_folder(self._folder, len(self.folders)))
            self._writer = EpisodeWriter(self.folders[-1], self._schema, self._crf)
            self._writer.add(self._first)
            self._first = None
        self._writer.add(row)

    @property
    def frames(self) -> int:
        """Of all episodes so far."""
        return sum(self.lengths) + (self._writer.length if self._writer is not None else 0)

    def end(self) -> None:
        """End the episode that is being written."""
        if self._writer is not None:
            self._writer.close({})
            self.lengths.append(self._writer.length)
            self.lost += self._writer.lost
        self.short += self._first is not None
        self._first = self._writer = None

    def note(self, facts: Mapping[str, Any]) -> None:
        """Put what is known of the bag beside every episode; the first one's comes last."""
        for number, folder in reversed(list(enumerate(self.folders))):
            path = folder / FACTS
            document = {**json.loads(path.read_text(encoding="utf-8")), **facts}
            if len(self.folders) > 1:
                document["part"] = number
            replace_text(path, json.dumps(document, indent=1))

    def abort(self) -> None:
        """Give up."""
        if self._writer is not None:
            self._writer.abort()


def episode_folder(folder: Path, number: int) -> Path:
    """Staging folder of one of the episodes of a bag; the first one's is the bag's own."""
    return folder.with_name(f"{folder.name}.{number}") if number else folder


def convert_bag(
    path: Path,
    folder: Path,
    profile: RobotProfile,
    units: Units,
    settings: ConvertSettings,
    progress: Callable[[int], None] = lambda frames: None,
) -> dict[str, Any]:
    """Write a bag's episodes into staging folders, see ``episode_folder``.

    Args:
        progress: called with the number of frames now and then.

    Returns:
        What is known of the bag, as it stands in meta/adamoe.json, its frames (``length``) and its
        episodes (``episodes``).

    Raises:
        ContractError: the bag cannot be used; what and why.
    """
    with Bag(path) as bag:
        info = read_info(path, bag.files.custom, bag.note)
        options = settings.stream
        if not options.instruction and info is not None and info.instruction:
            options = StreamOptions(**{**vars(options), "instruction": info.instruction})
        to_model = units.command if profile.state_source == "last_command" else units.state
        stream = BagStream(bag, profile, to_model.apply, options)
        if settings.action == "command" and not stream.has_commands:
            line = problem(
                path.name, "the profile's command topics", "none", "use --action next_state"
            )
            raise ContractError([line, *stream.notes])
        heard = info.heard if info is not None else ""
        frames = EpisodeFrames(
            stream, units, settings, gap_ns(profile, settings.gap_s, settings.fps), heard
        )
        episodes = _Episodes(folder, schema_for(profile, units, settings), settings.crf)
        try:
            for number, row in frames.rows():
                episodes.add(number, row)
                if episodes.frames % 100 == 0:
                    progress(episodes.frames)
            episodes.end()
        except ContractError as error:
            episodes.abort()
            raise ContractError([*error.problems, *bag.problems, *stream.notes]) from error
        except BaseException:
            episodes.abort()
            raise
        facts = _facts(bag, stream, frames, episodes)
        if not episodes.folders:
            got = f"{episodes.short} frames with pictures, joints and an action"
            line = problem(path.name, "at least 2 frames", got, "check what it holds")
            raise ContractError([line, *facts["problems"], *facts["notes"]])
        if info is not None:
            facts["success"] = info.success
        episodes.note(facts)
        progress(episodes.frames)
    return {"length": episodes.frames, "episodes": len(episodes.folders), **facts}


def _facts(
    bag: Bag, stream: BagStream, frames: EpisodeFrames, episodes: _Episodes
) -> dict[str, Any]:
    grid, breaks = frames.grid, frames.breaks
    notes = [*stream.notes, *episodes.lost, *breaks[:_TOLD_BREAKS]]
    if len(breaks) > _TOLD_BREAKS:
        notes.append(f"and {len(breaks) - _TOLD_BREAKS} such places more")
    if breaks:
        frames_of = ", ".join(map(str, episodes.lengths[:_TOLD_BREAKS]))
        notes.append(f"{len(episodes.lengths)} episodes of {frames_of} frames were made of it")
    if cut := frames.rest_s * 1e9 > frames.gap_ns:
        notes.append(f"nothing fits together in the last {frames.rest_s:.2f} s: they are left out")
    if episodes.short:
        notes.append(f"{episodes.short} frames stood alone between such places and are left out")
    if grid.longest_hold > _HOLD_PERIODS:
        notes.append(f"one picture stands for {grid.longest_hold} frames in a row")
    if stream.refused:
        notes.append(f"{stream.refused} messages have stamps of another clock: see --clock")
    counted = stream.broken or stream.refused or episodes.lost or breaks
    damaged = bag.state == "partial" or counted or stream.contradictory or cut
    return {
        "bag": bag.path.name,
        "state": "partial" if damaged else "whole",
        "problems": bag.problems,
        "notes": notes,
        "repeated_frames": grid.repeated,
        "unused_observations": grid.passed,
        "frames_without_action": frames.without_action,
        "frames_led_by_a_human": frames.led,
        "streams": [account.summary() for account in stream.accounts.values()],
    }


def fingerprint(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What decides whether a staged episode can be used again: the bag's files and the settings."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    seen = [
        [item.name, item.stat().st_size, item.stat().st_mtime_ns]
        for item in files
        if item.is_file()
    ]
    return {"files": seen, "settings": dict(settings)}
