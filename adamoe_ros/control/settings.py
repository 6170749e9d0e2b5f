# SPDX-License-Identifier: Apache-2.0
"""How the control core behaves, beyond the robot's profile; and the names of its holds."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ControlSettings:
    """Set by the node's parameters; those marked * may be replaced while active.

    Attributes:
        rate_hz: command rate; 0: the profile's.
        strategy: name in ``strategies.STRATEGIES``.
        smoothing_s: window over which the rows of a chunk are smoothed (``smoothing``); 0: not.
        max_speed_scale: * share of the velocity limits that may be used, 0..1.
        start_ramp: * approach a far first row slowly instead of refusing the chunk.
        start_ramp_speed: * share of the velocity limits during that approach.
        hold_output: publish in every tick while holding.
        estop_output: publish in every tick after an emergency stop.
    """

    rate_hz: float = 0.0
    strategy: str = "async"
    smoothing_s: float = 0.0
    max_speed_scale: float = 1.0
    start_ramp: bool = False
    start_ramp_speed: float = 0.2
    hold_output: bool = True
    estop_output: bool = False

    def changed(self, **values: float | bool) -> ControlSettings:
        """A copy with other values of what may change while active (ValueError: of another)."""
        fixed = set(values) - {"max_speed_scale", "start_ramp", "start_ramp_speed"}
        if fixed:
            raise ValueError(f"fixed while active: {', '.join(sorted(fixed))}")
        return replace(self, **values)  # type: ignore[arg-type]


class Cause:
    """Values of ``hold_cause``. MotionCommand reasons appear beside these, in snake case."""

    NOT_STARTED = "not_started"  # no RUN since activation
    RESET = "reset"  # emergency stop was reset, no RUN since
    EMERGENCY_STOP = "emergency_stop"
    REJECTED_CHUNKS = "rejected_chunks"  # too many in a row; needs a new RUN
    CONFLICT = "conflict"  # another node commands, plans or measures for this robot; needs a RUN
    STATE_STALE = "state_stale"
    POLICY_LOST = "policy_lost"
    TRACKING_ERROR = "tracking_error"
    NO_CHUNK = "no_chunk"  # none yet of this generation
    CLOCK_JUMP = "clock_jump"  # time went back; waits for a new chunk
    CHUNK_EXHAUSTED = "chunk_exhausted"  # last row held, the next chunk is expected
    CHUNK_LOST = "chunk_lost"  # ... and has not come for longer than watchdogs.chunk


# the arms go on by themselves when the doubt is gone; every other cause needs a new RUN
DOUBTS = (
    Cause.STATE_STALE,
    Cause.POLICY_LOST,
    Cause.TRACKING_ERROR,
    Cause.NO_CHUNK,
    Cause.CLOCK_JUMP,
    Cause.CHUNK_EXHAUSTED,
    Cause.CHUNK_LOST,
)
# the motion has its own end here: the reference stands still, the gate follows it to there
AT_LAST_ROW = (Cause.CHUNK_EXHAUSTED, Cause.CHUNK_LOST)
