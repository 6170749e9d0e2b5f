# SPDX-License-Identifier: Apache-2.0
"""A bag as the policy would have seen it: messages through ``streams`` in the order of arrival.

Decoding and alignment are those of ``policy_node``: a picture is checked when it arrives and decoded
when an observation that has it is loaded, so that pictures nobody asks for cost nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import command_topics, state_topics
from adamoe_ros.control.status import Source
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.bag_topics import BagTopics
from adamoe_ros.data.joint_timeline import JointTimeline
from adamoe_ros.data.stream_account import StreamAccount
from adamoe_ros.streams.align import AlignSettings, present_slots
from adamoe_ros.streams.buffer import Verdict
from adamoe_ros.streams.clocks import (
    CLOCK_TOLERANCE_S,
    STANDING,
    ClockSpread,
    Delays,
    standing_line,
)
from adamoe_ros.streams.commands import CommandDecoder
from adamoe_ros.streams.frames import Frame
from adamoe_ros.streams.inputs import ObservationInputs
from adamoe_ros.streams.joint_states import JointPart, listed
from adamoe_ros.streams.messages import stamp_ns

Vector = NDArray[np.float64]
ClockChoice = Literal["auto", "log", "clock", "stamps"]
LAG_NS = 250_000_000  # by which pictures may arrive before the joint state of their moment
_JUMP_NS = round(AlignSettings.jump_s * 1e9)
GAP_S = 0.5
_GAP_FRAMES = 3
_TOLD_JUMPS = 10
_LOOK = 200  # messages that the choice of the clock looks at
_ALTERNATE = 10  # positions of a joint before it is judged
_APART = 0.02  # rad or m between two positions in a row
_COMPARED = 64  # observations between looks at the delays of the streams


@dataclass(frozen=True)
class BagObservation:
    """An observation whose pictures are not decoded yet; attributes as in ``Observation``."""

    stamp_ns: int
    frames: Mapping[str, Frame]
    state: Vector
    instruction: str
    image_stamps_ns: Mapping[str, int]
    state_stamp_ns: int

    def load(self) -> Observation:
        """With pictures; any thread may call it.

        Raises:
            ContractError: one of them cannot be decoded.
        """
        return Observation(
            self.stamp_ns,
            {slot: frame.pixels() for slot, frame in self.frames.items()},
            self.state,
            self.instruction,
            self.image_stamps_ns,
            self.state_stamp_ns,
        )


class _Arrival(NamedTuple):
    now_ns: int
    topic: str
    message: Any


class Event(NamedTuple):
    """Something the bag tells, at ``now_ns`` of the clock that arrivals are judged by.

    ``kind`` and ``value``: ``observation`` a BagObservation; ``state`` a JointPart, measured in the
    driver's units; ``command`` a CommandedMotion in the driver's command units;
    ``instruction`` a sentence; ``leader`` a JointPart of one value, 1 while a human leads the arms.
    ``stamp_ns`` is the message's own.
    """

    kind: Literal["observation", "state", "command", "instruction", "leader"]
    now_ns: int
    stamp_ns: int
    value: Any


@dataclass(frozen=True)
class StreamOptions:
    """How a bag is read.

    Attributes:
        namespace: before the profile's relative topics.
        slots: camera slots in the checkpoint's order; None: the profile's.
        instruction: sentence; empty: from the bag.
        clock: what arrivals are judged by: the recorder's ``log`` time, the bag's ``/clock``, or
            the messages' own ``stamps``; ``auto`` takes the first of these that fits the stamps.
    """

    namespace: str = ""
    slots: Sequence[str] | None = None
    instruction: str = ""
    clock: ClockChoice = "auto"


class BagStream:
    """One pass over a bag.

    Args:
        bag: open.
        profile: the robot that recorded it.
        to_model: driver's state vector -> written units; None: left.
        options: how.

    Attributes:
        path: of the bag.
        accounts: stream name -> what was seen of it.
        has_commands: whether the bag has every command topic of the profile.

    Raises:
        ContractError: topics of the profile that the bag does not have; every one.
    """

    def __init__(
        self,
        bag: Bag,
        profile: RobotProfile,
        to_model: Callable[[Vector], Vector] | None = None,
        options: StreamOptions | None = None,
    ) -> None:
        self.options = options or StreamOptions()
        self.path = bag.path
        slots = present_slots(profile, self.options.slots)
        self._topics = BagTopics(bag, profile, self.options.namespace, slots)
        self.has_commands = self._topics.has_commands
        self._control = self._topics.control
        self._notes: list[str] = []
        self._jumps = 0
        self._bag, self._profile = bag, self._topics.profile
        profile = self._profile
        self._inputs = ObservationInputs(profile, self.options.slots, to_model)
        self._commands = CommandDecoder(command_topics(profile))
        self._state_columns = {topic.source.topic: topic.columns for topic in state_topics(profile)}
        self._command_columns = {
            topic.target.topic: topic.columns for topic in self._commands.topics
        }
        self.accounts = {
            name: StreamAccount(name) for names in self._topics.inputs.values() for name in names
        }
        self._wrong: dict[str, list[Any]] = {}  # name -> messages that do not fit, the first one
        self._instruction = self.options.instruction
        self._last_stamp = -1
        self._newest_now = self._observations = 0
        self._clocks = ClockSpread()
        self._command_delays = {topic: Delays() for topic in self._topics.commands}
        # (topic, joints) -> time of the last set point (ns), observations until it came
        self._last_commands: dict[tuple[str, tuple[int, ...]], tuple[int, int]] = {}
        self._command_gaps: dict[str, float] = {}  # topic -> s, the longest while pictures came
        self._odd = self._by_arrival()  # topics whose stamps say nothing of the time
        self._two_sources: dict[str, str] = {}  # state topics with two publishers of this joint
        self._standing: dict[str, int] = {}  # command topics whose stamp never changes, ns
        self.clock = self._choose_clock()

    def _by_arrival(self) -> set[str]:
        """Topics of the bag whose stamp is their arrival, as the profile says."""
        own = {topic.source.topic: topic.source.stamp for topic in state_topics(self._profile)}
        own |= {slot: camera.stamp for slot, camera in self._profile.cameras.items()}
        commands = {topic.target.topic: topic.target.stamp for topic in self._commands.topics}
        found = {
            topic for topic, name in self._topics.commands.items() if commands[name] == "arrival"
        }
        return found | {
            topic
            for topic, names in self._topics.inputs.items()
            if any(own[name] == "arrival" for name in names)
        }

    @property
    def notes(self) -> list[str]:
        """What a person should know, one line each, in order of discovery."""
        counted = [
            f"{name}: {count} messages are left out; the first: {line}"
            for name, (count, line) in self._wrong.items()
        ]
        more = self._jumps - _TOLD_JUMPS
        jumps = [f"and {more} jumps of clocks more"] if more > 0 else []
        return [*self._topics.notes, *self._notes, *jumps, *counted]

    # --- the clock ------------------------------------------------------------------------------

    def _choose_clock(self) -> Literal["log", "clock", "stamps"]:
        off = self._offsets()
        if self.options.clock != "auto":
            return self.options.clock
        if not off["log"] or _near(off["log"].values()):
            return "log"  # streams that are of another clock are left out, and their offset told
        if _near(off["clock"].values()):
            self._notes.append("arrivals are judged by the bag's /clock: stamps are of its time")
            return "clock"
        middle = float(np.median(list(off["log"].values())))
        self._odd |= {
            topic for topic, value in off["log"].items() if abs(value - middle) > CLOCK_TOLERANCE_S
        }
        self._notes.append(
            f"stamps are {abs(middle):.1f} s off the recorder's clock; arrivals are judged by the stamps"
        )
        return "stamps"

    def _offsets(self) -> dict[str, dict[str, float]]:
        """Clock -> input topic -> median of that clock minus the stamps, s, at the bag's begin."""
        found: dict[str, dict[str, list[float]]] = {"log": {}, "clock": {}}
        clock_ns: int | None = None
        stamps: dict[str, list[int]] = {}  # of commands
        positions: dict[tuple[str, str], list[float]] = {}  # of a topic's joints, by arrival
        topics = {*self._topics.inputs, *self._topics.commands}
        topics |= {self._topics.clock} if self._topics.clock else set()
        for number, item in enumerate(self._bag.messages(topics)):
            stamp = self._stamp(item.topic, item.message)
            if item.topic in self._topics.inputs and hasattr(item.message, "position"):
                for name, value in zip(item.message.name, item.message.position, strict=False):
                    positions.setdefault((item.topic, name), []).append(float(value))
            if item.topic == "/clock":
                clock_ns = stamp_ns(item.message.clock)
            elif stamp and item.topic in self._topics.commands:
                stamps.setdefault(item.topic, []).append(stamp)
            elif stamp:
                found["log"].setdefault(item.topic, []).append((item.time_ns - stamp) / 1e9)
                if clock_ns is not None:
                    found["clock"].setdefault(item.topic, []).append((clock_ns - stamp) / 1e9)
            if number > _LOOK:
                break
        self._two_sources = {
            topic: name
            for (topic, name), values in positions.items()
            if len(values) >= _ALTERNATE and alternates(np.array(values))
        }
        self._standing = {
            topic: own[0]
            for topic, own in stamps.items()
            if len(own) > STANDING and len(set(own)) == 1
        }
        return {
            clock: {topic: float(np.median(values)) for topic, values in topics.items()}
            for clock, topics in found.items()
        }

    def _stamp(self, topic: str, message: Any) -> int:
        """ns by the message's header; 0: it has none that counts."""
        return 0 if topic in self._odd else _header_stamp(message)

    # --- the pass -------------------------------------------------------------------------------

    def events(self) -> Iterator[Event]:
        """Everything in order of arrival, pictures and sentences ``LAG_NS`` after the rest.

        So the joint state of a picture's moment is there when the observation is made: in which
        order the two arrived makes no difference.
        """
        sentences = None if self.options.instruction else self._topics.sentences
        for now_ns, topic, message in self._lagged(sentences):
            if topic == sentences:
                yield from self._take_sentence(message, now_ns)
            if now_ns == 0:
                continue  # before the first /clock
            for name in self._topics.inputs.get(topic, ()):
                yield from self._take_input(name, message, now_ns)
            if topic in self._topics.commands:
                yield from self._take_command(topic, message, now_ns)
            if topic == self._control:
                human = getattr(message, "source", 0) == Source.HUMAN  # older ones do not say
                leader = JointPart((0,), np.array([float(human)]))
                yield Event("leader", now_ns, self._stamp(topic, message) or now_ns, leader)
        yield from self._observation(now_ns=self._newest_now)
        self._note_streams()

    def _compare_clocks(self) -> None:
        self._clocks.compare({**self._inputs.aligner.delays(), **self._command_delays})

    def _note_streams(self) -> None:
        """What was left out of whole streams, what is of another clock, and what never came."""
        clocks = self._inputs.aligner.clock_notes()
        self._notes += clocks
        self._notes += [
            f"{topic}: {name} alternates between two values: two publishers of it; stop one of them"
            for topic, name in self._two_sources.items()
        ]
        for key in self._last_commands:
            self._note_command_gap(key, self._last_stamp)
        self._notes += [
            f"commands on {topic}: none for {gap_s:.2f} s at most: the one before stands for them"
            for topic, gap_s in self._command_gaps.items()
        ]
        if self._last_stamp >= 0:
            self._compare_clocks()
            self._notes += self._clocks.lines()
        for topic, names in self._commands.others.items():
            self._notes.append(
                f"commands on {topic}: left out, not in the profile: {listed(names)}"
            )
        if self._last_stamp < 0:
            lost = self._inputs.missing(self._newest_now)
            named = {line.split(":")[0] for line in clocks}
            self._notes += [
                f"never usable: {line}" for line in lost if line.split(" ")[0] not in named
            ]

    def _lagged(self, sentences: str | None) -> Iterator[_Arrival]:
        """Messages with their arrival; pictures and sentences after joint states that came later."""
        late = {sentences} | {
            topic
            for topic, names in self._topics.inputs.items()
            if any(name in self._profile.cameras for name in names)
        }
        clock = self._topics.clock if self.clock == "clock" else None
        topics = {*self._topics.inputs, *self._topics.commands}
        topics |= {topic for topic in (sentences, clock, self._control) if topic is not None}
        heap: list[tuple[int, int, _Arrival]] = []
        now_ns = before_ns = 0
        newest: dict[tuple[str | int, ...], int] = {}
        by_log = self.clock == "log"
        for number, item in enumerate(self._bag.messages(topics)):
            time_ns, topic, message = item
            now_ns = time_ns if by_log else self._now(time_ns, topic, message, now_ns)
            self._newest_now = now_ns
            back = self._goes_back(topic, self._stamp(topic, message), message, newest)
            if back or time_ns < before_ns - _JUMP_NS:
                while heap:  # what came before the jump is of the time before
                    yield heapq.heappop(heap)[2]
            before_ns = time_ns
            due_ns = now_ns if self.clock == "stamps" else time_ns
            while heap and heap[0][0] <= due_ns:
                yield heapq.heappop(heap)[2]
            if topic in late:
                arrival = _Arrival(now_ns, topic, message)
                heapq.heappush(heap, (due_ns + LAG_NS, number, arrival))
            else:
                yield _Arrival(now_ns, topic, message)
        while heap:
            yield heapq.heappop(heap)[2]

    @staticmethod
    def _goes_back(
        topic: str, stamp: int, message: Any, newest: dict[tuple[str | int, ...], int]
    ) -> bool:
        """Whether a stamp is far before the newest of its topic and joints; notes it."""
        if not stamp:
            return False
        names = getattr(message, "name", None)  # the parts of one topic have their own joints
        key = (topic, len(names), names[0]) if names else (topic,)
        before = newest.get(key, 0)
        back = before - stamp >= _JUMP_NS
        if back or stamp >= before:
            newest[key] = stamp
        return back

    def _now(self, log_ns: int, topic: str, message: Any, before_ns: int) -> int:
        if self.clock == "log":
            return log_ns
        if self.clock == "clock":
            return stamp_ns(message.clock) if topic == "/clock" else before_ns
        stamp = self._stamp(topic, message)
        went_back = before_ns - stamp > CLOCK_TOLERANCE_S * 1e9
        return stamp if stamp and went_back else max(stamp, before_ns)

    def _take_sentence(self, message: Any, now_ns: int) -> Iterator[Event]:
        sentence = str(getattr(message, "instruction", getattr(message, "data", ""))).strip()
        if sentence and sentence != self._instruction:
            self._instruction = sentence
            yield Event("instruction", now_ns, now_ns, sentence)

    def _take_input(self, name: str, message: Any, now_ns: int) -> Iterator[Event]:
        account = self.accounts[name]
        try:
            sample = self._inputs.accept(name, message, now_ns)
        except ContractError as error:
            account.broken += 1
            self._leave_out(name, str(error))
            return
        if name in self._profile.cameras:
            yield from self._observation(now_ns)  # its joint state will not come any more
        verdict = self._inputs.push(name, sample, now_ns)
        account.take(sample.stamp_ns, now_ns, verdict, getattr(sample.value, "columns", ()))
        if self._inputs.aligner.events:
            for event in self._inputs.aligner.take_events():
                self._jumps += 1
                if self._jumps <= _TOLD_JUMPS:
                    self._notes.append(f"{now_ns / 1e9:.3f}: {event}")
        if name in self._state_columns and verdict in (Verdict.KEPT, Verdict.JUMPED_BACK):
            yield Event("state", now_ns, sample.stamp_ns, sample.value)
        if self._is_complete:
            yield from self._observation(now_ns)

    def _take_command(self, topic: str, message: Any, now_ns: int) -> Iterator[Event]:
        if topic in self._standing:
            self._leave_out(topic, standing_line(self._standing[topic]))
            return
        try:
            motion = self._commands.push(self._topics.commands[topic], message, now_ns)
        except ContractError as error:
            self._leave_out(topic, str(error))
            return
        if motion is None:
            return
        self._command_delays[topic].note(motion.stamp_ns, now_ns)
        key = topic, motion.columns
        self._note_command_gap(key, motion.stamp_ns)
        self._last_commands[key] = motion.times_ns[-1], self._observations
        yield Event("command", now_ns, motion.stamp_ns, motion)
        if self._inputs.from_commands:
            values = motion.at(motion.stamp_ns)
            self._inputs.push_commanded(motion.stamp_ns, values, now_ns, motion.columns)
            if self._is_complete:
                yield from self._observation(now_ns)

    def _note_command_gap(self, key: tuple[str, tuple[int, ...]], until_ns: int) -> None:
        """Note that no command came for long while pictures did."""
        last_ns, seen = self._last_commands.get(key, (until_ns, self._observations))
        if until_ns - last_ns > _JUMP_NS and self._observations - seen > _GAP_FRAMES:
            before = self._command_gaps.get(key[0], 0.0)
            self._command_gaps[key[0]] = max(before, (until_ns - last_ns) / 1e9)

    @property
    def _is_complete(self) -> bool:
        """Whether the next observation is there, and no later message could change it."""
        aligner = self._inputs.aligner
        return aligner.reference_ns != self._last_stamp and aligner.state_complete

    def _observation(self, now_ns: int) -> Iterator[Event]:
        aligner = self._inputs.aligner
        reference = aligner.reference_ns
        if reference is None or reference == self._last_stamp:
            return
        found = aligner.observation(self._instruction)
        if found is None:
            return
        self._last_stamp = found.stamp_ns
        self._observations += 1
        if self._observations % _COMPARED == 0:
            self._compare_clocks()
        for slot, stamp in found.image_stamps_ns.items():
            self.accounts[slot].skew(stamp - found.stamp_ns)
        frames = {slot: _frame(value) for slot, value in found.images.items()}
        value = BagObservation(
            found.stamp_ns,
            frames,
            found.state,
            found.instruction,
            dict(found.image_stamps_ns),
            found.state_stamp_ns,
        )
        yield Event("observation", now_ns, found.stamp_ns, value)

    def _leave_out(self, name: str, line: str) -> None:
        self._wrong.setdefault(name, [0, line])[0] += 1

    def timeline(self, kind: Literal["command", "state", "leader"]) -> JointTimeline:
        """An empty timeline for the parts of one kind of event."""
        if kind == "leader":
            return JointTimeline([(0,)])
        columns = self._command_columns if kind == "command" else self._state_columns
        return JointTimeline(list(columns.values()))

    @property
    def refused(self) -> int:
        """Input messages that were left out because their stamps are of another clock."""
        return self._inputs.aligner.refused

    @property
    def contradictory(self) -> bool:
        """Whether streams cannot be of one clock, or a joint of one publisher."""
        return self._clocks.wrong or bool(self._two_sources)

    @property
    def broken(self) -> int:
        """Input messages that were left out because their content does not fit."""
        return sum(count for count, _ in self._wrong.values())


def gap_ns(profile: RobotProfile, least_s: float = GAP_S, fps: float = np.inf) -> float:
    """ns without an observation that are a break: never less than 3 frames of the slowest camera.

    Args:
        least_s: s.
        fps: of the frames that are made, where it is lower.
    """
    rates = [camera.rate for camera in profile.present_cameras.values()]
    return 1e9 * max(least_s, _GAP_FRAMES / min([fps, *rates]))


def alternates(values: Vector) -> bool:
    """Whether (N,) values go to and fro between two, far apart for a joint that moves."""
    step, two = np.abs(np.diff(values))[1:], np.abs(values[2:] - values[:-2])
    return bool(((step > _APART) & (two < 0.2 * step)).mean() > 0.5)


def _near(offsets: Iterable[float]) -> bool:
    return any(abs(value) <= CLOCK_TOLERANCE_S for value in offsets)


def _header_stamp(message: Any) -> int:
    """ns; 0 where there is none."""
    header = getattr(message, "header", None)
    return stamp_ns(header.stamp) if header is not None else 0


def _frame(value: Any) -> Frame:
    return value if isinstance(value, Frame) else Frame(lambda: value)


def need_instruction(sentence: str, where: Path) -> str:
    """A sentence that is not empty.

    Raises:
        ContractError: it is.
    """
    if not sentence.strip():
        line = problem(where.name, "an instruction in the bag", "none", "give --instruction")
        raise ContractError(line)
    return sentence.strip()
