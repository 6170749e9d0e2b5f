# SPDX-License-Identifier: Apache-2.0
"""Messages in, observations out: what live topics and bags have in common.

``policy_node`` calls it from subscriptions, bags from their messages; everything between a message
and an observation is here and below. ``accept`` and ``decode`` share nothing between topics, so they
may be called in parallel; ``push`` is for one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import StateTopic
from adamoe_ros.streams.align import Aligner, AlignSettings
from adamoe_ros.streams.buffer import Verdict
from adamoe_ros.streams.frames import Frame
from adamoe_ros.streams.images import ImageReader, image_reader
from adamoe_ros.streams.joint_states import JointStateReader, listed
from adamoe_ros.streams.messages import stamp_ns

Vector = NDArray[np.float64]
_SETTINGS = AlignSettings()


@dataclass(frozen=True)
class InputTopic:
    """One topic to listen to.

    Attributes:
        name: camera slot, or the state topic itself; key of ``decode`` and ``push``.
        topic: as in the profile.
        kind: message type: sensor_msgs Image, CompressedImage or JointState.
        reliable: delivery that the profile asks for.
    """

    name: str
    topic: str
    kind: Literal["image", "compressed", "joint_state"]
    reliable: bool


@dataclass(frozen=True)
class Sample:
    """What a message says: ``JointPart``, image (H, W, 3) uint8 or ``Frame``; its stamp in ns."""

    stamp_ns: int
    value: Any


class FrameError(Exception):
    """A picture of an observation cannot be decoded.

    Attributes:
        slot, stamp_ns: which.
        error: why, for a person.
    """

    def __init__(self, slot: str, stamp_ns: int, error: ContractError) -> None:
        super().__init__(str(error))
        self.slot, self.stamp_ns, self.error = slot, stamp_ns, error


class ObservationInputs:
    """Decoders and aligner of one robot.

    Args:
        profile: topics, types, encodings, tolerances.
        slots: camera slots in the checkpoint's order; None: the profile's.
        to_model: driver's state vector -> the model's units; None: left as it is.
        settings: tolerances of the alignment.

    Attributes:
        topics: what to listen to; without joint states where the profile's ``state_source`` is the
            last command, which comes in by ``push_commanded``.
        aligner: for health and for what is missing.

    Raises:
        ContractError: a slot is unknown or an encoding cannot be read.
    """

    def __init__(
        self,
        profile: RobotProfile,
        slots: Sequence[str] | None = None,
        to_model: Callable[[Vector], Vector] | None = None,
        settings: AlignSettings = _SETTINGS,
    ) -> None:
        self._profile = profile
        self.from_commands = profile.state_source == "last_command"
        self.aligner = Aligner(profile, slots, to_model, settings)
        self._reader = JointStateReader(profile)
        self._cameras: dict[str, ImageReader] = {
            slot: image_reader(slot, profile.cameras[slot]) for slot in self.aligner.slots
        }
        self.topics = (
            *(_camera_topic(slot, profile) for slot in self.aligner.slots),
            *(() if self.from_commands else map(_state_topic, self._reader.topics)),
        )

    def decode(self, name: str, message: Any, arrival_ns: int) -> Sample:
        """What a message says; its arrival stands in where the driver leaves the stamp empty.

        Args:
            name: of one of ``topics``.

        Raises:
            ContractError: the message does not fit; one line.
        """
        camera = self._cameras.get(name)
        if camera is None:
            return Sample(*self._reader.decode(name, message, arrival_ns))
        return Sample(self._stamp(name, message, arrival_ns), camera(message)())

    def accept(self, name: str, message: Any, arrival_ns: int) -> Sample:
        """As ``decode``, but a picture is only checked now: a ``Frame``, decoded when it is used.

        Raises:
            ContractError: the message does not fit; one line.
        """
        camera = self._cameras.get(name)
        if camera is None:
            return self.decode(name, message, arrival_ns)
        return Sample(self._stamp(name, message, arrival_ns), Frame(camera(message)))

    def _stamp(self, slot: str, message: Any, arrival_ns: int) -> int:
        by_header = self._profile.cameras[slot].stamp == "header"
        return (by_header and stamp_ns(message.header.stamp)) or arrival_ns

    def push(self, name: str, sample: Sample, arrival_ns: int) -> Verdict:
        """Hand a decoded message to the aligner."""
        if name in self._cameras:
            return self.aligner.push_image(name, sample.stamp_ns, sample.value, arrival_ns)
        part = sample.value
        if not part.columns:
            return Verdict.OTHER_JOINTS
        return self.aligner.push_state(name, sample.stamp_ns, part.values, arrival_ns, part.columns)

    def missing(self, now_ns: int) -> list[str]:
        """As ``Aligner.missing``; where joints never came, with the names that came instead."""
        return [self._with_names(line) for line in self.aligner.missing(now_ns)]

    def _with_names(self, line: str) -> str:
        found = {topic.name for topic in self.topics if topic.kind == "joint_state"}
        if line not in found or not self._reader.others(line):
            return line
        return f"{line} (messages have {listed(self._reader.others(line))}: correct the names in the profile)"

    def push_commanded(
        self,
        stamp_ns: int,
        commanded: Vector,
        arrival_ns: int,
        columns: tuple[int, ...] | None = None,
    ) -> None:
        """What joints were last commanded, as their state where the profile says so.

        Args:
            commanded: (len(columns),) driver's command units; empty: none yet.
            columns: places in ``joint_ids``; None: all of them.
        """
        if not self.from_commands or not len(commanded):
            return
        places = range(len(commanded)) if columns is None else columns
        values = dict(zip(places, commanded, strict=True))
        for topic in self._reader.topics:
            own = tuple(column for column in topic.columns if column in values)
            if own:
                part = np.array([values[column] for column in own])
                self.aligner.push_state(topic.source.topic, stamp_ns, part, arrival_ns, own)

    def observation(self, instruction: str) -> Observation | None:
        """The newest consistent observation with its pictures; None while there is none.

        Raises:
            FrameError: one of them cannot be decoded.
        """
        found = self.aligner.observation(instruction)
        return None if found is None else decoded(found)


def decoded(observation: Observation) -> Observation:
    """An observation whose pictures are pixels; any thread may call it.

    Raises:
        FrameError: one of them cannot be decoded.
    """
    images = {}
    for slot, value in observation.images.items():
        try:
            images[slot] = value.pixels() if isinstance(value, Frame) else value
        except ContractError as error:
            raise FrameError(slot, observation.image_stamps_ns[slot], error) from error
    return replace(observation, images=images)


def _camera_topic(slot: str, profile: RobotProfile) -> InputTopic:
    camera = profile.cameras[slot]
    return InputTopic(slot, str(camera.topic), camera.type, camera.reliable)


def _state_topic(topic: StateTopic) -> InputTopic:
    source = topic.source
    return InputTopic(source.topic, source.topic, "joint_state", source.reliable)
