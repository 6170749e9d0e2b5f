# SPDX-License-Identifier: Apache-2.0
"""What control would have made of the chunks: the real control core over the recording's time.

The arms of a recording do not answer to commands, so control sees arms that follow exactly, from
the first recorded pose on. How far chunks are from the recorded pose is in ``chunk_limits``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.joint_map import state_to_command
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.core import ControlCore
from adamoe_ros.control.settings import ControlSettings
from adamoe_ros.streams.align import AlignSettings

Vector = NDArray[np.float64]
_PAUSE_NS = 2_000_000_000  # of a recording that control does not live through
_JUMP_NS = round(AlignSettings.jump_s * 1e9)  # of time going back: the recording begins anew
_GENERATION = 1


class Execution:
    """Control over one bag.

    Args:
        profile: the robot.
        strategy: of chunk execution.
        latency_s: from an observation's stamp to the arrival of its chunk.
        keep: called with (time ns, command (J,)) of each tick; None: nobody listens.

    Attributes:
        start_problems: why control could not begin at the recorded pose; it is tried again.
    """

    def __init__(
        self,
        profile: RobotProfile,
        strategy: str,
        latency_s: float,
        keep: Callable[[int, Vector], None] | None = None,
    ) -> None:
        self._make_core = lambda: ControlCore(
            profile, ControlSettings(strategy=strategy, start_ramp=True)
        )
        self._core = self._make_core()
        self._latency = round(latency_s * 1e9)
        self._keep = keep
        self._period = round(self._core.period_s * 1e9)
        self._next: int | None = None
        self._waiting: deque[ActionChunk] = deque()
        self.start_problems: list[str] = []
        self.refused: dict[str, int] = {}
        self.causes: dict[str, int] = {}
        self._chunk_ids = 0
        self._to_state = state_to_command(profile)  # inverted: commands are what is measured next
        self._pose: Vector = np.zeros(len(profile.joint_ids))

    def state(self, now_ns: int, measured: Vector) -> None:
        """The whole recorded pose, driver's state units: time goes on, or begins here."""
        if self._next is not None and now_ns < self._next - _JUMP_NS:
            self._next = now_ns
        if self._next is not None and now_ns > self._next + _PAUSE_NS:
            self.advance(self._next + _PAUSE_NS)
            self._waiting.clear()
            self._core, self._next = self._make_core(), None  # as after a break
        if self._next is None:
            self._begin(now_ns, measured)
        self.advance(now_ns)

    def _begin(self, now_ns: int, measured: Vector) -> None:
        try:
            self._core.activate(now_ns, measured)
        except ContractError as error:
            self.start_problems = list(error.problems)
            return
        self.start_problems = []
        self._pose = measured
        self._core.on_run(_GENERATION)
        self._next = now_ns

    def chunk(self, stamp_ns: int, names: tuple[str, ...], dt_s: float, positions: Vector) -> None:
        """A chunk; it takes effect after the latency."""
        self._chunk_ids += 1
        self._waiting.append(
            ActionChunk(stamp_ns, self._chunk_ids, _GENERATION, names, dt_s, positions)
        )

    def advance(self, until_ns: int) -> None:
        """Every tick up to a time."""
        while self._next is not None and self._next <= until_ns:
            now = self._next
            while self._waiting and self._waiting[0].stamp_ns + self._latency <= now:
                self._take(self._waiting.popleft(), now)
            self._core.on_heartbeat(now)
            self._core.on_state(now, self._pose)
            result = self._core.tick(now)
            if result.command is not None:
                self._pose = self._to_state.invert(result.command)
            if result.hold_cause:
                self.causes[result.hold_cause] = self.causes.get(result.hold_cause, 0) + 1
            if self._keep is not None and result.command is not None:
                self._keep(now, result.command)
            self._next = now + self._period

    def _take(self, chunk: ActionChunk, now_ns: int) -> None:
        verdict = self._core.on_chunk(chunk, now_ns)
        if not verdict.accepted:
            reason = verdict.reason.split(":")[0]
            self.refused[reason] = self.refused.get(reason, 0) + 1
        if verdict.aborted:
            self._core.on_run(_GENERATION)  # a person would; the rest is of interest, too

    def as_dict(self) -> dict[str, Any]:
        """For results.json."""
        now = self._next or 0
        status, names = self._core.status(now), self._core.joint_ids
        clips = {
            "position": status.position_clips,
            "velocity": status.velocity_clips,
            "acceleration": status.acceleration_clips,
        }
        return {
            "ticks": status.ticks,
            "rate_hz": round(1.0 / self._core.period_s, 3),
            "accepted_chunks": status.accepted_chunks,
            "rejected_chunks": status.rejected_chunks,
            "late_chunks": status.late_chunks,
            "refused_for": dict(self.refused),
            "holds": status.holds,
            "hold_ticks_by_cause": dict(self.causes),
            "clipped": {
                kind: {name: int(count) for name, count in zip(names, counts, strict=True) if count}
                for kind, counts in clips.items()
            },
            "clipped_ticks": {kind: int(counts.sum()) for kind, counts in clips.items()},
            "seams": asdict(self._core.metrics.summary()),
            "start_problems": self.start_problems,
        }
