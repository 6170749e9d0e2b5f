# SPDX-License-Identifier: Apache-2.0
"""policy_node: cameras, joint states and a sentence in, action chunks out.

Threads: the executor's (services, the action, what others say), one that takes cameras and joint
states, one for inference. The node wires them; aligning is in ``streams``, inference in ``policy``, the
goal's life in ``policy_goal``.
"""

from __future__ import annotations

import re
import sys
import time

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from std_msgs.msg import String

from adamoe_ros.action import ExecuteInstruction
from adamoe_ros.contract.chunk import ActionChunk, Inference
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.observation import Observation
from adamoe_ros.control.admission import LONGEST_INSTRUCTION
from adamoe_ros.control.scheduling import InferenceScheduler
from adamoe_ros.msg import ActionChunk as ActionChunkMsg
from adamoe_ros.msg import ControlStatus, MotionCommand, PolicyStatus, TaskStatus
from adamoe_ros.policy.actor_base import BaseActor
from adamoe_ros.policy.compatibility import state_out_of_range
from adamoe_ros.ros import names, qos
from adamoe_ros.ros.conflicts import DECISION_S, SoleNode
from adamoe_ros.ros.diagnostics import Diagnostic, others_diagnostic
from adamoe_ros.ros.diagnostics_publisher import DiagnosticsPublisher
from adamoe_ros.ros.lifecycle import ManagedNode, clock_subscription
from adamoe_ros.ros.policy.goal_executor import GoalExecutor, input_lines
from adamoe_ros.ros.policy.hearing import LOOK_PERIOD
from adamoe_ros.ros.policy.policy_diagnostics import PolicyReport, diagnostics, status_message
from adamoe_ros.ros.policy.policy_goal import GoalRun, GoalServer
from adamoe_ros.ros.policy.policy_inputs import PolicyInputs
from adamoe_ros.ros.policy.policy_messages import chunk_message, expert_messages
from adamoe_ros.ros.policy.policy_parameters import PolicyParameters
from adamoe_ros.ros.policy.policy_setup import make_actor
from adamoe_ros.ros.policy.policy_worker import PolicyWorker, Work
from adamoe_ros.ros.topic_reader import PAST_EXECUTORS, TopicReader
from adamoe_ros.streams.clocks import Delays, clock_difference
from adamoe_ros.streams.messages import stamp_ns

_LOG_EVERY = 5.0  # s between lines about the same
_INPUT_POLL = 0.05  # s between looks while activation waits for inputs


class PolicyNode(ManagedNode[PolicyParameters]):
    """The policy as a lifecycle node.

    Raises:
        ContractError: a parameter is unknown or does not fit.
    """

    def __init__(self) -> None:
        super().__init__("policy_node", PolicyParameters)
        self._actor: BaseActor | None = None
        self._schedule: InferenceScheduler | None = None
        self._warm_s = 0.0
        self._inputs: PolicyInputs | None = None
        self._worker: PolicyWorker | None = None
        self._goals: GoalServer | None = None
        self._goal_executor = GoalExecutor(self)
        self._sole = SoleNode(
            self, PolicyStatus, names.POLICY_STATUS, qos.POLICY_STATUS, "policy_node"
        )
        self._conflict = ""
        self._control_delays = Delays()
        self._report = PolicyReport(self.params.latency_window)
        self._chunks = self.create_publisher(ActionChunkMsg, names.ACTION_CHUNK, qos.CHUNK)
        self._motion = self.create_publisher(MotionCommand, names.MOTION, qos.MOTION)
        self._status = self.create_publisher(PolicyStatus, names.POLICY_STATUS, qos.POLICY_STATUS)
        listeners = MutuallyExclusiveCallbackGroup()
        for kind, topic, callback, profile in (
            (String, names.INSTRUCTION, self._on_instruction, qos.INSTRUCTION),
            (TaskStatus, names.TASK_STATUS, self._on_task, qos.TASK_STATUS),
            (ControlStatus, names.CONTROL_STATUS, self._on_control, qos.CONTROL_STATUS),
        ):
            self.create_subscription(kind, topic, callback, profile, callback_group=listeners)
        self._diagnostics = DiagnosticsPublisher(
            self,
            self._collect_diagnostics,
            log=self._log_diagnostic,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        self._reported: tuple[str, ...] = ()
        self._clock_reader = self._read_clock()
        # steady: the heartbeat must go on when a simulator's clock stands still
        for period, timed in (
            (1.0 / self.params.status_rate, self._beat),
            (LOOK_PERIOD, self._check_hearing),
        ):
            self.create_timer(
                period,
                timed,
                callback_group=MutuallyExclusiveCallbackGroup(),
                clock=Clock(clock_type=ClockType.STEADY_TIME),
            )

    def _read_clock(self) -> TopicReader | None:
        """Simulation time past the executor as well: it comes as often as joint states."""
        subscription = clock_subscription(self)
        if subscription is None:
            return None
        subscription.callback_group = PAST_EXECUTORS
        return TopicReader(self, [subscription], lambda: None, self._reader_failed)

    def close(self) -> None:
        """As of every managed node, and the thread that reads the clock ends."""
        if self._clock_reader is not None:
            self._clock_reader.close()
        super().close()

    # --- lifecycle ------------------------------------------------------------------------------

    def wait_for_discovery(self) -> None:
        """Another policy_node."""
        self._sole.wait_for_discovery(self.ending)

    def setup(self) -> None:
        """Load, cross-check, warm up."""
        self._report = PolicyReport(self.params.latency_window)
        actor = make_actor(self.params)
        self._actor, profile = actor, actor.profile
        assert profile is not None
        self._diagnostics.hardware_id = profile.name
        self._inputs = PolicyInputs(
            self,
            profile,
            actor.manifest.camera_slots,
            actor.joint_map,
            self._on_input,
            self._reader_failed,
        )
        self._warm_s = actor.warm_up()
        self._goals = GoalServer(
            self, self._goal_executor, self._feedback, lambda: self.params.feedback_rate
        )
        self.get_logger().info(
            f"{self.params.checkpoint or self.params.policy} on {actor.device}: chunks of {actor.horizon} rows, "
            f"{actor.horizon * actor.dt_s:.2f} s; inference takes {self._warm_s * 1e3:.0f} ms"
        )

    def start(self) -> None:
        """Check the live inputs and the pose, then let goals in."""
        actor, inputs = self._actor, self._inputs
        assert actor is not None and inputs is not None
        observation = self._first_observation(inputs)
        if actor.fault:
            raise ContractError(actor.fault)
        self._await_decision()
        if self._conflict or self._sole.undecided:
            do = "wait a second; activation is tried again with autostart"
            ghost = problem(names.POLICY_STATUS, "one publisher", "another one, silent so far", do)
            raise ContractError(self._conflict or ghost)
        if self.params.check_state:
            lines = state_out_of_range(
                actor.joint_map.joint_ids,
                actor.state_as_trained(observation),
                *actor.state_range,
                self.params.state_margin,
            )
            if lines:
                raise ContractError(lines)
        session = actor.session()
        self._schedule = actor.scheduler(self._warm_s + self.params.inject_latency)
        work = Work(
            newest_ns=lambda: inputs.newest_ns,
            observe=inputs.observation,
            restart=session.restart,
            infer=session.infer,
            deliver=self._deliver,
            failed=self._inference_failed,
            now_ns=self.now_ns,
            extra_latency=lambda: self.params.inject_latency,
        )
        self._worker = PolicyWorker(
            work,
            self._schedule,
            actor.joint_map.joint_ids,
            self.params.inference_nice,
        )
        self._worker.start()
        self._goal_executor.ready()

    def stop(self) -> None:
        """End the goal, tell control to hold, end the inference thread."""
        self._goal_executor.stop()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def teardown(self) -> None:
        """Give back subscriptions, action server and model."""
        if self._worker is not None:
            self.stop()
        if self._goals is not None:
            self._goals.destroy()
            self._goals = None
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if self._actor is not None:
            self._actor.close()
        self._actor = self._schedule = None

    def _first_observation(self, inputs: PolicyInputs) -> Observation:
        deadline = time.monotonic() + self.params.input_timeout
        while True:
            missing = inputs.missing()
            observation = None if missing else inputs.observation(self._goal_executor.instruction)
            if observation is not None:
                return observation
            if time.monotonic() > deadline or self.ending.wait(_INPUT_POLL):
                raise ContractError(input_lines(missing or ["an observation"]))

    def _await_decision(self) -> None:
        """Give another publisher of the status the time in which a living one would be heard."""
        deadline = time.monotonic() + DECISION_S
        while self._sole.undecided and time.monotonic() < deadline:
            if self.ending.wait(_INPUT_POLL):
                return

    # --- inference thread -----------------------------------------------------------------------

    def _deliver(self, chunk: ActionChunk, observation: Observation, made: Inference) -> None:
        age = (self.now_ns() - chunk.stamp_ns) / 1e9
        self._goal_executor.count_chunk(
            chunk.generation, chunk.chunk_id
        )  # control may answer at once
        self._chunks.publish(chunk_message(chunk, observation, made.stages.get("total", 0.0)))
        self._report.note(made, age)
        self._publish_status()

    def _inference_failed(self, generation: int, line: str) -> None:
        self.get_logger().error(f"inference: {line}")
        self._goal_executor.fail(generation, line)

    # --- reader's thread ------------------------------------------------------------------------

    def _reader_failed(self, error: Exception) -> None:
        """A bug: raise it where the process judges what callbacks raise."""
        if self.executor is None:
            self.get_logger().fatal(f"a topic cannot be read any more: {error!r}")
        else:
            self.executor.create_task(_raise, error)

    def _check_hearing(self) -> None:
        inputs = self._inputs
        line = inputs.check_hearing() if inputs is not None else ""
        if line:
            self.give_up(line)

    # --- topics ---------------------------------------------------------------------------------

    def _on_input(self) -> None:
        worker = self._worker
        if worker is not None:
            worker.notice()

    def _on_instruction(self, message: String) -> None:
        sentence = message.data.strip()
        if not 0 < len(sentence) <= LONGEST_INSTRUCTION:
            got = f"{len(sentence)} characters" if sentence else "an empty one"
            unfit: str | None = problem(names.INSTRUCTION, "a sentence", got, "it is ignored")
        else:
            unfit = self.instruction_problem(sentence)
        if unfit:
            self.get_logger().error(f"ignored: {unfit}", throttle_duration_sec=_LOG_EVERY)
            return
        if self._goal_executor.instruct(sentence):
            self.get_logger().info(f"instruction: {sentence!r}")

    def _on_task(self, message: TaskStatus) -> None:
        self._goal_executor.task = message

    def _on_control(self, message: ControlStatus) -> None:
        self._goal_executor.hear_control(message)
        self._control_delays.note(stamp_ns(message.header.stamp), self.now_ns())
        if self._inputs is not None:
            self._inputs.take_commanded(message.header.stamp, message.commanded)

    def _find_conflict(self) -> None:
        self._sole.look()
        line = "; ".join(self._sole.lines())
        if line and line != self._conflict:
            self.get_logger().error(line)
        self._conflict = line

    def _beat(self) -> None:
        self._find_conflict()
        self._publish_status()

    def _publish_status(self) -> None:
        message = status_message(
            self._report,
            now_ns=self.now_ns(),
            state=self.state_name,
            executor=self._goal_executor,
            inputs=self._inputs,
            actor=self._actor,
        )
        self._status.publish(message)
        reported = (message.state, message.phase, _without_figures(message.missing))
        if reported != self._reported:
            self._reported = reported
            self._diagnostics.refresh()

    def _collect_diagnostics(self) -> list[Diagnostic]:
        found = diagnostics(
            self._report,
            self._inputs,
            self._actor,
            self._schedule,
            self._goal_executor,
            self.state_name,
        )
        return [*found, others_diagnostic(self._conflict, self._control_clock())]

    def _control_clock(self) -> list[str]:
        """How the clock of control_node's computer differs, one line; simulation time is everybody's."""
        if self.get_parameter("use_sim_time").value:
            return []
        line = clock_difference(self._control_delays, "control_node's computer")
        return [line] if line else []

    def _log_diagnostic(self, diagnostic: Diagnostic) -> None:
        """What diagnostics found, for those who read the log; activation tells its own."""
        if self.active and diagnostic.name != "goal":
            self.get_logger().warning(f"{diagnostic.name}: {diagnostic.message}")

    # --- for the goal executor and the action server ----------------------------------------------

    @property
    def inputs(self) -> PolicyInputs | None:
        """Cameras and joints, while configured."""
        return self._inputs

    @property
    def worker(self) -> PolicyWorker | None:
        """The inference thread, while active."""
        return self._worker

    def instruction_problem(self, sentence: str) -> str | None:
        """Why the policy cannot be given a sentence, one line; None before it is configured."""
        return None if self._actor is None else self._actor.instruction_problem(sentence)

    def now_ns(self) -> int:
        """ROS time."""
        return int(self.get_clock().now().nanoseconds)

    def control_listens(self) -> bool:
        """Whether a control_node takes our motion commands, heard of yet or not."""
        listeners = self.get_subscriptions_info_by_topic(names.MOTION)
        return any(listener.node_name == names.CONTROL_NODE for listener in listeners)

    def publish_motion(self, command: int, generation: int, reason: str) -> None:
        """Tell control whether the arms may move."""
        message = MotionCommand(command=command, generation=generation, reason=reason)
        message.header.stamp = self.get_clock().now().to_msg()
        self._motion.publish(message)

    @property
    def conflict(self) -> str:
        """Another policy_node for the same robot, one line; empty: there is none."""
        return self._conflict

    @property
    def policy_fault(self) -> str:
        """Why no inference can be had at the moment, one line; empty: it can."""
        return self._actor.fault if self._actor is not None else ""

    def log_goal(self, line: str) -> None:
        """Log a goal's begin or end."""
        self.get_logger().info(line)

    def _feedback(self, run: GoalRun) -> ExecuteInstruction.Feedback:
        return ExecuteInstruction.Feedback(
            elapsed=self._goal_executor.elapsed(run),
            chunks=run.chunks,
            latency=self._report.latency.last("total"),
            phase=self._goal_executor.phase(),
            experts=expert_messages(self._report.experts),
        )


def _without_figures(text: str) -> str:
    """So that a growing age is not a change."""
    return re.sub(r"[0-9.]+ s", "", text)


def _raise(error: Exception) -> None:
    raise error


def main() -> int:
    """Run the node; the exit code."""
    from adamoe_ros.ros.runner import main as run

    return run("adamoe_ros.ros.policy.policy_node", "PolicyNode", threads=4)


if __name__ == "__main__":
    sys.exit(main())
