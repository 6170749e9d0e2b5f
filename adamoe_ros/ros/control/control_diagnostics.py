# SPDX-License-Identifier: Apache-2.0
"""What ``control_status`` means for a person: diagnostics for /diagnostics, and the next thing to do.

Reads the message only, duck-typed: imports no ROS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adamoe_ros.control.settings import Cause
from adamoe_ros.control.status import Mode, Source
from adamoe_ros.ros.diagnostics import Diagnostic, Level

_MODES = {
    Mode.INACTIVE: "inactive",
    Mode.HOLD: "holding",
    Mode.RUNNING: "running",
    Mode.ESTOP: "emergency stop",
}
_JITTER_SHARE = 0.5  # of the period: beyond it commands are no longer evenly spaced
_MISSED_SHARE = 0.01  # of the ticks

# why the arms hold -> what to do; causes that need nothing are left out
ADVICE = {
    Cause.CHUNK_EXHAUSTED: "the policy is slower than its chunks last: look at its latency",
    Cause.CHUNK_LOST: "no new chunk comes: look at policy_node's status and log",
    Cause.CONFLICT: "stop the other node, then send the goal again",
    Cause.STATE_STALE: "joint states stopped: look at the driver and its topic",
    Cause.POLICY_LOST: "policy_node is silent: look whether it runs (launch respawns it)",
    Cause.REJECTED_CHUNKS: "chunks were refused: the log of control_node has the reason",
    Cause.TRACKING_ERROR: "the arms do not follow their commands: collision, brake, driver off?",
    Cause.CLOCK_JUMP: "time went back (bag loop, simulator reset): waits for a new chunk",
    Cause.LEADER_STALE: "the leader arms are silent: look at their driver, or let the dead-man go",
    Cause.LEADER_FAR: "move the leader to where the arms are, or set start_ramp",
    Cause.TAKEOVER_RELEASED: "call the service resume, press the dead-man again, or send a goal",
    Cause.DEADMAN_LOST: "the dead-man fell silent: look at its node, then resume or press it anew",
    Cause.EMERGENCY_STOP: "make the cell safe, then call the reset service",
}


def advice(cause: str) -> str:
    """What to do about a hold cause; empty for one that needs nothing."""
    return ADVICE.get(cause, "")


@dataclass(frozen=True)
class Timing:
    """What the period should be, and the latest extremes."""

    period_s: float
    jitter_p999_s: float


def diagnostics(status: Any, timing: Timing) -> Sequence[Diagnostic]:
    """One diagnostic each for motion, inputs, gate, chunks and timing.

    Args:
        status: ControlStatus message.
        timing: of the control ticks.
    """
    return [
        _motion(status),
        _inputs(status),
        _gate(status),
        _chunks(status),
        _timing(status, timing),
    ]


def _motion(status: Any) -> Diagnostic:
    text = "a human leads" if status.source == Source.HUMAN else _MODES[status.mode]
    text += " (shadow: nothing moves)" if status.shadow else ""
    if status.hold_cause:
        hint = status.hold_detail or advice(status.hold_cause)
        text += f": {status.hold_cause}" + (f"; {hint}" if hint else "")
    level = Level.WARN if advice(status.hold_cause) else Level.OK
    if status.mode == Mode.ESTOP or status.hold_cause == Cause.CONFLICT:
        level = Level.ERROR
    values = {"holds": status.holds, "hold share": status.hold_share}
    return Diagnostic("motion", level, text, values)


def _inputs(status: Any) -> Diagnostic:
    values = {
        "joint state age (s)": status.state_age,
        "chunk age (s)": status.chunk_age,
        "policy age (s)": status.policy_age,
        "leader age (s)": status.leader_age,
        "dead-man age (s)": status.deadman_age,
        "command age (s)": status.command_age,
    }
    if status.mode == Mode.INACTIVE:
        return Diagnostic("inputs", Level.OK, "not active", values)
    if status.state_age < 0:
        return Diagnostic("inputs", Level.ERROR, "no joint state yet; start the driver", values)
    if status.hold_cause == Cause.STATE_STALE:
        return Diagnostic(
            "inputs", Level.ERROR, f"joint states stopped; {ADVICE[Cause.STATE_STALE]}", values
        )
    return Diagnostic("inputs", Level.OK, "joint states are live", values)


def _gate(status: Any) -> Diagnostic:
    values: dict[str, object] = {}
    clipped: set[str] = set()
    for cause in ("position", "velocity", "acceleration", "step"):
        counts = getattr(status, f"{cause}_clips")
        for joint, count in zip(status.joint_names, counts, strict=False):
            if count:
                values[f"{joint} {cause} clips"] = int(count)
                clipped.add(cause)
    if status.workspace_clips:
        values["workspace clips"] = int(status.workspace_clips)
        clipped.add("workspace")
    if "step" in clipped:
        return Diagnostic(
            "gate",
            Level.WARN,
            f"arms far from their commands; {ADVICE[Cause.TRACKING_ERROR]}",
            values,
        )
    text = f"limited in {', '.join(sorted(clipped))}" if clipped else "no interventions"
    return Diagnostic("gate", Level.OK, text, values)


def _chunks(status: Any) -> Diagnostic:
    values = {
        "accepted": status.accepted_chunks,
        "rejected": status.rejected_chunks,
        "late": status.late_chunks,
        "seams": status.seams,
        "repeated rows": status.repeated_rows,
        "skipped rows": status.skipped_rows,
    }
    if status.rejected_chunks:
        return Diagnostic(
            "chunks", Level.WARN, f"some were refused; {ADVICE[Cause.REJECTED_CHUNKS]}", values
        )
    return Diagnostic("chunks", Level.OK, "none refused", values)


def _timing(status: Any, timing: Timing) -> Diagnostic:
    values = {
        "rate (Hz)": status.rate,
        "missed ticks": status.missed_ticks,
        "jitter p99 (s)": status.jitter_p99,
        "jitter p99.9 (s)": timing.jitter_p999_s,
    }
    if status.ticks == 0:
        return Diagnostic("timing", Level.OK, "no ticks", values)
    late = status.jitter_p99 > _JITTER_SHARE * timing.period_s
    missed = status.missed_ticks > _MISSED_SHARE * status.ticks
    if late or missed:
        text = "ticks are uneven; set realtime_priority, or take load off this machine"
        return Diagnostic("timing", Level.WARN, text, values)
    return Diagnostic("timing", Level.OK, "ticks are even", values)
