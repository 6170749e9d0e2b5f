# SPDX-License-Identifier: Apache-2.0
"""One bag -> one staged episode: observations at an even rate, with what the arms were told.

Frames are taken on a grid of 1 / fps from the first complete moment on; each takes the observation
whose stamp is nearest, whole: its joint state is of its pictures' time, as the policy sees it. The
action of a frame is the command in force at the frame's time, or the state one frame later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.episode_info import read_info
from adamoe_ros.data.lerobot.dataset_schema import DatasetCamera, Schema
from adamoe_ros.data.lerobot.episode_writer import EpisodeWriter, FrameRow
from adamoe_ros.data.observations import (
    BagObservation,
    BagStream,
    StreamOptions,
    need_instruction,
)
from adamoe_ros.data.units import Units

ActionSource = Literal["command", "next_state"]
_SETTLE_NS = 500_000_000  # after a frame's time until its action is taken as known
_GAP_PERIODS = 3  # frames that one observation may stand for before the episode counts as broken


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
    """

    fps: float
    action: ActionSource = "command"
    stream: StreamOptions = field(default_factory=StreamOptions)
    precision: Literal["float32", "float64"] = "float32"
    lossless: bool = False
    crf: int = 23

    def as_dict(self) -> dict[str, Any]:
        """For files; also part of what decides whether a staged episode is still good."""
        return asdict(self)


def schema_for(profile: RobotProfile, units: Units, settings: ConvertSettings) -> Schema:
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
    return Schema(units.names, cameras, settings.fps, settings.precision, settings.lossless)


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
        """The last frame, where the last observation is the nearest."""
        before = self._before
        near = min(self._period, self._spacing) / 2
        if before is not None and self._time() - before.stamp_ns <= near:
            yield self._take(before)

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
        first: sentence before the bag says one.

    Attributes:
        grid: its counts.
        without_action: frames left out because nothing was commanded yet, or no state follows.
        cut: the clock went back, and the episode ends there.
    """

    def __init__(
        self, stream: BagStream, units: Units, settings: ConvertSettings, first: str = ""
    ) -> None:
        self._stream, self._units, self._settings, self._first = stream, units, settings, first
        self._period = 1e9 / settings.fps
        self.grid = FrameGrid(self._period)
        self.without_action = 0
        self.cut = False
        self._newest_ns = -1
        self._wanted: Literal["command", "state"] = (
            "command" if settings.action == "command" else "state"
        )
        self._timeline = stream.timeline(self._wanted)
        self._pending: deque[_Pending] = deque()
        self._where = stream.path

    def rows(self) -> Iterator[FrameRow]:
        """Every frame in order.

        Raises:
            ContractError: a frame has no instruction.
        """
        for event in self._stream.events():
            if event.kind == self._wanted:
                self._timeline.add(event.stamp_ns, *event.value)
            elif event.kind == "observation":
                if event.stamp_ns < self._newest_ns:
                    self.cut = True
                    self._stream.notes.append("the clock went back: the rest is left out")
                    break
                self._newest_ns = event.stamp_ns
                self._pending += (_Pending(*item) for item in self.grid.add(event.value))
            yield from self._settled(event.now_ns)
        self._pending += (_Pending(*item) for item in self.grid.finish())
        yield from self._settled(None)

    def _settled(self, now_ns: int | None) -> Iterator[FrameRow]:
        while self._pending and (now_ns is None or now_ns - self._pending[0].time_ns > _SETTLE_NS):
            pending = self._pending.popleft()
            action = self._action(pending.time_ns)
            if action is None:
                self.without_action += 1
            else:
                yield self._row(pending.observation, action)
            self._timeline.forget(pending.time_ns)

    def _action(self, time_ns: int) -> Any:
        if self._settings.action == "command":
            held = self._timeline.held(time_ns)
            return None if held is None else self._units.command.apply(held)
        state = self._timeline.interpolated(time_ns + round(self._period))
        return None if state is None else self._units.state.apply(state)

    def _row(self, observation: BagObservation, action: Any) -> FrameRow:
        stamps = [observation.stamp_ns, observation.state_stamp_ns]
        stamps += [observation.image_stamps_ns[slot] for slot in observation.frames]
        return FrameRow(
            state=observation.state,
            action=action,
            stamps_ns=np.array(stamps, np.int64),
            task=need_instruction(observation.instruction or self._first, self._where),
            frames=observation.frames,
        )


def convert_bag(
    path: Path,
    folder: Path,
    profile: RobotProfile,
    units: Units,
    settings: ConvertSettings,
    tell: Callable[[int], None] = lambda frames: None,
) -> dict[str, Any]:
    """Write a bag's episode into a staging folder.

    Args:
        tell: called with the number of frames now and then.

    Returns:
        Facts on the episode, as they stand in meta/adamoe.json.

    Raises:
        ContractError: the bag cannot be used; what and why.
    """
    with Bag(path) as bag:
        info = read_info(path, bag.files.custom)
        options = settings.stream
        if not options.instruction and info is not None and info.instruction:
            options = StreamOptions(**{**vars(options), "instruction": info.instruction})
        to_model = units.command if profile.state_source == "last_command" else units.state
        stream = BagStream(bag, profile, to_model.apply, options)
        if settings.action == "command" and not stream.has_commands:
            raise ContractError(
                problem(
                    path.name, "the profile's command topics", "none", "use --action next_state"
                )
            )
        frames = EpisodeFrames(stream, units, settings, info.heard if info is not None else "")
        writer = EpisodeWriter(folder, schema_for(profile, units, settings), settings.crf)
        try:
            for row in frames.rows():
                writer.add(row)
                if writer.length % 100 == 0:
                    tell(writer.length)
            facts = _facts(bag, stream, frames, writer)
            if info is not None:
                facts["success"] = info.success
            _check(bag, stream, writer.length)
            writer.close(facts)
        except BaseException:
            writer.abort()
            raise
        tell(writer.length)
    return {"length": writer.length, **facts}


def _check(bag: Bag, stream: BagStream, length: int) -> None:
    if length < 2:
        got = f"{length} frames with pictures, joints and an action"
        line = problem(bag.path.name, "at least 2 frames", got, "check what it holds")
        raise ContractError([line, *bag.problems, *stream.notes])


def _facts(
    bag: Bag, stream: BagStream, frames: EpisodeFrames, writer: EpisodeWriter
) -> dict[str, Any]:
    grid = frames.grid
    notes = [*stream.notes, *writer.lost]
    if grid.longest_hold > _GAP_PERIODS:
        notes.append(f"one picture stands for {grid.longest_hold} frames in a row")
    if stream.refused:
        notes.append(f"{stream.refused} messages have stamps of another clock: see --clock")
    damaged = bag.state == "partial" or stream.broken or stream.refused or writer.lost or frames.cut
    return {
        "bag": bag.path.name,
        "state": "partial" if damaged else "whole",
        "problems": bag.problems,
        "notes": notes,
        "repeated_frames": grid.repeated,
        "unused_observations": grid.passed,
        "frames_without_action": frames.without_action,
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
