# SPDX-License-Identifier: Apache-2.0
"""control_node: chunks in, bounded joint commands out, at a steady rate.

Its own process with one thread: inference elsewhere must not delay a tick. Every decision about
motion is made in ``control/``; this file subscribes, ticks, publishes and reports.

Clocks: without simulation time the tick timer runs on the steady clock, so a step of the wall clock
cannot stop it, and the core sees ROS time. With ``use_sim_time`` ticks follow ``/clock``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.timer import Timer
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.control.core import ControlCore
from adamoe_ros.control.settings import Cause
from adamoe_ros.control.status import Mode, Source, TickResult
from adamoe_ros.control.workspace import load_workspace
from adamoe_ros.msg import ActionChunk, ControlStatus, MotionCommand, PolicyStatus
from adamoe_ros.ros import names, qos
from adamoe_ros.ros.conflicts import DECISION_S
from adamoe_ros.ros.control.command_outputs import CommandOutputs
from adamoe_ros.ros.control.control_conflicts import ControlConflicts
from adamoe_ros.ros.control.control_diagnostics import (
    Timing,
    advice,
    diagnostics,
)
from adamoe_ros.ros.control.control_inputs import ControlInputs
from adamoe_ros.ros.control.control_messages import chunk_from_message, status_message
from adamoe_ros.ros.control.control_parameters import ControlParameters
from adamoe_ros.ros.control.realtime import lock_memory, quiet_garbage_collector, use_fifo
from adamoe_ros.ros.control.ticks import TickMonitor
from adamoe_ros.ros.diagnostics import others_diagnostic
from adamoe_ros.ros.diagnostics_publisher import Diagnostic, DiagnosticsPublisher, Level
from adamoe_ros.ros.lifecycle import ManagedNode, clock_subscription
from adamoe_ros.ros.topic_reader import Takers, take_while, without_info
from adamoe_ros.streams.clocks import Delays, clock_difference
from adamoe_ros.streams.joint_states import JointSample
from adamoe_ros.streams.messages import stamp_ns

_LOG_EVERY = 5.0  # s between lines about the same refusal
_STATE_WAIT = 1.0  # s that activation by hand waits for the first joint states
_STEADY = Clock(clock_type=ClockType.STEADY_TIME)


class ControlNode(ManagedNode[ControlParameters]):
    """The node; see the module for what it does and ``doc/control_node.md`` for its interface."""

    def __init__(self) -> None:
        super().__init__(names.CONTROL_NODE, ControlParameters)
        self._core: ControlCore | None = None
        self._inputs: ControlInputs | None = None
        self._outputs: CommandOutputs | None = None
        self._ticker: Timer | None = None
        self._monitor = TickMonitor(1.0)
        self._conflicts = ControlConflicts(self)
        self._conflict = ""
        self._policy_delays = Delays()
        self._status = self.create_publisher(
            ControlStatus, names.CONTROL_STATUS, qos.CONTROL_STATUS
        )
        self._diagnostics = DiagnosticsPublisher(self, self._collect_diagnostics)
        self.create_service(Trigger, names.EMERGENCY_STOP, self._serve_stop)
        self.create_service(Trigger, names.RESET, self._serve_reset)
        self.create_service(Trigger, names.RESUME, self._serve_resume)
        self.create_timer(1.0 / self.params.status_rate, self._report, clock=_STEADY)
        for refused in self._ask_for_real_time():
            self.get_logger().warning(refused)

    def _ask_for_real_time(self) -> list[str]:
        priority = self.params.realtime_priority
        asked = [use_fifo(priority)] if priority else []
        asked += [lock_memory()] if self.params.lock_memory else []
        return [line for line in asked if line]

    # --- lifecycle ------------------------------------------------------------------------------

    def wait_for_discovery(self) -> None:
        """Another control_node, and whoever publishes commands."""
        self._conflicts.wait_for_discovery(self.ending)

    def setup(self) -> None:
        """Profile, core, topics."""
        path = profile_path(self.params.robot, robots_dir())
        profile = load_profile(path)
        inside = load_workspace(profile, path.parent)
        self._core = ControlCore(profile, self.params, inside)
        self._monitor = TickMonitor(self._core.period_s)
        self._diagnostics.hardware_id = profile.name
        ahead = self.params.trajectory_time or 2.0 * self._core.period_s
        self._outputs = CommandOutputs(self, profile, self.params.shadow, ahead)
        self._conflicts.watch_robot(profile, self.params.shadow)
        self._inputs = ControlInputs(self, profile, self, self._conflicts)
        quiet_garbage_collector()

    def start(self) -> None:
        """Begin to command: hold where the arms are."""
        if not self.starting:  # who activates by hand, right after configure, gets one answer
            self._await_inputs()
        core, now = self._need_core(), self._now()
        self._find_conflicts()
        others = self._conflicts.lines() or self._conflicts.undecided()
        if others:
            raise ContractError(others)
        core.activate(now, self._fresh_state(now).positions)
        log = Path(self.params.tick_log) if self.params.tick_log else None
        self._monitor = TickMonitor(core.period_s, log=log)
        clock = None if self._sim_time else _STEADY
        self._ticker = self.create_timer(core.period_s, self._tick, clock=clock)

    def _await_inputs(self) -> None:
        """Until joint states have come, and until it is known who else is there; not for long."""
        inputs, begun = self._inputs, time.monotonic()
        assert inputs is not None
        clock = clock_subscription(self)
        ticks: Takers = {} if clock is None else {clock: without_info(clock.callback)}

        def takers() -> Takers:
            return ticks | inputs.takers | self._conflicts.takers

        def waiting() -> bool:
            self._find_conflicts()
            waited = time.monotonic() - begun
            late = waited < _STATE_WAIT and bool(inputs.reader.problems(self._now()))
            return late or (waited < DECISION_S and bool(self._conflicts.undecided()))

        take_while(self, takers, waiting)

    def _fresh_state(self, now: int) -> JointSample:
        """The newest whole joint state.

        Raises:
            ContractError: joints that are silent or whose stamps are old, one line per topic.
        """
        if self._inputs is None:
            raise ValueError("there are inputs between setup and teardown only")
        do = f"start the driver, or correct the topic ('adamoe doctor --robot {self.params.robot} --live')"
        reader = self._inputs.reader
        problems, sample = reader.problems(now, do), reader.sample
        if problems:
            raise ContractError([*problems, *self._clock_differences()])
        if sample is None:
            raise ValueError("every joint is fresh, so there is a sample")
        return sample

    def stop(self) -> None:
        """End with a command that stands still, and send nothing more."""
        if self._ticker is not None:
            self.destroy_timer(self._ticker)
            self._ticker = None
            self._monitor.save()
        if self._core is not None:
            self._send_standing()
            self._core.deactivate()
            self._publish_status()

    def _send_standing(self) -> None:
        """The last command once more, at rest: a trajectory's velocity must not outlive us."""
        if self._core is None or self._outputs is None or self._core.mode is Mode.INACTIVE:
            return
        held = self._core.status(self._now()).commanded
        if held.size:
            self._outputs.send(held, np.zeros_like(held))

    def teardown(self) -> None:
        """Close topics, forget the robot."""
        for end in (self._inputs, self._outputs):
            if end is not None:
                end.close()
        self._conflicts.forget_robot()
        self._inputs = self._outputs = self._core = None

    def parameters_changed(self, values: ControlParameters) -> None:
        """Speed and start ramp take effect with the next tick."""
        if self._core is not None:
            self._core.change(**values.changeable())

    # --- the tick -------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._monitor.tick(time.monotonic() if not self._sim_time else self._now() / 1e9)
        result = self._need_core().tick(self._now())
        self._monitor.note(result.source)
        wanted = result.publish or result.changed  # the first command of a hold always goes out
        if wanted and self._outputs and result.command is not None and result.velocity is not None:
            self._outputs.send(result.command, result.velocity)
        if result.changed:
            self._announce(result)
            self._publish_status()
            self._diagnostics.refresh()

    # --- inputs (Listener of ControlInputs) -----------------------------------------------------

    def on_state(self, sample: JointSample) -> None:
        """To the core."""
        core = self._need_core()
        impossible = core.on_state(sample.stamp_ns, sample.positions, sample.valid_until_ns)
        if impossible:
            do = "correct the driver, or unit and limits in the profile"
            line = problem("joint states", "positions near the limits", impossible, do)
            self.on_bad_state(ContractError(line))

    def on_bad_state(self, error: ContractError) -> None:
        """Say it; the state grows stale, and that has its own consequence."""
        self.get_logger().error(str(error), throttle_duration_sec=_LOG_EVERY)

    def on_chunk(self, message: ActionChunk, info: Any) -> None:
        """Follow it, or say why not."""
        if self._conflicts.note_chunk(info):
            self._find_conflicts()  # before the first chunk of another node is followed
        verdict = self._need_core().on_chunk(chunk_from_message(message), self._now())
        if verdict.accepted:
            return
        line = f"chunk {message.chunk_id} of generation {message.generation}: {verdict.reason}"
        if verdict.late:
            self.get_logger().info(line, throttle_duration_sec=_LOG_EVERY)
        else:
            self.get_logger().error(f"refused {line}", throttle_duration_sec=_LOG_EVERY)

    def on_motion(self, message: MotionCommand) -> None:
        """RUN or HOLD."""
        if message.command == MotionCommand.RUN:
            self._need_core().on_run(int(message.generation))
        else:
            self._need_core().on_hold(message.reason)

    def on_policy_status(self, message: PolicyStatus, info: Any) -> None:
        """The policy is alive."""
        self._conflicts.note_policy(info)
        self._policy_delays.note(stamp_ns(message.header.stamp), self._now())
        self._need_core().on_heartbeat(self._now())

    def on_emergency_stop(self, message: Bool) -> None:
        """True latches."""
        self._need_core().on_estop(bool(message.data))

    def on_leader(self, sample: JointSample, arrival_ns: int) -> None:
        """To the core."""
        impossible = self._need_core().on_leader(
            sample.stamp_ns, sample.positions, sample.valid_until_ns, arrival_ns
        )
        if impossible:
            do = "correct its driver, or its unit in teleop of the profile"
            line = problem("leader", "positions near the arms' limits", impossible, do)
            self.on_bad_state(ContractError(line))

    def on_deadman(self, held: bool, arrival_ns: int) -> None:
        """To the core."""
        self._need_core().on_deadman(held, arrival_ns)

    # --- services -------------------------------------------------------------------------------

    def _serve_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._core is not None
        if self._core is not None:
            self._core.on_estop_call()
        response.message = "latched" if response.success else "not configured: nothing is commanded"
        return response

    def _serve_reset(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        reason = "not configured" if self._core is None else self._core.reset(self._now())
        response.success = not reason
        response.message = reason or "released; the arms hold until the next goal"
        return response

    def _serve_resume(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        reason = "not configured" if self._core is None else self._core.resume()
        response.success = not reason
        response.message = reason or "the policy has the arms back with its next plan"
        return response

    # --- other nodes, other clocks ---------------------------------------------------------------

    def _find_conflicts(self) -> None:
        """Let the core know who else has a hand in this robot, and say it once."""
        detail = "; ".join(self._conflicts.lines())
        if detail and detail != self._conflict:
            self.get_logger().error(detail)
        self._conflict = detail
        if self._core is not None:
            self._core.on_conflict(detail)
            if self._conflicts.take_stop():
                self._core.on_estop_call()

    def _clock_differences(self) -> list[str]:
        if self._inputs is None or self._sim_time:  # simulation time is everybody's
            return []
        lines = [
            clock_difference(delays, f"the driver of {topic}")
            for topic, delays in self._inputs.delays.items()
        ]
        lines.append(clock_difference(self._policy_delays, "policy_node's computer"))
        return [line for line in lines if line]

    # --- reports --------------------------------------------------------------------------------

    def _announce(self, result: TickResult) -> None:
        mode, cause, inputs = result.mode, result.hold_cause, self._inputs
        hint = advice(cause)
        if cause == Cause.STATE_STALE and inputs is not None:
            hint = "; ".join(inputs.reader.problems(self._now())) or hint
        elif cause == Cause.LEADER_STALE and inputs is not None and inputs.leaders is not None:
            hint = f"{hint} (silent: {inputs.leaders.silent(self._now())})"
        elif result.source is Source.HUMAN:
            hint = "a human leads"
        line = f"{mode.name}" + (f": {cause}" if cause else "") + (f"; {hint}" if hint else "")
        if mode == Mode.ESTOP:
            self.get_logger().error(line)
        elif mode == Mode.HOLD and hint:
            self.get_logger().warning(line)
        else:
            self.get_logger().info(line)

    def _message(self) -> ControlStatus:
        stamp = self.get_clock().now().to_msg()
        if self._core is None:
            message = ControlStatus(shadow=self.params.shadow)
            message.header.stamp = stamp
            return message
        snapshot = self._core.status(self._now())
        return status_message(snapshot, self._monitor, stamp, self.params.shadow)

    def _report(self) -> None:
        self._find_conflicts()
        self._publish_status()

    def _publish_status(self) -> None:
        message = self._message()
        self._conflicts.note_own_status(message)
        self._status.publish(message)

    def _collect_diagnostics(self) -> list[Diagnostic]:
        timing = Timing(self._monitor.period_s, self._monitor.jitter(0.999))
        found = list(diagnostics(self._message(), timing))
        found.append(others_diagnostic(self._conflict, self._clock_differences()))
        if self.transport_problem:
            found.append(Diagnostic("transports", Level.WARN, self.transport_problem))
        return found

    # --- small helpers --------------------------------------------------------------------------

    def _now(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    @property
    def _sim_time(self) -> bool:
        return bool(self.get_parameter("use_sim_time").value)

    def _need_core(self) -> ControlCore:
        if self._core is None:
            raise ValueError("inputs and ticks exist between setup and teardown only")
        return self._core


def main() -> int:
    """Run the node; the exit code."""
    from adamoe_ros.ros.runner import main as run

    return run("adamoe_ros.ros.control.control_node", "ControlNode")


if __name__ == "__main__":
    sys.exit(main())
