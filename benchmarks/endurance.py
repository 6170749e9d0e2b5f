#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A day of goals in simulated time: do memory, descriptors, threads, shared memory and logs stay flat?

    make endurance ARGS="--hours 24"

Real nodes as processes: control_node, policy_node with a tiny random checkpoint, and a robot that goes where
it is commanded, in step with control_node, and publishes /clock as fast as the two keep up (``--factor`` is
the most). What a day is made of is counted in ticks, chunks and goals, so the robot is a slow one: commands and
joint states at 10 Hz, pictures at 1 Hz. Goals of a minute, every fifth cancelled, every seventh replaced by the
next. Writes benchmarks/results/endurance.json and endurance.svg; 1 where something grows or goals fail.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
from common import RESULTS, ROOT, machine, write
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

sys.path[:0] = [str(ROOT / "test" / "ros"), str(ROOT / "test" / "core" / "policy")]

import policy_rig  # noqa: E402
from control_rig import Process, isolate, node_command  # noqa: E402

from adamoe_ros.action import ExecuteInstruction  # noqa: E402
from adamoe_ros.contract.profile_io import load_profile  # noqa: E402
from adamoe_ros.contract.topics import command_topics, state_topics  # noqa: E402
from adamoe_ros.data import svg  # noqa: E402
from adamoe_ros.msg import ControlStatus, PolicyStatus  # noqa: E402
from adamoe_ros.ros import names, qos  # noqa: E402
from adamoe_ros.ros.policy.policy_messages import to_time  # noqa: E402
from adamoe_ros.ros.runner import Stop  # noqa: E402
from adamoe_ros.ros.sim.loopback_cameras import picture  # noqa: E402
from adamoe_ros.ros.transports import PictureNode  # noqa: E402
from adamoe_ros.sim.loopback import LoopbackRobot  # noqa: E402
from adamoe_ros.streams.messages import stamp_ns  # noqa: E402

# times of the simulated clock: heartbeats come in wall time, which is up to a hundred times slower
PROFILE = """
extends: aloha_sim
name: endurance
use_sim_time: true
command_rate: 10.0
arms:
  left: {state: {timeout: 2.0}}
  right: {state: {timeout: 2.0}}
cameras:
  cam_high: {width: 32, height: 24, rate: 1.0, timeout: 5.0, tolerance: 1.0}
  cam_left_wrist: {width: 32, height: 24, rate: 1.0, timeout: 5.0, tolerance: 1.0}
  cam_right_wrist: {width: 32, height: 24, rate: 1.0, timeout: 5.0, tolerance: 1.0}
gate: {max_tracking_error: 1.0}
watchdogs: {policy: 60.0, chunk: 30.0}
"""
STEP_NS, STATES_EVERY, PICTURES_EVERY = 100_000_000, 1, 10  # of /clock; in steps
AHEAD_NS = 300_000_000  # that the clock may be ahead of the last command
PATIENCE = 1.0  # s (wall) that the robot waits for a command
START_NS = 1_000_000_000
GOAL_S, CANCEL_AFTER_S = 60.0, 20.0  # of the simulated clock
ROW_RATE = 4.0  # Hz: a chunk of 50 rows lasts 12.5 s, so that inference has 0.2 s of wall time
START = 120.0  # s
MIB = 2**20
GROWTH = 0.05  # of memory in a day, beyond which it counts as a leak; or ...
GROWTH_MIB = 8.0  # ... that much, where 5 % is less
LOG_BYTES_PER_GOAL = 4096.0  # each line is written twice: on the console and in ROS's own log
Result = ExecuteInstruction.Result


# --- the robot ----------------------------------------------------------------------------------------


class StepRobot:
    """Echoes commands as joint states, and advances /clock when control_node has followed.

    Args:
        profile: file.
        factor: simulated seconds per second, at most.
    """

    def __init__(self, profile: Path, factor: float) -> None:
        self._profile, self._factor = load_profile(profile), factor
        self._robot = LoopbackRobot(self._profile)
        self.node = rclpy.create_node("endurance_robot")
        make = self.node.create_publisher
        self._clock = make(Clock, "/clock", qos.CLOCK)
        self._states = [
            (make(JointState, t.source.topic, qos.COMMAND), t) for t in state_topics(self._profile)
        ]
        self._pictures = PictureNode(self.node, sends=True)
        self._cameras = []
        for place, camera in enumerate(self._profile.present_cameras.values()):
            message = picture(camera, 255 - 60 * place)
            topic = self._pictures.topic(camera.topic or "")
            publisher = self._pictures.node.create_publisher(type(message), topic, qos.COMMAND)
            self._cameras.append((publisher, message))
        for commanded in command_topics(self._profile):
            name = commanded.target.topic
            take = partial(self._command, name)
            self.node.create_subscription(JointState, name, take, qos.COMMAND)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._commanded_ns, self._now_ns, self.waits = 0, START_NS, 0

    def _command(self, topic: str, message: JointState) -> None:
        self._commanded_ns = max(self._commanded_ns, stamp_ns(message.header.stamp))
        self._robot.command(topic, message, self._now_ns)

    def run(self, stop: Stop) -> None:
        """Until a signal."""
        due, steps = time.monotonic(), 0
        while not stop:
            self._follow(stop)
            self._now_ns += STEP_NS
            self._publish(steps)
            steps += 1
            due = max(due + STEP_NS / 1e9 / self._factor, time.monotonic() - 0.05)
            while (left := due - time.monotonic()) > 0 and not stop:
                self._executor.spin_once(timeout_sec=left)

    def _follow(self, stop: Stop) -> None:
        """Take commands until control_node is near; one that does not command at all is not waited for."""
        deadline = time.monotonic() + PATIENCE
        while (
            self._commanded_ns
            and self._now_ns - self._commanded_ns > AHEAD_NS
            and time.monotonic() < deadline
            and not stop
        ):
            self._executor.spin_once(timeout_sec=0.01)
        self._executor.spin_once(timeout_sec=0.0)

    def _publish(self, steps: int) -> None:
        stamp = to_time(self._now_ns)
        self._clock.publish(Clock(clock=stamp))
        if steps % STATES_EVERY == 0:
            self._robot.advance(self._now_ns)
            for publisher, topic in self._states:
                message = JointState(name=list(topic.names), position=self._robot.positions(topic))
                message.header.stamp = stamp
                publisher.publish(message)
        if steps % PICTURES_EVERY == 0:
            for publisher, message in self._cameras:
                message.header.stamp = stamp
                publisher.publish(message)


def run_robot(profile: Path, factor: float) -> None:
    """The robot as a process."""
    stop = Stop()
    rclpy.init(args=[], signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    StepRobot(profile, factor).run(stop)
    rclpy.try_shutdown()


# --- goals ----------------------------------------------------------------------------------------------


class Operator:
    """Sends goals one after the other, and knows the simulated time.

    Args:
        failed: called when a goal ended as none should.
    """

    def __init__(self, failed: Callable[[], None]) -> None:
        self.failed = failed
        rclpy.init(args=[])
        self.node = rclpy.create_node("endurance_operator")
        self.now_ns, self.codes, self.chunks = 0, Counter[int](), 0
        self.holds: Counter[str] = Counter()
        self.control: ControlStatus | None = None
        self.policy: PolicyStatus | None = None
        make = self.node.create_subscription
        make(Clock, "/clock", self._tick, qos.CLOCK)
        make(ControlStatus, names.CONTROL_STATUS, self._hear_control, qos.CONTROL_STATUS)
        make(PolicyStatus, names.POLICY_STATUS, self._hear_policy, qos.POLICY_STATUS)
        self._client: Any = ActionClient(self.node, ExecuteInstruction, names.EXECUTE)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def _tick(self, message: Clock) -> None:
        self.now_ns = stamp_ns(message.clock)

    def _hear_control(self, message: ControlStatus) -> None:
        before, self.control = self.control, message
        cause = message.hold_cause
        if cause and (before is None or cause != before.hold_cause):
            self.holds[cause] += 1

    def _hear_policy(self, message: PolicyStatus) -> None:
        self.policy = message

    def until(self, condition: Any, what: Any, timeout: float = START) -> None:
        """Spin until the condition holds."""
        begin = time.monotonic()
        while not condition():
            self._executor.spin_once(timeout_sec=0.1)
            if time.monotonic() - begin > timeout:
                raise TimeoutError(f"not within {timeout:g} s: {what()}")

    def ready(self) -> bool:
        """Both nodes are active."""
        policy, control = self.policy, self.control
        active = policy is not None and policy.state == "active" and not policy.missing
        return active and control is not None and control.mode == ControlStatus.HOLD

    def goal(self, number: int) -> None:
        """One goal: of its whole duration, cancelled, or replaced by another."""
        result = self._begin(number)
        if number % 5 == 4:
            self._pass(CANCEL_AFTER_S, result)
            self._handle.cancel_goal_async()
        elif number % 7 == 6:
            self._pass(CANCEL_AFTER_S, result)
            other = self._begin(number)
            self._end(result)
            result = other
        self._end(result)

    def _begin(self, number: int) -> Any:
        goal = ExecuteInstruction.Goal(instruction=policy_rig.SENTENCE, max_duration=GOAL_S)
        sent = self._client.send_goal_async(goal)
        self.until(sent.done, lambda: f"acceptance of goal {number}")
        self._handle: Any = sent.result()
        return self._handle.get_result_async()

    def _pass(self, seconds: float, result: Any) -> None:
        until = self.now_ns + round(seconds * 1e9)
        self.until(lambda: result.done() or self.now_ns >= until, lambda: "the clock to go on")

    def _end(self, result: Any) -> None:
        self.until(result.done, lambda: f"a result; {self.policy} {self.control}")
        found = result.result().result
        self.codes[int(found.code)] += 1
        self.chunks += int(found.chunks)
        if found.code not in (Result.DURATION_REACHED, Result.CANCELLED, Result.PREEMPTED):
            print(f"goal ended with {found.code}: {found.message}", flush=True)
            self.failed()


# --- figures ----------------------------------------------------------------------------------------------


def sample(processes: dict[str, Process], logs: Path) -> dict[str, dict[str, float]]:
    """Node -> what it has of each resource."""
    found = {}
    for name, process in processes.items():
        about = psutil.Process(process.child.pid)
        memory = about.memory_full_info()
        shared = {
            item.path for item in about.memory_maps() if item.path.startswith("/dev/shm/fastdds")
        }
        own = logs / name
        written = sum(path.stat().st_size for path in own.rglob("*") if path.is_file())
        found[name] = {
            "pss_mib": memory.pss / MIB,
            "rss_mib": memory.rss / MIB,
            "descriptors": about.num_fds(),
            "threads": about.num_threads(),
            "shared_memory_files": len(shared),
            "log_bytes": process.log.stat().st_size + written,
        }
    return found


def slope(hours: list[float], values: list[float]) -> float:
    """Per simulated hour, by least squares over the last two thirds: the first is warming up."""
    first = len(hours) // 3
    if len(hours) - first < 3:
        return float("nan")
    return float(np.polyfit(hours[first:], values[first:], 1)[0])


def judge(rows: list[dict[str, Any]], goals: int) -> tuple[dict[str, Any], list[str]]:
    """Slopes by node and resource, and what grows."""
    hours, slopes, bad = [row["sim_hours"] for row in rows], {}, []
    for name in rows[0]["nodes"]:
        found = {
            key: [float(row["nodes"][name][key]) for row in rows] for key in rows[0]["nodes"][name]
        }
        slopes[name] = {f"{key}_per_hour": slope(hours, values) for key, values in found.items()}
        third = len(rows) // 3
        # memory that is measured for less than a day is not projected further than it was measured
        grown = slopes[name]["pss_mib_per_hour"] * (hours[-1] - hours[third])
        if grown > max(GROWTH * found["pss_mib"][third], GROWTH_MIB):
            bad.append(f"{name}: memory grew by {grown:.1f} MiB")
        for key in ("descriptors", "threads", "shared_memory_files"):
            if max(found[key][-third:]) > max(found[key][: 2 * third]):
                bad.append(f"{name}: {key} grew to {max(found[key]):.0f}")
        logged = (found["log_bytes"][-1] - found["log_bytes"][0]) / max(1, goals)
        slopes[name]["log_bytes_per_goal"] = logged
        if logged > LOG_BYTES_PER_GOAL:
            bad.append(f"{name}: {logged:.0f} bytes of log per goal")
    return slopes, bad


def plot(rows: list[dict[str, Any]]) -> str:
    """PSS of each node over simulated time, relative to the first third's end."""
    hours = [row["sim_hours"] for row in rows]
    series = [
        svg.Series(f"{name}, PSS (MiB)", hours, [r["nodes"][name]["pss_mib"] for r in rows], place)
        for place, name in enumerate(rows[0]["nodes"])
    ]
    return svg.line_chart(series, name="memory over simulated hours")


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hours", type=float, default=24.0, help="simulated")
    parser.add_argument("--factor", type=float, default=34.0, help="simulated s per s, at most")
    parser.add_argument("--every", type=float, default=15.0, help="s (wall) between samples")
    parser.add_argument("--out", type=Path, default=RESULTS / "endurance.json")
    parser.add_argument("--robot", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    isolate()
    if options.robot:
        run_robot(options.robot, options.factor)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the nodes, too
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        return measure(options, Path(folder), stack)


def start(folder: Path, factor: float, stack: ExitStack) -> dict[str, Process]:
    """The three processes."""
    profile = policy_rig.write_profile(folder, PROFILE)
    common = {"robot": profile, "use_sim_time": True, "autostart": True}
    policy_rig.ROW_RATE = ROW_RATE
    checkpoint = policy_rig.write_rig_checkpoint(folder / "checkpoint", profile)
    policy = {**common, "checkpoint": checkpoint}
    policy |= {"device": "cpu", "threads": 1, "seed": 1, "input_timeout": 60.0}
    policy |= {"status_rate": 20.0, "max_observation_age": 5.0, "input_patience": 60.0}
    control = {**common, "start_ramp": True}  # a random network's next chunk may begin far away
    node = "adamoe_ros.ros"
    robot = [sys.executable, __file__, "--robot", str(profile), "--factor", str(factor)]
    commands = {
        "robot": robot,
        "control_node": node_command(f"{node}.control.control_node", "ControlNode", control),
        "policy_node": node_command(f"{node}.policy.policy_node", "PolicyNode", policy, threads=4),
    }
    processes = {}
    for name, command in commands.items():
        environment = {**os.environ, "ROS_LOG_DIR": str(folder / name)}
        processes[name] = Process(command, folder / f"{name}.log", environment)
        stack.callback(_end, processes[name])
    return processes


def _end(process: Process) -> None:
    with contextlib.suppress(Exception):
        process.stop(signal.SIGINT)


def measure(options: argparse.Namespace, folder: Path, stack: ExitStack) -> int:
    """Goals until the hours have passed; figures, plot and verdict."""
    about = machine()
    processes = start(folder, options.factor, stack)
    operator = Operator(lambda: print(_report(processes), flush=True))
    operator.until(operator.ready, lambda: _report(processes))
    begin, first_ns, due = time.monotonic(), operator.now_ns, time.monotonic()
    rows: list[dict[str, Any]] = []
    goals, failure = 0, ""
    while (hours := (operator.now_ns - first_ns) / 3.6e12) < options.hours:
        if time.monotonic() >= due:
            due = time.monotonic() + options.every
            rows.append({"sim_hours": hours, "nodes": sample(processes, folder)})
            print(f"{hours:.2f} h, {time.monotonic() - begin:.0f} s, {goals} goals", flush=True)
        try:
            operator.goal(goals)
        except TimeoutError as error:
            failure = str(error)
            print(_report(processes))
            break
        goals += 1
    rows.append({"sim_hours": hours, "nodes": sample(processes, folder)})
    seconds = time.monotonic() - begin
    slopes, bad = judge(rows, goals)
    right = {Result.DURATION_REACHED, Result.CANCELLED, Result.PREEMPTED}
    failed = sum(count for code, count in operator.codes.items() if code not in right)
    bad += [f"{failed} of {goals} goals failed"] if failed else []
    bad += [failure] if failure else []
    document = {
        "machine": about,
        "sim_hours": hours,
        "seconds": seconds,
        "factor": hours * 3600 / seconds,
        "goals": goals,
        "chunks": operator.chunks,
        "ticks": None if operator.control is None else int(operator.control.ticks),
        "codes": dict(sorted(operator.codes.items())),
        "hold_causes": dict(operator.holds),
        "slopes": slopes,
        "bad": bad,
        "samples": rows,
    }
    write(options.out, document)
    options.out.with_suffix(".svg").write_text(plot(rows), encoding="utf-8")
    print(f"factor {document['factor']:.0f}; " + ("; ".join(bad) or "flat"))
    return 1 if bad else 0


def _report(processes: dict[str, Process]) -> str:
    return "\n".join(f"{name}:\n{process.text[-2000:]}" for name, process in processes.items())


if __name__ == "__main__":
    sys.exit(main())
