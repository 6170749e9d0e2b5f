# SPDX-License-Identifier: Apache-2.0
"""Chunk execution strategies by name; to add one, write its class and enter it in ``STRATEGIES``.

A strategy decides on both sides. Control side: which chunks are followed at a time, and with what
weight. Policy side: a declaration that ``scheduling`` and the policy node read.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.control.interpolation import ChunkCurve

FADE_ROWS = 5  # of cross-fade, at most what the old chunk still has
DECAY = 0.01  # per chunk of age rank, as in ACT


@dataclass(frozen=True)
class PolicySide:
    """What a strategy asks of the policy.

    Attributes:
        start: when the next inference begins: ``at_end`` of the executed rows, with the arms at
            rest; ``after_rows``, when the execution horizon has been used; ``at_once``.
        guidance: the flow is guided towards the leftover of the previous chunk.
        trained_prefix: the leading rows are given as clean tokens; the checkpoint must have been
            trained for it (``rtc_max_delay`` in its manifest).
        publish: rows that are sent: the whole ``horizon`` or only the ``executed`` ones.
    """

    start: Literal["at_end", "after_rows", "at_once"]
    guidance: bool = False
    trained_prefix: bool = False
    publish: Literal["horizon", "executed"] = "horizon"

    @property
    def needs_leftover(self) -> bool:
        """Whether the previous chunk has a say in the next one."""
        return self.guidance or self.trained_prefix


@dataclass(frozen=True)
class Weight:
    """Share of a chunk before normalisation, and its rate of change in 1/s."""

    value: float
    rate: float = 0.0


@dataclass(frozen=True)
class Track:
    """A chunk that is or was followed.

    Attributes:
        chunk: as accepted.
        curve: its rows as a function of time.
        spliced_ns: control time at which it was taken up.
    """

    chunk: ActionChunk
    curve: ChunkCurve
    spliced_ns: int


class Strategy(ABC):
    """One way of letting chunks follow each other.

    Attributes:
        name: as in the parameter.
        policy_side: what the policy has to do for it.
        tracks: chunks kept at most.
    """

    name: ClassVar[str]
    policy_side: ClassVar[PolicySide]
    tracks: ClassVar[int] = 1

    @abstractmethod
    def weights(self, tracks: Sequence[Track], time_ns: int) -> list[Weight]:
        """Weights of the tracks (oldest first) at a time; normalised by the caller.

        They must be continuously differentiable in time but where a chunk is taken up.
        """


def newest_only(tracks: Sequence[Track]) -> list[Weight]:
    """The newest chunk alone."""
    return [Weight(0.0)] * (len(tracks) - 1) + [Weight(1.0)]


def smooth_step(time_ns: int, start_ns: int, duration_s: float) -> Weight:
    """0 before ``start_ns``, 1 after the duration, a cubic with flat ends between."""
    u = (time_ns - start_ns) / (duration_s * 1e9)
    if u <= 0.0 or u >= 1.0:
        return Weight(0.0 if u <= 0.0 else 1.0)
    return Weight(u * u * (3.0 - 2.0 * u), 6.0 * u * (1.0 - u) / duration_s)


class Sync(Strategy):
    """Execute the chunk, stand still, infer, execute: the baseline.

    The arms rest from the observation until the chunk arrives, so none of its rows has been consumed
    and ``timeline`` plays it from row 0 at arrival.
    """

    name = "sync"
    policy_side = PolicySide(start="at_end", publish="executed")

    def weights(self, tracks: Sequence[Track], time_ns: int) -> list[Weight]:
        """Only the newest."""
        return newest_only(tracks)


class Async(Strategy):
    """Infer while moving: the newest chunk takes over at its arrival, from its right row."""

    name = "async"
    policy_side = PolicySide(start="after_rows")

    def weights(self, tracks: Sequence[Track], time_ns: int) -> list[Weight]:
        """Only the newest."""
        return newest_only(tracks)


class Rtc(Async):
    """Real-time chunking (arXiv 2506.07339): the next chunk is inpainted around the old one.

    The flow is guided to the leftover in the policy (``rtc_math``). On this side the chunks agree
    where they meet, so the splice is that of ``async``.
    """

    name = "rtc"
    policy_side = PolicySide(start="after_rows", guidance=True)


class RtcTrained(Async):
    """Training-time real-time chunking (arXiv 2512.05964): a hard prefix.

    The rows that will be executed during inference are given to the policy as clean tokens; needs a
    checkpoint trained for it (``rtc_max_delay`` > 0 in its manifest). The splice is that of ``async``.
    """

    name = "rtc_trained"
    policy_side = PolicySide(start="after_rows", trained_prefix=True)


class Blend(Strategy):
    """As ``async``, with a cross-fade in joint space from the old chunk to the new one."""

    name = "blend"
    policy_side = PolicySide(start="after_rows")
    tracks = 2

    def weights(self, tracks: Sequence[Track], time_ns: int) -> list[Weight]:
        """The newest fades in while the one before still has rows."""
        if len(tracks) < 2:
            return [Weight(1.0)]
        old, new = tracks[-2:]
        left_s = (old.curve.end_ns - new.spliced_ns) / 1e9
        window_s = min(FADE_ROWS * new.curve.dt_s, left_s)
        if window_s <= 0.0:
            return [Weight(0.0), Weight(1.0)]
        rising = smooth_step(time_ns, new.spliced_ns, window_s)
        return [Weight(1.0 - rising.value, -rising.rate), rising]


class Ensemble(Strategy):
    """Weighted mean of all chunks that cover a time (ACT, arXiv 2304.13705).

    A baseline that people know: it averages, so two valid ways past an obstacle become one through it.
    Chunks fade in and out over one row, otherwise each arrival would be a step.
    """

    name = "ensemble"
    policy_side = PolicySide(start="at_once")
    tracks = 16

    def weights(self, tracks: Sequence[Track], time_ns: int) -> list[Weight]:
        """exp(-DECAY * rank), rank 0 the oldest, faded over one row at both ends."""
        return [
            _faded(track, math.exp(-DECAY * rank), time_ns) for rank, track in enumerate(tracks)
        ]


def _faded(track: Track, share: float, time_ns: int) -> Weight:
    row_s = track.curve.dt_s
    enter = smooth_step(time_ns, track.spliced_ns, row_s)
    leave = smooth_step(time_ns, track.curve.end_ns - round(row_s * 1e9), row_s)
    present = 1.0 - leave.value
    return Weight(
        share * enter.value * present,
        share * (enter.rate * present - enter.value * leave.rate),
    )


STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy for strategy in (Sync, Async, Blend, Ensemble, Rtc, RtcTrained)
}


def make_strategy(name: str) -> Strategy:
    """A strategy by name.

    Raises:
        ContractError: no such strategy.
    """
    if name not in STRATEGIES:
        raise ContractError(
            problem("strategy", f"one of {', '.join(STRATEGIES)}", repr(name), "correct it")
        )
    return STRATEGIES[name]()
