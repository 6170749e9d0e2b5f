# SPDX-License-Identifier: Apache-2.0
"""Which goal moves the arms: accepts, watches and ends goals, and counts the generations.

No threads of its own: called from the action's, the executor's and the inference thread, one lock.
"""

from __future__ import annotations

import threading
import time
from typing import NamedTuple, Protocol, cast

from adamoe_ros.action import ExecuteInstruction
from adamoe_ros.contract.errors import problem
from adamoe_ros.control.admission import LONGEST_INSTRUCTION
from adamoe_ros.control.scheduling import InstructionChange
from adamoe_ros.control.settings import Cause
from adamoe_ros.msg import ControlStatus, MotionCommand, TaskStatus
from adamoe_ros.ros.policy.control_watch import ControlWatch
from adamoe_ros.ros.policy.hearing import advice
from adamoe_ros.ros.policy.policy_goal import GoalRun
from adamoe_ros.ros.policy.policy_inputs import PolicyInputs
from adamoe_ros.ros.policy.policy_parameters import PolicyParameters
from adamoe_ros.ros.policy.policy_worker import Assignment, PolicyWorker

Result = ExecuteInstruction.Result
_POLL = 0.01  # s between looks at inputs that are late
# what control_node says as its hold_cause after a goal has ended
_CAUSES = {
    Result.SUCCEEDED: "succeeded",
    Result.DURATION_REACHED: "duration_reached",
    Result.INPUT_LOST: "input_lost",
    Result.POLICY_FAILED: "policy_failed",
    Result.CONTROL_REFUSED: "control_refused",
    Result.DEACTIVATED: "deactivated",
    Result.CANCELLED: "cancelled",
    Result.PREEMPTED: "preempted",
    Result.EMERGENCY_STOP: "emergency_stop",
    Result.CONFLICT: "conflicting_policy",
}
LONGEST_DURATION = 7 * 86400.0  # s

# results that somebody should look at; the others are what a person asked for
FAULTS = (
    Result.INPUT_LOST,
    Result.POLICY_FAILED,
    Result.CONTROL_REFUSED,
    Result.EMERGENCY_STOP,
    Result.CONFLICT,
)


class _Loss(NamedTuple):
    """What a goal waits for: result code and line where it takes too long, cause of the hold."""

    code: int
    line: str
    patience_s: float
    cause: str


class PolicyHost(Protocol):
    """What the goals need of the node."""

    @property
    def params(self) -> PolicyParameters:
        """Current parameters."""

    @property
    def state_name(self) -> str:
        """Lifecycle state."""

    @property
    def inputs(self) -> PolicyInputs | None:
        """Cameras and joints, while configured."""

    @property
    def worker(self) -> PolicyWorker | None:
        """The inference thread, while active."""

    def instruction_problem(self, sentence: str) -> str | None:
        """Why the policy cannot be given a sentence, one line."""

    def now_ns(self) -> int:
        """ROS time."""

    def control_listens(self) -> bool:
        """Whether a control_node takes our motion commands, heard of yet or not."""

    @property
    def conflict(self) -> str:
        """Another policy_node for the same robot, one line; empty: there is none."""

    def publish_motion(self, command: int, generation: int, reason: str) -> None:
        """Send RUN or HOLD to control."""

    @property
    def policy_fault(self) -> str:
        """Why no inference can be had at the moment, one line; empty: it can."""

    def log_goal(self, line: str) -> None:
        """Log a goal's begin or end."""


class GoalExecutor:
    """The running goal, if any.

    Args:
        host: the node.

    Attributes:
        generation: of the last goal. Begins with the time of day, so that a node that was started
            again never repeats the generations of the one before.
        instruction: the current sentence; empty before the first.
        ended: result code and message of the last goal that ended; None: none has.
        task: newest message of who judges the task, which may end a goal; None: never heard.
    """

    def __init__(self, host: PolicyHost) -> None:
        self.generation = int(time.time()) % 2**31
        self.instruction = ""
        self.ended: tuple[int, str] | None = None
        self.task: TaskStatus | None = None
        self._control = ControlWatch()
        self._host = host
        self._run: GoalRun | None = None
        self._lock = threading.RLock()

    @property
    def busy(self) -> bool:
        """Whether a goal is running."""
        return self._run is not None

    def ready(self) -> None:
        """The node has become active: nothing moves before a goal, whoever let the arms run before."""
        self._host.publish_motion(MotionCommand.HOLD, self.generation, "no_goal")

    def hear_control(self, message: ControlStatus) -> None:
        """control_node says how it is."""
        before, worker = self._control.status, self._host.worker
        counted = before is not None and message.rejected_chunks > before.rejected_chunks
        if counted and worker is not None:
            worker.refused()
        with self._lock:
            self._control.hear(message, time.monotonic())

    def begin(self, run: GoalRun) -> tuple[int, str] | None:
        """Start to act on a goal; (code, message) when it may not."""
        host = self._host
        self._await_inputs()
        with self._lock:
            refused = self._refusal(run)
            worker = host.worker
            if refused or worker is None:
                refused = refused or (Result.REJECTED_INACTIVE, "policy_node: deactivated")
                host.log_goal(f"goal refused with code {refused[0]}: {refused[1]}")
                return refused
            if self._run is not None:
                self._end(self._run, Result.PREEMPTED, "a newer goal took over")
            self.generation += 1
            run.generation, run.started_ns = self.generation, host.now_ns()
            run.started = time.monotonic()
            self._run, self.instruction = run, run.instruction
            self._control.begin(run.generation, run.started)
            host.publish_motion(MotionCommand.RUN, self.generation, "goal_accepted")
            worker.assign(Assignment(run.generation, run.instruction))
        host.log_goal(f"goal accepted: {run.instruction!r}")
        return None

    def _await_inputs(self) -> None:
        """Give inputs that are late, not gone, the time that a running goal would give them."""
        deadline = time.monotonic() + self._host.params.max_observation_age
        while (
            (inputs := self._host.inputs) is not None
            and inputs.missing()
            and time.monotonic() < deadline
        ):
            time.sleep(_POLL)

    def _refusal(self, run: GoalRun) -> tuple[int, str] | None:
        host = self._host
        inputs = host.inputs
        if host.state_name != "active" or host.worker is None or inputs is None:
            line = problem("policy_node", "active", host.state_name, "activate it first")
            return Result.REJECTED_INACTIVE, line
        if not run.instruction:
            line = problem("instruction", "a sentence", "an empty one", "write one")
            return Result.REJECTED_INSTRUCTION, line
        if len(run.instruction) > LONGEST_INSTRUCTION:
            expected, got = f"at most {LONGEST_INSTRUCTION} characters", len(run.instruction)
            line = problem("instruction", expected, got, "shorten it")
            return Result.REJECTED_INSTRUCTION, line
        unfit = host.instruction_problem(run.instruction)
        if unfit:
            return Result.REJECTED_INSTRUCTION, unfit
        if not 0 <= run.max_duration <= LONGEST_DURATION:
            expected = f"0 to {LONGEST_DURATION:g} s"
            line = problem("max_duration", expected, run.max_duration, "correct it")
            return Result.REJECTED_INSTRUCTION, line
        if host.conflict:
            return Result.CONFLICT, host.conflict
        if host.policy_fault:
            return Result.POLICY_FAILED, host.policy_fault
        if self._run is not None and not host.params.preempt:
            line = problem("execute", "no goal", "a running one", "cancel it or set preempt:=true")
            return Result.REJECTED_BUSY, line
        missing = inputs.missing()
        if missing:
            return Result.REJECTED_INPUTS, "; ".join(input_lines(missing))
        return None

    def watch(self, run: GoalRun) -> None:
        """End the goal if time, success, inputs or control ask for it; let it wait."""
        with self._lock:
            if run.ended:
                return
            ending = self._ending(run)
            if ending is None and not self._taken_over(run):
                ending = self._wait(run)
            if ending is not None:
                self._end(run, *ending)

    def _ending(self, run: GoalRun) -> tuple[int, str] | None:
        task, control = self.task, self._control.status
        if run.stop_on_success and task is not None and task.success:
            return Result.SUCCEEDED, "task_status says success"
        if control is not None and control.mode == ControlStatus.ESTOP:
            return Result.EMERGENCY_STOP, "emergency stop"
        if self._host.conflict:
            return Result.CONFLICT, self._host.conflict
        refusal = "" if run.paused_ns or run.taken_ns else self._control.refusal(time.monotonic())
        if refusal:
            return Result.CONTROL_REFUSED, refusal
        if self._control_gone(run):
            line = problem("control_node", "its status", "none any more", "start it again")
            return Result.CONTROL_REFUSED, line
        if run.max_duration > 0 and not run.taken_ns and self.elapsed(run) >= run.max_duration:
            return self._time_over(run)
        return None

    def _time_over(self, run: GoalRun) -> tuple[int, str]:
        control = self._control.status
        if not run.controlled or control is None or self._control.followed:
            return Result.DURATION_REACHED, f"{run.max_duration:g} s have passed"
        got = f"none within {run.max_duration:g} s ({control.hold_cause or 'running'})"
        do = "look at the latency of the policy and at control_status"
        line = problem("control_node", "to follow a chunk", got, do)
        return Result.CONTROL_REFUSED, line

    def _control_gone(self, run: GoalRun) -> bool:
        """Whether there was a control_node that says nothing any more; a policy may also run alone."""
        heard_of = self._control.status is not None or self._host.control_listens()
        run.controlled = run.controlled or heard_of
        return self._control.silent(time.monotonic()) and run.controlled

    def _taken_over(self, run: GoalRun) -> bool:
        """Let the goal wait while a human has the arms, and plan anew once they are back."""
        status, now = self._control.status, self._host.now_ns()
        if status is not None and status.takeover:
            if not run.taken_ns:
                run.taken_ns = now
                if self._host.worker is not None:
                    self._host.worker.assign(None)
                self._host.log_goal("a human has the arms: the goal waits")
            return True
        # too short to be heard of: control waits for another generation all the same
        missed = status is not None and status.hold_cause == Cause.TAKEOVER
        if run.taken_ns or (missed and status.generation == run.generation):
            run.started_ns += now - (run.taken_ns or now)
            run.taken_ns = 0
            self._host.log_goal("the arms are back with the policy")
            if run.paused_ns:
                run.paused_ns = now  # what was late before has its patience anew
            else:
                self._move(run, "takeover_over")
        return False

    def _wait(self, run: GoalRun) -> tuple[int, str] | None:
        """Hold while something is away, go on when it is back, end the goal when that takes long."""
        lost, now = self._input_loss() or self._policy_loss(), self._host.now_ns()
        if lost is None:
            if run.paused_ns:
                run.paused_ns = 0
                self._move(run, "all_is_back")
            return None
        if now - (run.paused_ns or now) >= lost.patience_s * 1e9:
            return lost.code, lost.line
        if not run.paused_ns:
            run.paused_ns = now
            if self._host.worker is not None:
                self._host.worker.assign(None)
            self._host.publish_motion(MotionCommand.HOLD, run.generation, lost.cause)
            self._host.log_goal(f"the arms hold: {lost.line}")
        return None

    def _move(self, run: GoalRun, reason: str) -> None:
        """Let the arms follow chunks that are made from now on."""
        self.generation += 1
        run.generation = self.generation
        self._control.go_on(run.generation, time.monotonic())
        self._host.publish_motion(MotionCommand.RUN, run.generation, reason)
        if self._host.worker is not None:
            self._host.worker.assign(Assignment(run.generation, self.instruction))

    def _policy_loss(self) -> _Loss | None:
        line, patience = self._host.policy_fault, self._host.params.link_patience
        return _Loss(Result.POLICY_FAILED, line, patience, "link_lost") if line else None

    def _input_loss(self) -> _Loss | None:
        host, inputs = self._host, self._host.inputs
        oldest = inputs.oldest_ns if inputs is not None else None
        limit = host.params.max_observation_age * 1e9
        if oldest is not None and host.now_ns() - oldest <= limit:
            return None
        missing = inputs.missing() if inputs is not None else []
        line = "; ".join(input_lines(missing or ["cameras or joint states"]))
        return _Loss(Result.INPUT_LOST, line, host.params.input_patience, "inputs_late")

    def finish(self, run: GoalRun) -> None:
        """The goal has ended: hold, unless a newer goal moves the arms already."""
        with self._lock:
            if self._run is run:
                self._release(run)

    def fail(self, generation: int, line: str) -> None:
        """Inference failed for a generation."""
        with self._lock:
            run = self._run
            if run is not None and run.generation == generation:
                self._end(run, Result.POLICY_FAILED, line)

    def stop(self) -> None:
        """The node stops working: end the goal, and tell control to hold in any case."""
        with self._lock:
            if self._run is not None:
                self._end(self._run, Result.DEACTIVATED, "the policy node was deactivated")
            self._host.publish_motion(MotionCommand.HOLD, self.generation, "deactivated")

    def instruct(self, sentence: str) -> bool:
        """A new sentence for the running or the next goal; False when it is the old one."""
        how = cast(InstructionChange, self._host.params.instruction_change)
        with self._lock:
            if sentence == self.instruction:
                return False
            self.instruction = sentence
            run, worker = self._run, self._host.worker
            if run is None or worker is None:
                return True
            if run.paused_ns or run.taken_ns:
                return True  # it goes on with the new sentence
            if how == "cut":
                self._move(run, "instruction_changed")
            else:
                worker.instruct(sentence, how)
        return True

    def count_chunk(self, generation: int, chunk_id: int) -> None:
        """A chunk of a generation is about to be published."""
        run = self._run
        if run is not None and run.generation == generation:
            run.chunks += 1
            self._control.sent(chunk_id)

    def elapsed(self, run: GoalRun) -> float:
        """s of ROS time since the goal began, without what a human had the arms for."""
        return ((run.taken_ns or self._host.now_ns()) - run.started_ns) / 1e9

    def phase(self) -> str:
        """As in PolicyStatus."""
        inputs, run = self._host.inputs, self._run
        if run is not None and run.taken_ns:
            return "taken_over"
        if inputs is None or inputs.missing():
            return "waiting_inputs"
        if run is None:
            return "idle"
        control = self._control.status
        holding = control is not None and control.mode == ControlStatus.HOLD
        return "holding" if holding else "executing"

    def _end(self, run: GoalRun, code: int, message: str) -> None:
        """Set the outcome and release the arms; under the lock."""
        if run.end(code, message):
            self._host.log_goal(f"goal ended with code {code}: {message}")
        if self._run is run:
            self._release(run)

    def _release(self, run: GoalRun) -> None:
        self._run, self.ended = None, (run.code, run.message)
        worker = self._host.worker
        if worker is not None:
            worker.assign(None)
        cause = _CAUSES.get(run.code, "goal_ended")
        self._host.publish_motion(MotionCommand.HOLD, run.generation, cause)


def input_lines(missing: list[str]) -> list[str]:
    """What is missing as lines for a person; a decoder's line says everything already."""
    return [
        line
        if ": expected" in line
        else problem("inputs", "all live", f"nothing from {line}", advice(line))
        for line in missing
    ]
