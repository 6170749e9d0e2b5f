# SPDX-License-Identifier: Apache-2.0
"""What a chunk execution strategy decides, on both sides.

Control side: which chunks are followed at a time, and with what weight. Policy side: a declaration
that ``scheduling`` and the policy node read; nothing there is executed here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.control.interpolation import ChunkCurve


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
