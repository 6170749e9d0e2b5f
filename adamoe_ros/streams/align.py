# SPDX-License-Identifier: Apache-2.0
"""Newest consistent set of cameras and joint state, by header stamp.

The reference time is the newest image of the camera that is furthest behind: by then every camera
has delivered, so the others' nearest images are really the nearest. The joint state is interpolated
linearly to it, each state topic on its own stamps. One thread at a time; nodes hold a lock.

Live, a picture may come before the joint state of its moment. ``ready_ns`` names the newest set whose
joint states are complete, so that nothing that comes later would change it, and a bag gives the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, Problems
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import state_topics
from adamoe_ros.streams.buffer import StreamBuffer, StreamHealth, Verdict
from adamoe_ros.streams.clocks import CLOCK_TOLERANCE_S, Delays
from adamoe_ros.streams.joint_stream import JointStream

Vector = NDArray[np.float64]
Image = NDArray[np.uint8]
Array = NDArray[Any]


@dataclass(frozen=True)
class AlignSettings:
    """How strict alignment is.

    Attributes:
        state_tolerance_s: joint state to image time, where no later state has come yet.
        state_wait_s: a complete set is preferred to a newer incomplete one by so much, not longer.
        clock_tolerance_s: stamp to arrival; beyond it the stamp is of another clock.
        jump_s: a stamp this far backwards is a clock jump (bag loop, simulator reset).
        frames: images kept per camera.
        states: joint states kept per topic.
    """

    state_tolerance_s: float = 0.05
    state_wait_s: float = 0.1
    clock_tolerance_s: float = CLOCK_TOLERANCE_S
    jump_s: float = 0.5
    frames: int = 8
    states: int = 256


class Aligner:
    """Collects stamped inputs and hands out observations.

    Args:
        profile: the robot.
        slots: camera slots in the checkpoint's order; None: the profile's.
        to_model: driver's state vector -> the model's units (``JointMap.model_from_state``, or
            ``model_from_command`` where commands are pushed as state); None: left as it is.
        settings: tolerances.

    Raises:
        ContractError: a slot of the checkpoint that the profile neither has nor declares absent.
    """

    def __init__(
        self,
        profile: RobotProfile,
        slots: Sequence[str] | None = None,
        to_model: Callable[[Vector], Vector] | None = None,
        settings: AlignSettings = AlignSettings(),
    ) -> None:
        self.slots = present_slots(profile, slots)
        self.events: list[str] = []
        self._settings = settings
        self._to_model = to_model
        self._profile = profile
        self._topics = {topic.source.topic: topic for topic in state_topics(profile)}
        self._cameras: dict[str, StreamBuffer[Array]] = {
            slot: _buffer(settings, slot, settings.frames, 2_000_000) for slot in self.slots
        }
        self._states = {
            name: JointStream(topic, partial(_buffer, settings, name, settings.states, 100_000))
            for name, topic in self._topics.items()
        }
        self._latest_arrival_ns = -1
        # every value that reference_ns took and whose pictures are still there, oldest first
        self._references: deque[int] = deque(maxlen=settings.frames)
        self._given_ns = -1  # of the last observation: none older is given after it

    def push_image(self, slot: str, stamp_ns: int, image: Image, arrival_ns: int) -> Verdict:
        """Take a decoded image.

        Args:
            slot: camera slot that is in ``slots``.
            stamp_ns: acquisition; 0 (driver leaves it empty): the arrival stands in.
            image: (H, W, 3) uint8 RGB; kept, not copied.
            arrival_ns: ROS time at the callback.
        """
        verdict = self._push(self._cameras[slot], stamp_ns, image, arrival_ns)
        reference = self.reference_ns
        if reference is not None and (not self._references or reference > self._references[-1]):
            self._references.append(reference)
        return verdict

    def drop_image(self, slot: str, stamp_ns: int) -> None:
        """Forget an image that turned out to be broken, and the set that it stood for."""
        self._cameras[slot].drop(stamp_ns)
        if stamp_ns in self._references:
            self._references.remove(stamp_ns)

    def push_state(
        self,
        topic: str,
        stamp_ns: int,
        values: Vector,
        arrival_ns: int,
        columns: tuple[int, ...] | None = None,
    ) -> Verdict:
        """Take positions of one state topic, as ``JointStateReader.decode`` gives them.

        Args:
            columns: the joints; None: all of the topic's.
        """
        stream = self._states[topic]
        part = stream.part(stream.topic.columns if columns is None else columns)
        return self._push(part, stamp_ns, values, arrival_ns)

    def _push(
        self,
        buffer: StreamBuffer[Array],
        stamp_ns: int,
        value: Array,
        arrival_ns: int,
    ) -> Verdict:
        if arrival_ns < self._latest_arrival_ns - round(self._settings.jump_s * 1e9):
            self._jumped("this host's clock", self._latest_arrival_ns - arrival_ns)
            self._latest_arrival_ns = arrival_ns
        self._latest_arrival_ns = max(self._latest_arrival_ns, arrival_ns)
        newest = buffer.newest_ns
        verdict = buffer.push(stamp_ns or arrival_ns, value, arrival_ns)
        if verdict is Verdict.JUMPED_BACK and newest is not None:
            self._jumped(buffer.name, newest - stamp_ns, keep=buffer)
        return verdict

    def _buffers(self) -> Iterator[StreamBuffer[Array]]:
        yield from self._cameras.values()
        for stream in self._states.values():
            yield from stream.parts.values()

    def _jumped(self, what: str, back_ns: int, keep: object = None) -> None:
        for buffer in self._buffers():
            if buffer is not keep:
                buffer.clear()
        self._references.clear()
        self._given_ns = -1
        self.events.append(f"clock of {what} went back by {back_ns / 1e9:.3f} s: inputs cleared")

    def take_events(self) -> list[str]:
        """Clock jumps since the last call, for the log."""
        events, self.events = self.events, []
        return events

    @property
    def reference_ns(self) -> int | None:
        """Newest image of the camera that is furthest behind; None until all have delivered."""
        newest = [camera.items[-1][0] for camera in self._cameras.values() if camera.items]
        return min(newest) if len(newest) == len(self._cameras) else None

    @property
    def oldest_ns(self) -> int | None:
        """Newest stamp of the stream that is furthest behind, cameras and states; None until all came."""
        newest = [camera.newest_ns for camera in self._cameras.values()]
        newest += [stream.newest_ns for stream in self._states.values()]
        known = [stamp for stamp in newest if stamp is not None]
        return min(known) if len(known) == len(newest) else None

    @property
    def state_complete(self) -> bool:
        """Whether every joint state at or after the reference has come: nothing newer changes it."""
        reference = self.reference_ns
        return reference is not None and self._complete(reference)

    def _complete(self, reference_ns: int) -> bool:
        return all(
            buffer.newest_ns is not None and buffer.newest_ns >= reference_ns
            for buffer in self._states.values()
        )

    @property
    def ready_ns(self) -> int | None:
        """Reference of the best observation that can be had now; None: none.

        The newest complete one. Once the newest set is ``state_wait_s`` ahead of it, joint states
        are slow or late, and it is taken with the state beside it, if that is close enough. Never
        one older than the last that was given.
        """
        newest = self.reference_ns
        fresh = [stamp for stamp in self._references if stamp >= self._given_ns]
        if newest is None or not fresh:
            return None
        whole = (stamp for stamp in reversed(fresh) if self._complete(stamp))
        complete = next((stamp for stamp in whole if not self._inconsistent(stamp)), None)
        if complete is None and fresh[0] == self._given_ns:
            complete = self._given_ns  # good enough then, and still
        since = fresh[0] if complete is None else complete
        waited = newest - since > self._settings.state_wait_s * 1e9
        return newest if waited and not self._inconsistent(newest) else complete

    def observation(
        self, instruction: str = "", reference_ns: int | None = None
    ) -> Observation | None:
        """The observation at a reference, or None (``missing`` says why).

        Args:
            instruction: sentence to put beside it.
            reference_ns: ``ready_ns``; None: the newest, complete or not.

        Returns:
            Images in the checkpoint's order, state (J,) in the model's units. The same observation
            comes again until a newer image arrives: compare ``stamp_ns``.
        """
        reference = self.reference_ns if reference_ns is None else reference_ns
        if reference is None or self._inconsistent(reference):
            return None
        self._given_ns = reference
        images, stamps = {}, {}
        for slot, buffer in self._cameras.items():
            nearest = buffer.nearest(reference)
            if nearest is None:
                return None
            stamps[slot], images[slot] = nearest
            buffer.mark_used(nearest[0], reference)
        state, state_stamp = self._state_at(reference)
        return Observation(
            stamp_ns=reference,
            images=images,
            state=state if self._to_model is None else self._to_model(state),
            instruction=instruction,
            image_stamps_ns=stamps,
            state_stamp_ns=state_stamp,
        )

    def _inconsistent(self, reference_ns: int) -> list[str]:
        lines = []
        for slot, buffer in self._cameras.items():
            nearest = buffer.nearest(reference_ns)
            tolerance = self._profile.cameras[slot].tolerance
            if nearest is None or reference_ns - nearest[0] > tolerance * 1e9:
                lines.append(f"{slot} (no image within {tolerance} s of the others)")
            elif nearest[0] - reference_ns > tolerance * 1e9:
                lines.append(self._behind(reference_ns, nearest[0]))
        tolerance_ns = round(self._settings.state_tolerance_s * 1e9)
        for name, stream in self._states.items():
            lines += stream.lacking(name, reference_ns, tolerance_ns)
        return list(dict.fromkeys(lines))

    def _behind(self, reference_ns: int, other_ns: int) -> str:
        """The camera that sets the reference is the one that is late, not those that went on."""
        late = [name for name, item in self._cameras.items() if item.newest_ns == reference_ns]
        gap_s = (other_ns - reference_ns) / 1e9
        return f"{', '.join(late) or 'a camera'} (behind the others by {gap_s:.2f} s)"

    def _state_at(self, reference_ns: int) -> tuple[Vector, int]:
        """Joint state (J,), driver's units, at a time, and the furthest stamp used for it."""
        state = np.empty(len(self._profile.joint_ids))
        furthest = reference_ns
        tolerance_ns = round(self._settings.state_tolerance_s * 1e9)
        for stream in self._states.values():
            stamp = stream.interpolate(state, reference_ns, tolerance_ns)
            if abs(stamp - reference_ns) >= abs(furthest - reference_ns):
                furthest = stamp
        return state, furthest

    def missing(self, now_ns: int) -> list[str]:
        """Inputs that are not live or do not fit together; empty: an observation can be had."""
        lines = []
        for slot, camera in self._cameras.items():
            why = camera.not_live(now_ns, self._profile.cameras[slot].timeout)
            if why is not None:
                lines.append(f"{slot} ({why})" if why else slot)
        for name, stream in self._states.items():
            lines += stream.missing(name, now_ns)
        reference = self.reference_ns
        if not lines and reference is not None and self.ready_ns is None:
            lines = self._inconsistent(reference)
        return lines

    def health(self, now_ns: int) -> list[StreamHealth]:
        """Condition of every stream, cameras first."""
        states = [item for stream in self._states.values() for item in stream.health(now_ns)]
        return [*(buffer.health(now_ns) for buffer in self._cameras.values()), *states]

    @property
    def refused(self) -> int:
        """Messages that were left out because their stamps are of another clock or stand still."""
        return sum(buffer.refused for buffer in self._buffers())

    def clock_notes(self) -> list[str]:
        """Streams that left out messages because of their stamps, over the whole time."""
        return [note for buffer in self._buffers() if (note := buffer.clock_note)]

    def delays(self) -> dict[str, Delays]:
        """Name -> arrival - stamp of recent messages, of every camera and every part of joint states."""
        found = {slot: buffer.delays for slot, buffer in self._cameras.items()}
        for name, stream in self._states.items():
            found |= {
                stream.part_name(name, key): item.delays for key, item in stream.parts.items()
            }
        return found

    @property
    def unused_frames(self) -> int:
        """Images that were never part of an observation because a newer one came."""
        return sum(buffer.unused for buffer in self._cameras.values())


def _buffer(settings: AlignSettings, name: str, size: int, receipt_ns: int) -> StreamBuffer[Array]:
    jump, clock = round(settings.jump_s * 1e9), round(settings.clock_tolerance_s * 1e9)
    return StreamBuffer(name, size, jump, clock, receipt_ns)


def present_slots(profile: RobotProfile, slots: Sequence[str] | None) -> tuple[str, ...]:
    """The slots of a checkpoint that this robot has, in the checkpoint's order.

    Raises:
        ContractError: one line per slot that the profile does not know, or if none is present.
    """
    wanted = tuple(profile.cameras) if slots is None else tuple(slots)
    problems = Problems()
    for slot in wanted:
        if slot not in profile.cameras:
            problems.add(
                f"profile {profile.name}: cameras",
                f"the checkpoint's slot {slot}",
                ", ".join(profile.cameras),
                "add the camera, or the slot with 'absent: true'",
            )
    problems.raise_if_any()
    present = tuple(slot for slot in wanted if slot in profile.present_cameras)
    if not present:
        raise ContractError(
            f"profile {profile.name}: expected at least one of the checkpoint's cameras "
            f"{', '.join(wanted)}, got none that is present; give one of them a topic"
        )
    return present
