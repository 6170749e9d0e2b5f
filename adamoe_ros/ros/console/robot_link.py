# SPDX-License-Identifier: Apache-2.0
"""One robot for the page: what its nodes say goes into the view, what people ask for goes to the nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from action_msgs.srv import CancelGoal
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Log, Parameter, ParameterEvent, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import String
from std_srvs.srv import Trigger

from adamoe_ros.action import ExecuteInstruction
from adamoe_ros.console.picture_feed import PictureFeed
from adamoe_ros.console.robot_view import RobotView
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.msg import ControlStatus, PolicyStatus, TaskStatus
from adamoe_ros.ros import names, qos
from adamoe_ros.ros.console.camera_link import CameraLink
from adamoe_ros.ros.console.leader_line import LeaderLine
from adamoe_ros.ros.console.stop_line import StopLine, call, result_of
from adamoe_ros.ros.sim.session_recorder import Live
from adamoe_ros.srv import ControlRecording, ResetTask

_WAIT_S = 5.0
_SETTLE_S = 20.0  # a transition, and a scene that is set up
_DOCTOR_S = 120.0
_LONGEST_GOAL = 86400.0  # s
_SCALE = "max_speed_scale"
_MODES = ("HOLD", "ESTOP", "RUNNING")
_NODES = ("control_node", "policy_node", "recorder_node", "sim_node")


class RobotLink:
    """A ``console.page_server.LedRobot``.

    Args:
        node: in the robot's namespace; has to be spun.
        view: filled.
        pictures: filled while somebody looks.
        resolve: relative name -> full name.
        doctor: options of ``adamoe doctor`` for this robot.
    """

    def __init__(
        self,
        node: Node,
        view: RobotView,
        pictures: PictureFeed,
        resolve: Callable[[str], str],
        doctor: list[str],
    ) -> None:
        self.node, self.view, self.pictures = node, view, pictures
        self.findings: dict[str, Any] = {}
        self._doctor = doctor
        self._live = Live()
        self._prefix = view.namespace.strip("/")
        self._line = StopLine(view.namespace, resolve, view.on_button)
        self._cameras = CameraLink(node, view.profile, pictures, resolve)
        self.leader = leader = view.leader
        self._leading = LeaderLine(node, view.profile, leader, resolve) if leader else None
        self._make_ends(resolve)

    def _make_ends(self, resolve: Callable[[str], str]) -> None:
        node, view = self.node, self.view

        def client(kind: Any, name: str) -> Any:
            return node.create_client(kind, resolve(name))

        def listen(kind: Any, name: str, callback: Callable[..., None], quality: Any) -> None:
            node.create_subscription(kind, resolve(name), callback, quality)

        listen(ControlStatus, names.CONTROL_STATUS, view.on_control, qos.CONTROL_STATUS)
        listen(PolicyStatus, names.POLICY_STATUS, self._on_policy, qos.POLICY_STATUS)
        listen(TaskStatus, names.TASK_STATUS, self._on_task, qos.TASK_STATUS)
        listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        listen(Log, "/rosout", self._on_log, QoSProfile(depth=100))
        listen(ParameterEvent, "/parameter_events", self._on_parameters, QoSProfile(depth=100))
        self._instruction = node.create_publisher(
            String, resolve(names.INSTRUCTION), qos.INSTRUCTION
        )
        execute = resolve(names.EXECUTE)
        self._execute: Any = ActionClient(node, ExecuteInstruction, execute)
        self._cancel = client(CancelGoal, f"{execute}/_action/cancel_goal")
        self._resume = client(Trigger, names.RESUME)
        self._record = client(ControlRecording, "control_recording")
        self._scene = client(ResetTask, "reset_task")
        self._get = client(GetParameters, f"{names.CONTROL_NODE}/get_parameters")
        self._set = client(SetParameters, f"{names.CONTROL_NODE}/set_parameters")
        self._lifecycle = {
            name: client(ChangeState, f"{name}/change_state")
            for name in (names.CONTROL_NODE, "policy_node")
        }
        node.create_timer(2.0, self._look_around)

    def close(self) -> None:
        """End threads and pictures; the node is its maker's."""
        if self._leading is not None:
            self._leading.close()
        self._cameras.close()
        self.pictures.close()
        self._line.close()
        self._execute.destroy()

    # --- from the nodes -------------------------------------------------------------------------

    def _on_policy(self, message: PolicyStatus) -> None:
        self._live.policy = message
        self.view.on_policy(message)

    def _on_task(self, message: TaskStatus) -> None:
        self._live.task = message
        self.view.on_task(message)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            prefix, _, name = status.name.rpartition("/")
            if prefix == self._prefix and name.partition(":")[0] in _NODES:
                level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
                values = {item.key: item.value for item in status.values}
                self.view.on_diagnostic(name, level, status.message, values)

    def _on_log(self, message: Log) -> None:
        prefix, _, name = message.name.rpartition(".")
        ours = name in _NODES and prefix == self._prefix.replace("/", ".")
        modes = name == names.CONTROL_NODE and message.msg.startswith(_MODES)  # the view says them
        if message.level >= Log.WARN and ours and not modes:
            self.view.on_log(name, "warn" if message.level < Log.ERROR else "error", message.msg)

    def _on_parameters(self, message: ParameterEvent) -> None:
        if message.node.strip("/") != f"{self._prefix}/{names.CONTROL_NODE}".strip("/"):
            return
        for item in (*message.new_parameters, *message.changed_parameters):
            if item.name == _SCALE:
                self.view.on_speed_scale(item.value.double_value)

    def _look_around(self) -> None:
        """The speed scale where it is not known; how fast pictures are shown."""
        self.view.on_picture_rates(self.pictures.rates())
        if self.view.speed_scale is None and self._get.service_is_ready():
            future = self._get.call_async(GetParameters.Request(names=[_SCALE]))
            future.add_done_callback(self._got_scale)

    def _got_scale(self, future: Any) -> None:
        for value in future.result().values if future.result() else ():
            self.view.on_speed_scale(value.double_value)

    # --- from people (threads of the page) -------------------------------------------------------

    def stop(self, who: str) -> str:
        """See ``console.page_server.LedRobot``."""
        words = self._line.stop()
        self.view.note("error", f"{who} pressed stop")
        return words

    def act(self, what: str, values: Mapping[str, Any], who: str) -> str:
        """See ``console.page_server.LedRobot``."""
        orders: dict[str, Callable[[Mapping[str, Any], str], str]] = {
            "start": self._start,
            "cancel": self._cancel_goals,
            "instruct": self._instruct,
            "let_out": lambda values, who: self._line.let_out(),
            "reset": lambda values, who: self._line.reset(),
            "resume": self._give_back,
            "record": self._lead_recorder,
            "speed": self._change_speed,
            "scene": self._set_up_scene,
            "doctor": self._ask_doctor,
        }
        if what not in orders:
            raise ContractError(problem("order", " | ".join(orders), repr(what)[:40], "reload"))
        try:
            words = orders[what](values, who)
        except ContractError as error:
            self.view.note("warn", f"{who}, {what}: {'; '.join(error.problems)}")
            raise
        if what not in ("start", "doctor"):
            self.view.note("person", f"{who}, {what.replace('_', ' ')}: {words}")
        return words

    def _start(self, values: Mapping[str, Any], who: str) -> str:
        sentence, limit = _sentence(values), _seconds(values)
        if not self._execute.server_is_ready():
            do = "start policy_node, or wait until it is back"
            raise ContractError(problem("policy_node", "its action execute", "none", do))
        goal = ExecuteInstruction.Goal(
            instruction=sentence,
            max_duration=limit,
            stop_on_success=bool(values.get("stop_on_success")),
        )
        sent = self._in_executor(lambda: self._execute.send_goal_async(goal))
        handle = result_of(sent, "policy_node: goal", _WAIT_S)
        if not handle.accepted:
            self.view.goal_refused(sentence, "policy_node takes no goal; see its diagnostics")
            raise ContractError(
                problem("policy_node", "to take the goal", "no", "see its diagnostics")
            )
        self.view.goal_sent(sentence, limit, who)
        self._in_executor(handle.get_result_async).add_done_callback(self._on_result)
        return "started"

    def _in_executor(self, work: Callable[[], Any]) -> Any:
        """What the spinning thread does: rclpy's action client may not be asked beside it."""
        executor = self.node.executor
        if executor is None:
            raise ContractError(problem("console_node", "to run", "an end", "start it again"))
        return result_of(executor.create_task(work), "console_node: its thread", _WAIT_S)

    def _on_result(self, future: Any) -> None:
        if future.result() is None:
            return
        result = future.result().result
        self.view.goal_ended(
            int(result.code), result.message, float(result.elapsed), int(result.chunks)
        )

    def _cancel_goals(self, values: Mapping[str, Any], who: str) -> str:
        """Whoever sent them."""
        answer = call(self._cancel, CancelGoal.Request(), "policy_node: cancel", _WAIT_S)
        if not answer.goals_canceling:
            raise ContractError(problem("goal", "one that runs", "none", "nothing to do"))
        return "cancelled; the arms hold"

    def _instruct(self, values: Mapping[str, Any], who: str) -> str:
        sentence = _sentence(values)
        if not self.view.goal_running:
            raise ContractError(problem("goal", "one that runs", "none", "start one"))
        self._instruction.publish(String(data=sentence))
        return f"instruction is now: {sentence}"

    def _give_back(self, values: Mapping[str, Any], who: str) -> str:
        answer = call(self._resume, Trigger.Request(), "control_node: resume", _WAIT_S)
        if not answer.success:
            raise ContractError(f"not given back: {answer.message}")
        return str(answer.message) or "the policy has the arms again"

    def _lead_recorder(self, values: Mapping[str, Any], who: str) -> str:
        commands = {"start": 0, "stop": 1, "discard": 2, "label": 3}
        word = str(values.get("command", ""))
        if word not in commands:
            raise ContractError(problem("recording", " | ".join(commands), repr(word), "reload"))
        success = values.get("success")
        request = ControlRecording.Request(
            command=commands[word],
            instruction=self.view.instruction if word == "start" else "",
            judged=isinstance(success, bool),
            success=success is True,
            notes=str(values.get("notes", ""))[:1000],
        )
        answer = call(self._record, request, "recorder_node: control_recording", _SETTLE_S)
        if not answer.accepted:
            raise ContractError(answer.message)
        return f"{answer.message.splitlines()[0]} {Path(answer.path).name}".strip()

    def _change_speed(self, values: Mapping[str, Any], who: str) -> str:
        scale = _number(values, "scale", 0.02, 1.0)
        value = ParameterValue(type=3, double_value=scale)
        request = SetParameters.Request(parameters=[Parameter(name=_SCALE, value=value)])
        answer = call(self._set, request, "control_node: parameters", _WAIT_S)
        if not answer.results[0].successful:
            raise ContractError(answer.results[0].reason)
        return f"{scale:.0%}"

    def _set_up_scene(self, values: Mapping[str, Any], who: str) -> str:
        """A new scene of the simulator; the nodes are inactive meanwhile, as its arms jump home."""
        request = ResetTask.Request(
            task=str(values.get("task", "")), seed=int(_number(values, "seed", 0, 2**31 - 1))
        )
        if self.view.goal_running:
            raise ContractError(problem("scene", "no goal", "one that runs", "cancel it first"))
        self._transition("policy_node", Transition.TRANSITION_DEACTIVATE)
        self._transition(names.CONTROL_NODE, Transition.TRANSITION_DEACTIVATE)
        answer = call(self._scene, request, "sim_node: reset_task", _SETTLE_S)
        if answer.accepted:
            self._wait_until_seen(request)
        self._transition(names.CONTROL_NODE, Transition.TRANSITION_ACTIVATE)
        self._transition("policy_node", Transition.TRANSITION_ACTIVATE)
        if not answer.accepted:
            raise ContractError(answer.message)
        return str(answer.instruction)

    def _wait_until_seen(self, request: ResetTask.Request) -> None:
        """Until the policy's newest observation is of the new scene: it starts from what it sees."""
        end = time.monotonic() + _SETTLE_S
        while time.monotonic() < end:
            task = self._live.task
            new = task.seed == request.seed and request.task in ("", task.task) and task.frames > 0
            if new and self._live.policy_sees_episode():
                return
            time.sleep(0.05)
        do = "look at cameras and joint states in the diagnostics"
        raise ContractError(problem("policy_node", "to see the new scene", "an older one", do))

    def _transition(self, name: str, number: int) -> None:
        request = ChangeState.Request(transition=Transition(id=number))
        answer = call(self._lifecycle[name], request, f"{name}: transition", _SETTLE_S)
        if not answer.success:
            do = "read the last events"
            raise ContractError(problem(name, "to change its state", "a refusal", do))

    def _ask_doctor(self, values: Mapping[str, Any], who: str) -> str:
        """In a process of its own that stands back: it reads the checkpoint and listens for seconds."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "findings.json"
            words = [*self._doctor, "--live", "--json", str(path)]
            if self._prefix:
                words += ["--namespace", self._prefix]
            done = subprocess.run(
                [sys.executable, "-m", "adamoe_ros.cli.entry", "doctor", *words],
                capture_output=True,
                text=True,
                timeout=_DOCTOR_S,
                preexec_fn=lambda: os.nice(19),
            )
            if not path.is_file():
                raise ContractError(done.stderr.strip().splitlines()[-1:] or ["doctor: no answer"])
            self.findings = json.loads(path.read_text(encoding="utf-8"))
        return json.dumps(self.findings)


def _sentence(values: Mapping[str, Any]) -> str:
    text = str(values.get("instruction", "")).strip()
    if not text:
        raise ContractError(problem("instruction", "a sentence", "an empty one", "write one"))
    return text


def _seconds(values: Mapping[str, Any]) -> float:
    return _number(values, "max_duration", 0.0, _LONGEST_GOAL) if "max_duration" in values else 0.0


def _number(values: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value = values.get(name)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is None or not number or not low <= value <= high:
        expected = f"a number in {low:g} ... {high:g}"
        raise ContractError(problem(name, expected, repr(value)[:40], "correct it"))
    return float(value)
