# SPDX-License-Identifier: Apache-2.0
"""Drives policy, control and simulator as an operator would: lifecycle, reset, the execute action.

One node, spun by whoever calls its methods; every wait has a deadline and lets ``on_turn`` run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Log
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future
from std_msgs.msg import String

from adamoe_ros.action import ExecuteInstruction
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.data.recording import Change
from adamoe_ros.msg import ControlStatus
from adamoe_ros.ros import names, qos
from adamoe_ros.ros.sim.session_recorder import SessionRecorder
from adamoe_ros.srv import ResetTask

CONFIGURE = Transition.TRANSITION_CONFIGURE
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
_FIRST_FRAME = 60.0  # s until the simulator must have shown a picture
_CONFIGURE = 120.0  # s; loading and warming up a large checkpoint
_ACTIVATE = 30.0  # s
_SLOWEST = 20.0  # wall seconds per simulated second until a goal is given up
_LATE = 30.0  # s for a message that others have had already
_TURN = 0.05  # s, longest wait for one message
_REASONS = 1.0  # s for a node's error lines to arrive after its transition failed


class SessionFailed(Exception):
    """The session cannot go on; one line."""


class Director:
    """The operator's side of a session.

    Args:
        profile: robot whose topics are recorded.
        on_turn: called between messages, often; raises to interrupt a wait.
    """

    def __init__(self, profile: RobotProfile, on_turn: Callable[[], None]) -> None:
        sim_time = [Parameter("use_sim_time", value=profile.use_sim_time)]
        self.node = Node("director", parameter_overrides=sim_time)
        self.recorder = SessionRecorder(self.node, profile)
        self._on_turn = on_turn
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._errors: dict[str, list[str]] = {}
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(Log, "/rosout", self._on_log, latched)
        self._reset: Any = self.node.create_client(ResetTask, "reset_task")
        self._execute: Any = ActionClient(self.node, ExecuteInstruction, names.EXECUTE)
        self._instruction = self.node.create_publisher(String, names.INSTRUCTION, qos.INSTRUCTION)
        self._lifecycle: dict[str, Any] = {}
        self._goal: Any = None

    def close(self) -> None:
        """Take the node down."""
        self._executor.shutdown(timeout_sec=2.0)
        self._execute.destroy()
        self.node.destroy_node()

    def turn(self) -> None:
        """Handle what has arrived."""
        self._executor.spin_once(timeout_sec=_TURN)
        self._on_turn()

    def wait_for(self, what: str, reached: Callable[[], bool], seconds: float) -> None:
        """Turn until something is true.

        Raises:
            SessionFailed: it was not within ``seconds`` of wall time.
        """
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                raise SessionFailed(
                    f"{what}: expected within {seconds:.0f} s, got nothing; see the logs"
                )
            self.turn()

    def transition(self, name: str, transition: int, seconds: float) -> None:
        """Ask a lifecycle node for a transition and wait for it.

        Raises:
            ContractError: the node refused; its own lines say why.
        """
        client = self._lifecycle.get(name)
        if client is None:
            client = self.node.create_client(ChangeState, f"{name}/change_state")
            self._lifecycle[name] = client
        self.wait_for(f"{name}: its lifecycle service", client.service_is_ready, 30.0)
        self._errors.pop(name, None)
        request = ChangeState.Request(transition=Transition(id=transition))
        if self._result(f"{name}: transition", client.call_async(request), seconds).success:
            return
        deadline = time.monotonic() + _REASONS
        while time.monotonic() < deadline and not self._errors.get(name):
            self.turn()
        raise ContractError(
            self._errors.get(name) or [f"{name}: refused a transition; see its log"]
        )

    def wait_for_camera(self) -> None:
        """Turn until the simulator shows its first picture."""
        live = self.recorder.live
        self.wait_for("sim_node: a camera frame", lambda: live.task.frames > 0, _FIRST_FRAME)

    def configure(self) -> None:
        """Make policy and control ready: the checkpoint is loaded and warmed up."""
        self.transition("policy_node", CONFIGURE, _CONFIGURE)
        self.transition("control_node", CONFIGURE, _ACTIVATE)

    def begin_episode(self, task: str, instruction: str, seed: int) -> str:
        """Set up, wait for the scene's own picture, activate; arguments and result as ``set_up``."""
        sentence = self.set_up(task, instruction, seed)
        live = self.recorder.live
        self.wait_for(
            "sim_node: a camera frame of the episode",
            lambda: (live.task.task, live.task.seed) == (task, seed) and live.task.frames > 0,
            _ACTIVATE,
        )
        # it judges the pose that it sees: the arms' before they were reset may be none of a beginning
        self.wait_for("policy_node: to see the episode", live.policy_sees_episode, _ACTIVATE)
        for name in ("control_node", "policy_node"):
            self.transition(name, ACTIVATE, _ACTIVATE)
        # policy_node refuses a goal while it hears that control is inactive
        self.wait_for(
            "control_node: its status, active",
            lambda: live.control.mode != ControlStatus.INACTIVE,
            _ACTIVATE,
        )
        return sentence

    def end_episode(self) -> None:
        """Deactivate: from then on control follows the arms, also when they are reset."""
        for name in ("policy_node", "control_node"):
            self.transition(name, DEACTIVATE, _ACTIVATE)

    def set_up(self, task: str, instruction: str, seed: int) -> str:
        """Begin an episode in the simulator.

        Returns:
            The sentence of the episode.

        Raises:
            ContractError: the simulator does not know the task.
        """
        self.wait_for("sim_node: reset_task", self._reset.service_is_ready, 30.0)
        request = ResetTask.Request(task=task, instruction=instruction, seed=seed)
        answer = self._result("sim_node: reset_task", self._reset.call_async(request), 30.0)
        if not answer.accepted:
            raise ContractError(answer.message)
        return str(answer.instruction)

    def execute(
        self,
        instruction: str,
        max_duration: float,
        change: Change | None = None,
    ) -> ExecuteInstruction.Result:
        """Send a goal that ends with success, and wait for its result.

        Args:
            max_duration: s of the robot's clock; the wall clock may take ``_SLOWEST`` times as long.
            change: another instruction that is published meanwhile.
        """
        self.wait_for("policy_node: execute", self._execute.server_is_ready, 30.0)
        goal = ExecuteInstruction.Goal(
            instruction=instruction, max_duration=max_duration, stop_on_success=True
        )
        handle = self._result("policy_node: goal", self._execute.send_goal_async(goal), 10.0)
        if not handle.accepted:
            raise SessionFailed("policy_node: expected the goal to be taken, it was rejected")
        self._goal = handle
        patience = max_duration * _SLOWEST
        result = handle.get_result_async()
        try:
            if change is not None:
                self._change(change, result, patience)
            answer = self._result("policy_node: result", result, patience)
        finally:
            self._goal = None
        if answer.result.code == ExecuteInstruction.Result.SUCCEEDED:
            # what ended the goal may reach us after its result
            live = self.recorder.live
            self.wait_for("sim_node: its success", lambda: live.task.ever_success, _LATE)
        return answer.result

    def _change(self, change: Change, result: Future, patience: float) -> None:
        """Publish another instruction when it is time."""
        clock = self.node.get_clock()
        start = clock.now().nanoseconds

        def due() -> bool:
            return bool(result.done()) or clock.now().nanoseconds - start >= change.after_s * 1e9

        self.wait_for("the robot's clock", due, patience)
        if not result.done():
            self._instruction.publish(String(data=change.instruction))
            self.recorder.note_instruction(change.instruction)

    def cancel(self) -> None:
        """Cancel the running goal, if any, and wait shortly for the arms to be told."""
        if self._goal is None:
            return
        future = self._goal.cancel_goal_async()
        deadline = time.monotonic() + 2.0
        while not future.done() and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=_TURN)

    def _result(self, what: str, future: Future, seconds: float) -> Any:
        self.wait_for(what, future.done, seconds)
        return future.result()

    def _on_log(self, message: Log) -> None:
        if message.level >= Log.ERROR:
            name = message.name.rsplit(".", 1)[-1]
            self._errors.setdefault(name, []).append(message.msg)
