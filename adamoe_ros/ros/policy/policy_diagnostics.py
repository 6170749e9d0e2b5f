# SPDX-License-Identifier: Apache-2.0
"""What policy_node tells about itself: its status message and its diagnostics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.control.scheduling import InferenceScheduler
from adamoe_ros.msg import PolicyStatus
from adamoe_ros.policy.actor_base import BaseActor
from adamoe_ros.ros.diagnostics import Diagnostic, Level
from adamoe_ros.ros.policy.goal_executor import FAULTS, GoalExecutor
from adamoe_ros.ros.policy.gpu import device_diagnostic, host_memory
from adamoe_ros.ros.policy.input_diagnostics import inputs_diagnostic
from adamoe_ros.ros.policy.policy_inputs import PolicyInputs
from adamoe_ros.ros.policy.policy_messages import expert_messages, to_time
from adamoe_ros.ros.policy.policy_stats import LatencyWindow

END_TO_END = "stamp_to_chunk"  # s of ROS time, camera stamp -> chunk published


class PolicyReport:
    """Figures since the node was configured.

    Args:
        window: inferences that the percentiles cover.
    """

    def __init__(self, window: int) -> None:
        self.latency = LatencyWindow(window)
        self.experts: Sequence[Mapping[str, Any]] = ()
        self.chunks = 0

    def note(self, made: Inference, age_s: float) -> None:
        """One chunk was published, ``age_s`` of ROS time after its observation."""
        self.latency.add({**made.stages, END_TO_END: age_s})
        self.experts = made.experts
        self.chunks += 1


def status_message(
    report: PolicyReport,
    *,
    now_ns: int,
    state: str,
    executor: GoalExecutor,
    inputs: PolicyInputs | None,
    actor: BaseActor | None,
) -> PolicyStatus:
    """The heartbeat."""
    stages = report.latency.stages()
    newest = inputs.newest_ns if inputs is not None else None
    message = PolicyStatus(
        state=state,
        phase=executor.phase(),
        instruction=executor.instruction,
        generation=executor.generation,
        chunks=report.chunks,
        dropped_frames=inputs.unused_frames if inputs is not None else 0,
        observation_age=(now_ns - newest) / 1e9 if newest is not None else -1.0,
        missing=", ".join(inputs.missing()) if inputs is not None else "not configured",
        stages=[stage.name for stage in stages],
        latency_last=[stage.last for stage in stages],
        latency_p50=[stage.p50 for stage in stages],
        latency_p95=[stage.p95 for stage in stages],
        latency_p99=[stage.p99 for stage in stages],
        peak_memory=_peak_memory(actor),
        device=actor.device if actor is not None else "",
        experts=expert_messages(report.experts),
    )
    message.header.stamp = to_time(now_ns)
    return message


def _peak_memory(actor: BaseActor | None) -> float:
    """Bytes on the device, or of this process where the model runs on the CPU."""
    on_device = actor.peak_memory() if actor is not None else 0
    return float(on_device or host_memory())


def diagnostics(
    report: PolicyReport,
    inputs: PolicyInputs | None,
    actor: BaseActor | None,
    schedule: InferenceScheduler | None,
    executor: GoalExecutor,
    state: str,
) -> list[Diagnostic]:
    """Diagnostics: goal, inputs, inference, device.

    Args:
        schedule: for its counters; None before the first activation.
        state: of the lifecycle.
    """
    if inputs is None or actor is None:
        return [Diagnostic("policy", Level.STALE, f"not configured ({state})")]
    return [
        _goal(executor, state),
        inputs_diagnostic(inputs.missing(), inputs.health(), inputs.declared_rates),
        _inference(report, actor, schedule),
        device_diagnostic(actor.device),
    ]


def _goal(executor: GoalExecutor, state: str) -> Diagnostic:
    """What the policy is asked to do, and how the last goal ended where it ended badly."""
    values: dict[str, object] = {
        "lifecycle state": state,
        "instruction": executor.instruction,
        "generation": executor.generation,
    }
    if executor.ended is not None:
        values["last result"], values["last message"] = executor.ended
    if state != "active":
        return Diagnostic("goal", Level.OK, f"{state}: takes no goals", values)
    if executor.busy:
        return Diagnostic("goal", Level.OK, f"{executor.phase()}: {executor.instruction!r}", values)
    if executor.ended is not None and executor.ended[0] in FAULTS:
        return Diagnostic("goal", Level.WARN, f"the last goal failed: {executor.ended[1]}", values)
    return Diagnostic("goal", Level.OK, "waits for a goal", values)


def _inference(
    report: PolicyReport, actor: BaseActor, schedule: InferenceScheduler | None
) -> Diagnostic:
    values: dict[str, object] = {"chunks": report.chunks, "device": actor.device}
    level, message = Level.OK, "no chunk yet" if report.chunks == 0 else "ok"
    for stage in report.latency.stages():
        values[f"{stage.name} p50 (s)"] = stage.p50
        values[f"{stage.name} p95 (s)"] = stage.p95
        values[f"{stage.name} p99 (s)"] = stage.p99
        if stage.name == END_TO_END and stage.p95 > actor.horizon * actor.dt_s:
            level = Level.WARN
            message = "chunks are older than they last: use fewer flow steps or a faster device"
    values["peak memory (MiB)"] = _peak_memory(actor) / 2**20
    if schedule is not None:
        values["delay (rows)"] = schedule.delay_rows
        values["rows between observations"] = schedule.execution_rows
        values["dropped chunks"] = schedule.dropped
        values["delays beyond the trained prefix"] = schedule.overlong
        if schedule.starved:
            level = Level.WARN
            message = "chunks run out before the next is there: use fewer flow steps"
    if actor.fault:
        level, message = Level.ERROR, actor.fault
    return Diagnostic("inference", level, message, values)
