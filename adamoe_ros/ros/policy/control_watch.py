# SPDX-License-Identifier: Apache-2.0
"""Can control_node follow the running goal? Judged by what ``control_status`` says.

Times are of the steady clock. One status may have been under way before the goal began, or have been
made between two control ticks: what speaks against the goal must be said twice.
"""

from __future__ import annotations

from typing import Any

from adamoe_ros.contract.errors import problem
from adamoe_ros.control.settings import DOUBTS, Cause
from adamoe_ros.control.status import Mode
from adamoe_ros.ros.policy.hearing import AwakeTime

_TWICE = 2
_TAKEN_S = 1.0  # after which control must have taken a RUN
_UNHEARD = 5  # chunks that were sent and are not counted in any way
_DROPPED = 5  # chunks in a row that came too late
CONTROL_SILENT = 2.0  # s without control_status after which control_node is gone
_LOOK = 0.1  # s, most that counts between two looks
_ADVICE = {
    Cause.NOT_STARTED: "it was started again, or a HOLD came from elsewhere: send the goal again",
    Cause.REJECTED_CHUNKS: "control_node refused several chunks in a row: its log has the reason",
    Cause.CONFLICT: "stop the other node, then send the goal again",
}
_ELSEWHERE = "another node publishes on motion: stop it, then send the goal again"


class ControlWatch:
    """What control_node says since a RUN was sent.

    Attributes:
        followed: a chunk of the goal has been followed.
        status: the newest; None: never heard.
    """

    def __init__(self) -> None:
        self.status: Any = None
        self.begin(0, 0.0)

    def begin(self, generation: int, now: float) -> None:
        """RUN was sent for a generation: a goal begins, goes on, or has another sentence."""
        self.followed = False
        self._generation = generation
        self._began = now
        self._taken = self._restarted = False
        self._inactive = self._stopped = self._heard = 0
        self._sent = self._last_id = 0
        self._counted: tuple[int, int] | None = None  # what control had counted, what was sent then
        self._counted_at = now
        self._accepted, self._late = -1, 0
        self._awake, self._heard_at = AwakeTime(now, _LOOK), 0.0

    def go_on(self, generation: int, now: float) -> None:
        """As ``begin``, within the same goal."""
        kept = self.followed, self._awake, self._heard_at
        self.begin(generation, now)
        self.followed, self._awake, self._heard_at = kept

    def sent(self, chunk_id: int) -> None:
        """A chunk of the generation is about to be published."""
        self._sent += 1
        self._last_id = chunk_id

    def hear(self, status: Any, now: float) -> None:
        """A ControlStatus came."""
        before, self.status = self.status, status
        self._heard_at = self._awake.seconds
        ours = status.generation == self._generation
        self._heard += 1
        self._inactive = self._inactive + 1 if status.mode == Mode.INACTIVE else 0
        self._restarted |= self._taken and before is not None and status.ticks < before.ticks
        self._taken |= ours and status.mode != Mode.INACTIVE
        self.followed |= ours and status.chunk_id > 0
        stopped = self._taken and (not ours or status.hold_cause not in (*DOUBTS, ""))
        stopped = stopped and not (status.takeover or status.hold_cause == Cause.TAKEOVER)
        conflict = status.hold_cause == Cause.CONFLICT
        ticked = before is None or status.ticks != before.ticks  # the cause is of the last tick
        self._stopped = self._stopped + ticked if stopped or conflict else 0
        self._count(status, now)

    def silent(self, now: float) -> bool:
        """Whether control_node has said nothing for ``CONTROL_SILENT`` of ``AwakeTime``; asked at every look."""
        return self._awake.look(now) - self._heard_at > CONTROL_SILENT

    def _count(self, status: Any, now: float) -> None:
        handled = status.accepted_chunks + status.rejected_chunks + status.late_chunks
        if self._counted is None or handled != self._counted[0]:
            self._counted, self._counted_at = (handled, self._sent), now
        if status.accepted_chunks != self._accepted:
            self._accepted, self._late = status.accepted_chunks, status.late_chunks

    def refusal(self, now: float) -> str:
        """Why control does not follow the goal, one line; empty: it does, or says nothing at all."""
        status = self.status
        if status is None or not self._heard:
            return ""
        if self._inactive >= _TWICE:
            return problem("control_node", "active", "inactive", "activate it, send the goal again")
        if self._restarted:
            line = "started again within the goal"
            return problem("control_node", "to go on", line, "send the goal again")
        if self._stopped >= _TWICE:
            return self._stop_line(status)
        if not self._taken:
            waited = now - self._began > _TAKEN_S and self._heard > _TWICE
            got = f"generation {status.generation} ({status.hold_cause or 'running'})"
            return problem("control_node", "this goal's RUN", got, _ELSEWHERE) if waited else ""
        return self._chunk_line(status, now)

    def _stop_line(self, status: Any) -> str:
        if status.hold_cause != Cause.CONFLICT and status.generation != self._generation:
            got = f"generation {status.generation} of another RUN"
            return problem("control_node", "this goal to be followed", got, _ELSEWHERE)
        do = status.hold_detail or _ADVICE.get(status.hold_cause, _ELSEWHERE)
        return problem("control_node", "to follow the goal", f"a hold ({status.hold_cause})", do)

    def _chunk_line(self, status: Any, now: float) -> str:
        if status.generation == self._generation and status.chunk_id > self._last_id:
            got = f"chunk {status.chunk_id} from elsewhere"
            do = "stop the other publisher of action_chunk"
            return problem("control_node", f"chunks up to {self._last_id}", got, do)
        counted = self._counted or (0, 0)
        if self._sent - counted[1] >= _UNHEARD and now - self._counted_at > _TAKEN_S:
            do = "compare the topic action_chunk of both nodes"
            return problem("control_node", "to hear the chunks", "none of the last", do)
        if status.late_chunks - self._late >= _DROPPED:
            got = f"{status.late_chunks - self._late} dropped in a row, too late or superseded"
            do = "look at the policy's latency and at the clocks of both computers"
            return problem("control_node", "to follow the chunks", got, do)
        return ""
