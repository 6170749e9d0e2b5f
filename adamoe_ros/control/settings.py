# SPDX-License-Identifier: Apache-2.0
"""How the control core behaves, beyond the robot's profile; and the names of its holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from adamoe_ros.contract.parameters import Parameters, param, same_as
from adamoe_ros.control.policy_settings import PolicySettings


@dataclass(frozen=True)
class ControlSettings(Parameters):
    """What the control core takes of the node's parameters; the dynamic ones may be replaced."""

    rate: float = param(
        0.0, "Command rate; 0: the profile's command_rate.", unit="Hz", bounds=(0.0, 1000.0)
    )
    strategy: str = same_as(PolicySettings, "strategy")
    smoothing: float = param(
        0.0,
        "Window over which the rows of a chunk are smoothed, without delay (local quadratic fit; not "
        "the grippers): for policies whose rows are noisy. 0: rows are played as they come.",
        unit="s",
        bounds=(0.0, 1.0),
    )
    max_speed_scale: float = param(
        1.0,
        "Share of the joints' velocity limits that may be used.",
        bounds=(0.02, 1.0),
        dynamic=True,
    )
    start_ramp: bool = param(
        False,
        "Move slowly to the first row, or to the leader arms of a human who takes over, where that "
        "is farther away than gate.max_start_distance, instead of refusing it.",
        dynamic=True,
    )
    start_ramp_speed: float = param(
        0.2,
        "Share of the joints' velocity limits during that slow approach.",
        bounds=(0.02, 1.0),
        dynamic=True,
    )
    takeover_release: str = param(
        "hold",
        "When a human lets the dead-man go: hold until the service resume is called, or give the "
        "arms back to the policy. A dead-man that falls silent is always a hold.",
        choices=("hold", "policy"),
        dynamic=True,
    )
    hold_output: bool = param(
        True, "Send the held command in every tick while holding; false: send nothing then."
    )
    estop_output: bool = param(
        False,
        "Send the held command in every tick after an emergency stop; false: send it once, then nothing.",
    )

    def changeable(self) -> dict[str, Any]:
        """What may change while active, by name."""
        items = ControlSettings.declarations()
        return {item.name: getattr(self, item.name) for item in items if item.spec.dynamic}

    def with_changes(self, **values: float | bool | str) -> ControlSettings:
        """A copy with other values of what may change while active (ValueError: of another)."""
        fixed = set(values) - set(self.changeable())
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
    # a human has the arms (dead-man held), and ...
    LEADER_STALE = "leader_stale"  # the leader arms are silent
    LEADER_FAR = "leader_far"  # they are too far from the arms to be followed
    # the human has let them go
    TAKEOVER_RELEASED = "takeover_released"  # into a hold: until resume, a press or another goal
    DEADMAN_LOST = "deadman_lost"  # the dead-man fell silent: as above
    TAKEOVER = "takeover"  # the policy has them back: until the RUN of its next generation


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
