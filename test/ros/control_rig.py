# SPDX-License-Identifier: Apache-2.0
"""A control_node and a loopback robot as real processes, and a probe that talks to both.

The probe spins in its own thread, so that receipt times are the messages' and not the test's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.time import Time
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import CommandTopic, command_topics
from adamoe_ros.msg import ActionChunk, ControlStatus, MotionCommand, PolicyStatus
from adamoe_ros.ros import names, qos, transports
from adamoe_ros.ros.control.command_outputs import message_type
from adamoe_ros.streams.commands import topic_codec
from adamoe_ros.streams.messages import stamp_ns

START = 60.0  # s for a process to answer; generous, because the machine may be busy
Array = np.ndarray

if TYPE_CHECKING:
    from typing import Self


def node_command(
    module: str,
    attribute: str,
    parameters: dict[str, Any],
    namespace: str = "",
    threads: int = 1,
) -> list[str]:
    """Command line of one of this package's nodes, as its installed script runs it."""
    arguments = f"'{module}', '{attribute}', threads={threads}"
    code = f"import sys; from adamoe_ros.ros.runner import main; sys.exit(main({arguments}))"
    pairs = [f"{key}:={_text(value)}" for key, value in parameters.items()]
    options = [word for pair in pairs for word in ("-p", pair)]
    place = ["-r", f"__ns:=/{namespace}"] if namespace else []
    return [sys.executable, "-c", code, "--ros-args", *options, *place]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def wait_until(
    condition: Callable[[], Any], what: str | Callable[[], str], timeout: float = START
) -> float:
    """Until the condition holds; returns how long it took, s."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > timeout:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout} s: {text}")
        time.sleep(0.002)
    return time.monotonic() - begin


def in_executor(executor: SingleThreadedExecutor, work: Callable[[], Any]) -> Any:
    """Let the thread that spins do something, and wait for what it returns.

    An action client of rclpy is neither made nor asked safely beside the executor that serves it: Kilted's
    enters the node before its lock exists, and replaces the future of a goal that was already sent.
    """
    task = executor.create_task(work)
    wait_until(task.done, "the executor to do it")
    return task.result()


class Process:
    """A child process with its output in a file."""

    def __init__(
        self, command: list[str], log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.log = log
        self._stream = log.open("w")
        self.child = subprocess.Popen(
            command, stdout=self._stream, stderr=subprocess.STDOUT, env=environment
        )

    def stop(self, number: int = signal.SIGINT, timeout: float = 30.0) -> int:
        """Signal and wait; kills what does not end. Returns the exit code."""
        if self.child.poll() is None:
            self.child.send_signal(number)
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise
        finally:
            self._stream.close()

    @property
    def text(self) -> str:
        """Output so far."""
        return self.log.read_text(errors="replace")


@dataclass(frozen=True)
class Sample:
    """One command message: receipt (steady s), header stamp (ns, 0 without a header), values."""

    at: float
    stamp_ns: int
    values: Array
    names: tuple[str, ...]


class Probe:
    """Publishes what a policy publishes, records what control publishes."""

    def __init__(
        self, profile: RobotProfile, use_sim_time: bool = False, namespace: str = ""
    ) -> None:
        self.profile = profile
        self.context = rclpy.Context()  # its own: several rigs may live in one test session
        rclpy.init(context=self.context)
        overrides = [Parameter("use_sim_time", value=use_sim_time)]
        self.node = rclpy.create_node(
            "probe",
            context=self.context,
            namespace=namespace,
            parameter_overrides=overrides,
        )
        self.statuses: list[tuple[float, ControlStatus]] = []
        self.commands: dict[str, list[Sample]] = {}
        self.trajectories: dict[str, list[JointTrajectory]] = {}
        self.diagnostics: list[DiagnosticStatus] = []
        self.generation, self.chunk_id = 1, 0
        self.alive = True  # whether the heartbeat of the policy goes on
        self._chunks = self.node.create_publisher(ActionChunk, names.ACTION_CHUNK, qos.CHUNK)
        self._motion = self.node.create_publisher(MotionCommand, names.MOTION, qos.MOTION)
        self._alive = self.node.create_publisher(
            PolicyStatus, names.POLICY_STATUS, qos.POLICY_STATUS
        )
        self._stop = self.node.create_publisher(Bool, names.EMERGENCY_STOP, qos.EMERGENCY_STOP)
        self.node.create_subscription(
            ControlStatus, names.CONTROL_STATUS, self._note_status, qos.CONTROL_STATUS
        )
        self.node.create_subscription(
            DiagnosticArray,
            "/diagnostics",
            lambda message: self.diagnostics.extend(message.status),
            qos.DIAGNOSTICS,
        )
        for topic in command_topics(profile):
            self._listen(topic, topic.target.topic)
        self.node.create_timer(0.1, self._heartbeat)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def in_executor(self, work: Callable[[], Any]) -> Any:
        """Let the spinning thread do something, and wait for what it returns."""
        return in_executor(self._executor, work)

    def close(self) -> None:
        """Stop spinning."""
        self._executor.shutdown()
        self._thread.join(5.0)
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def listen_to_shadow(self) -> None:
        """Record the shadow topics as well, under their full names."""
        for topic in command_topics(self.profile):
            self._listen(topic, f"control_node/shadow/{topic.target.topic}")

    def _listen(self, topic: CommandTopic, name: str) -> None:
        kind, codec = message_type(topic), topic_codec(topic)
        samples = self.commands.setdefault(name, [])

        def note(message: Any) -> None:
            command = codec.decode(message, topic.names)
            header = getattr(message, "header", None)
            stamp = stamp_ns(header.stamp) if header else 0
            samples.append(Sample(time.monotonic(), stamp, command.positions[0], command.names))
            if isinstance(message, JointTrajectory):
                self.trajectories.setdefault(name, []).append(message)

        self.node.create_subscription(kind, name, note, 100)

    def _note_status(self, message: ControlStatus) -> None:
        self.statuses.append((time.monotonic(), message))

    # --- as the policy --------------------------------------------------------------------------

    def _heartbeat(self) -> None:
        if self.alive:
            self._alive.publish(PolicyStatus(state="active", phase="executing"))

    def ask_run(self) -> None:
        """Ask that chunks of the next generation may move the arms."""
        self.wait(self._chunks.get_subscription_count, "control to listen")
        self.generation += 1
        self.chunk_id = 0
        self._motion.publish(
            MotionCommand(command=MotionCommand.RUN, generation=self.generation, reason="test")
        )

    def run(self) -> None:
        """As ``ask_run``, until it is taken: none counts while another node is in the way."""
        asked = time.monotonic()
        self.ask_run()

        def taken() -> bool:
            nonlocal asked
            if time.monotonic() - asked > 1.0:
                asked = time.monotonic()
                self.ask_run()
            return self.status.generation == self.generation

        self.wait(taken, "RUN to be taken")

    def leave_policy(self) -> None:
        """Stop being the policy: a real one is there."""
        self.alive = False
        for publisher in (self._chunks, self._motion, self._alive):
            self.node.destroy_publisher(publisher)

    def hold(self, reason: str = "cancelled") -> float:
        """Stop the arms; returns when it was sent (steady s)."""
        message = MotionCommand(
            command=MotionCommand.HOLD, generation=self.generation, reason=reason
        )
        self._motion.publish(message)
        return time.monotonic()

    def chunk(self, targets: Array, dt: float = 0.02, **changes: Any) -> ActionChunk:
        """Publish (H, J) command values, row 0 for now."""
        self.chunk_id += 1
        message = ActionChunk(
            chunk_id=self.chunk_id,
            generation=self.generation,
            joint_names=list(self.profile.joint_ids),
            dt=dt,
            rows=len(targets),
            positions=targets.ravel().tolist(),
        )
        message.header.stamp = self.node.get_clock().now().to_msg()
        for name, value in changes.items():
            setattr(message, name, value)
        self._chunks.publish(message)
        return message

    def emergency_stop(self, pressed: bool = True) -> float:
        """By topic; returns when it was sent."""
        self._stop.publish(Bool(data=pressed))
        return time.monotonic()

    # --- what control says ----------------------------------------------------------------------

    @property
    def status(self) -> ControlStatus:
        """The newest."""
        return self.statuses[-1][1]

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = START) -> float:
        """Until the condition holds; returns how long it took, s."""
        return wait_until(condition, lambda: f"{what}; last status: {self._last()}", timeout)

    def _last(self) -> ControlStatus | None:
        return self.statuses[-1][1] if self.statuses else None

    def wait_quiet(self, samples: list[Sample], seconds: float = 0.5) -> None:
        """Until no command has come for some time; those under way have arrived then."""
        begin = time.monotonic()

        def quiet() -> bool:
            newest = max([begin, *(sample.at for sample in samples[-1:])])
            return time.monotonic() - newest > seconds

        self.wait(quiet, "commands to end")

    def wait_mode(self, mode: int, cause: str = "", timeout: float = START) -> float:
        """Until control_status shows a mode, with a cause that contains ``cause``.

        The newest status counts and every later one: a state that is left again within a moment is
        not missed by a test that the machine lets wait.
        """
        first = max(0, len(self.statuses) - 1)

        def there() -> bool:
            return any(
                status.mode == mode and cause in status.hold_cause
                for _, status in self.statuses[first:]
            )

        return self.wait(there, f"mode {mode} {cause}", timeout)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service."""
        client = self.node.create_client(kind, name)
        try:
            assert client.wait_for_service(START), f"no service {name}"
            future = client.call_async(request)
            self.wait(future.done, f"answer of {name}")
            return future.result()
        finally:
            self.node.destroy_client(client)

    def transition(self, node: str, transition: int) -> bool:
        """Ask a node for a lifecycle transition."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, f"{node}/change_state", request).success)

    def ask_transition(self, node: str, transition: int) -> Any:
        """Ask without waiting; the future of the answer."""
        client = self.node.create_client(ChangeState, f"{node}/change_state")
        assert client.wait_for_service(START)
        return client.call_async(ChangeState.Request(transition=Transition(id=transition)))

    def state_of(self, node: str) -> str:
        """Lifecycle state of a node."""
        return str(self.call(GetState, f"{node}/get_state", GetState.Request()).current_state.label)

    def set(self, node: str, **values: Any) -> list[str]:
        """Set parameters; returns the reasons of those that were refused."""
        parameters = [
            Parameter(key, value=value).to_parameter_msg() for key, value in values.items()
        ]
        request = SetParameters.Request(parameters=parameters)
        results = self.call(SetParameters, f"{node}/set_parameters", request).results
        return [result.reason for result in results if not result.successful]

    def trigger(self, name: str) -> Any:
        """Call a Trigger service."""
        return self.call(Trigger, name, Trigger.Request())

    def now_ns(self) -> int:
        """ROS time."""
        return int(Time.from_msg(self.node.get_clock().now().to_msg()).nanoseconds)


class Rig:
    """Robot and control_node of one profile; both end with the ``with`` block."""

    def __init__(
        self,
        folder: Path,
        robot: str = "aloha_sim",
        loopback: dict[str, Any] | None = None,
        sim_probe: bool = False,
        namespace: str = "",
        **control: Any,
    ) -> None:
        self.robot_file = profile_path(robot, robots_dir())
        self.profile = load_profile(self.robot_file)
        shared = {"robot": robot, "autostart": True}
        self._commands = {
            "loopback": node_command(
                "adamoe_ros.ros.sim.loopback_node",
                "LoopbackNode",
                {**shared, **(loopback or {})},
                namespace,
            ),
            "control": node_command(
                "adamoe_ros.ros.control.control_node",
                "ControlNode",
                {**shared, **control},
                namespace,
            ),
        }
        self.folder, self._sim_probe, self._namespace = folder, sim_probe, namespace
        self.processes: dict[str, Process] = {}

    def __enter__(self) -> Self:
        self.probe = Probe(self.profile, self._sim_probe, self._namespace)
        for name, command in self._commands.items():
            self.start(name, command)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            for process in self.processes.values():
                process.stop()
        finally:
            self.probe.close()

    def start(self, name: str, command: list[str]) -> Process:
        """One more process."""
        self.processes[name] = Process(command, self.folder / f"{name}.log")
        return self.processes[name]

    @property
    def home(self) -> Array:
        """(J,) command values of the pose the loopback robot starts in."""
        from adamoe_ros.contract.joint_map import state_to_command

        state = np.array([value for _, arm in self.profile.ordered_arms for value in arm.home])
        return state_to_command(self.profile).apply(state)

    def holding(self) -> None:
        """Wait until control holds, with fresh joint states."""
        self.probe.wait_mode(ControlStatus.HOLD)

    def settle(self) -> None:
        """Back to the beginning for the next test: holding at home, no fault, nothing recorded."""
        probe = self.probe
        probe.alive = True
        probe.set("loopback_node", fault="none")
        mended_ns = probe.now_ns()
        probe.set("control_node", max_speed_scale=1.0, start_ramp=True)
        probe.emergency_stop(False)
        if probe.status.mode == ControlStatus.ESTOP:
            probe.wait(lambda: probe.trigger("reset").success, "the reset")
        probe.run()
        probe.chunk(self.wave(0.02), dt=0.5)
        probe.wait(lambda: self._at_home(mended_ns), "the way home")
        probe.set("control_node", start_ramp=False)
        probe.hold("settled")
        probe.wait_mode(ControlStatus.HOLD, "settled")
        for recorded in (*probe.commands.values(), probe.diagnostics):
            recorded.clear()

    def _at_home(self, since_ns: int) -> bool:
        """By joint states from after a moment: a fault may have told of home until then."""
        status = self.probe.status
        measured = np.array(status.measured)
        if stamp_ns(status.header.stamp) - status.state_age * 1e9 <= since_ns:
            return False
        return measured.size > 0 and float(np.abs(measured - self.home).max()) < 0.01

    def wave(self, seconds: float, amplitude: float = 0.15, dt: float = 0.02) -> Array:
        """(H, J) command rows: every arm joint swings around home, grippers stay."""
        home = self.home
        rows = np.tile(home, (round(seconds / dt), 1))
        phase = np.arange(len(rows)) * dt
        for column, limits in enumerate(self._limits()):
            low, high = limits.position
            if limits.velocity >= 0.5 and high - low > 1.0:
                room = 1.0 if home[column] + amplitude <= high else -1.0
                rows[:, column] += room * amplitude * (1 - np.cos(phase * 2.0)) / 2
        return rows

    def _limits(self) -> list[Any]:
        return [limits for _, arm in self.profile.ordered_arms for limits in arm.limits]

    def move(self, seconds: float = 2.0, amplitude: float = 0.15) -> None:
        """Start a motion of some seconds and wait until the arms follow it."""
        self.probe.run()
        self.probe.chunk(self.wave(seconds, amplitude))
        self.probe.wait_mode(ControlStatus.RUNNING)


def isolate() -> None:
    """A ROS domain of this process's own, on this machine only."""
    domain = os.environ.setdefault("ROS_DOMAIN_ID", str(10 + os.getpid() % 90))
    if worker := os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw"):
        os.environ["ROS_DOMAIN_ID"] = str(10 + (int(domain) - 9 + int(worker)) % 90)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    transports.prepare()  # an observer that shares memory with a dead process is late itself
