# SPDX-License-Identifier: Apache-2.0
"""Whether a node hears what is published for it, and what to do when it does not. No ROS.

A publisher that is there and not heard is either silent itself, or its messages do not get through. New
subscriptions heal the second; where they do not, the same topic is taken by another way as well, and
only if messages come by that one is the node deaf.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from enum import Enum

PATIENCE = 3.0  # s that a stream with a publisher may be silent; also between two steps
RENEWALS = 2  # times that subscriptions are made anew
LOOK_PERIOD = 1.0  # s between two looks
_LONGEST_LOOK = 1.5 * LOOK_PERIOD  # s, most that counts between two looks

_SENDER = "published by"


def with_senders(line: str, senders: Collection[str]) -> str:
    """``cam_high (silent for 3.1 s)`` with the nodes that publish it; as it is where nobody does."""
    if not senders:
        return line
    known = f"{_SENDER} {' and '.join(sorted(senders))}"
    return f"{line[:-1]}, {known})" if line.endswith(")") else f"{line} ({known})"


def advice(line: str) -> str:
    """What to do about an input that is missing: a driver that runs need not be started."""
    if _SENDER in line:
        return "the network loses it (doc/two_machines.md), or its publisher hangs: see its log"
    return "start its driver, check its topic"


class AwakeTime:
    """Time that this process was awake for: where it stood still (paused, or on a computer that is too busy)
    it has taken nothing, and its messages wait for it.

    Args:
        now: steady time, s.
        longest: s, most that counts between two looks.

    Attributes:
        seconds: awake until the last look.
    """

    def __init__(self, now: float, longest: float) -> None:
        self.seconds = 0.0
        self._looked, self._longest = now, longest

    def look(self, now: float) -> float:
        """The ``seconds`` of now."""
        self.seconds += min(now - self._looked, self._longest)
        self._looked = now
        return self.seconds


class Step(Enum):
    """What to do now."""

    NOTHING = 0
    RENEW = 1  # make the subscriptions anew
    CROSS_CHECK = 2  # take the topics by another way as well
    END = 3  # messages come by the other way only


class Hearing:
    """Times of the messages of some streams; its methods may be called by any thread.

    Silence is counted in ``AwakeTime``.

    Args:
        streams: their names.
        now: steady time, s.

    Attributes:
        renewals: times in a row that ``RENEW`` was the answer.
    """

    def __init__(self, streams: Iterable[str], now: float) -> None:
        self._awake = AwakeTime(now, _LONGEST_LOOK)
        self._heard = dict.fromkeys(streams, 0.0)
        self._elsewhere: dict[str, float] = {}  # since when, while it was not heard here
        self._lock = threading.Lock()
        self._next = 0.0
        self._checking = False
        self.renewals = 0

    def note(self, stream: str) -> None:
        """A message has come."""
        with self._lock:
            self._heard[stream] = self._awake.seconds
            self._elsewhere.pop(stream, None)

    def note_elsewhere(self, stream: str) -> None:
        """A message has come by the other way."""
        with self._lock:
            self._elsewhere.setdefault(stream, self._awake.seconds)

    def look(self, published: Collection[str], now: float) -> tuple[Step, list[str]]:
        """What to do, and the streams that have a publisher and are not heard.

        Args:
            published: streams that have a publisher.
            now: steady time, s.
        """
        with self._lock:
            awake = self._awake.look(now)
            for stream in self._heard.keys() - set(published):
                self._heard[stream] = awake  # whoever appears later is given the same time
            deaf = sorted(name for name, at in self._heard.items() if awake - at > PATIENCE)
            if not deaf:
                self.renewals, self._checking = 0, False
                self._elsewhere.clear()
                return Step.NOTHING, []
            return self._step(deaf, awake), deaf

    def _step(self, deaf: list[str], now: float) -> Step:
        if any(now - self._elsewhere.get(name, now) > PATIENCE for name in deaf):
            return Step.END
        if now < self._next or self._checking:
            return Step.NOTHING
        self._next = now + PATIENCE
        if self.renewals < RENEWALS:
            self.renewals += 1
            return Step.RENEW
        self._checking = True
        return Step.CROSS_CHECK
