#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What policy_node's inputs cost and how old they are: CPU time, losses, ages, goal to first chunk.

Real processes: loopback_node as the robot (two joint-state topics, three raw cameras of 640x480) and
policy_node on a tiny random checkpoint, whose inference takes milliseconds. CPU time is each process's own
(user + system, of all its threads), as a share of one core.

    python benchmarks/bench_policy_inputs.py
    python benchmarks/bench_policy_inputs.py --before <checkout> --label <commit>   # in turn with another
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "test" / "ros"), str(ROOT / "test" / "core" / "policy")]

import rclpy  # noqa: E402
from common import RESULTS, machine, write  # noqa: E402
from control_rig import Process, isolate, node_command, wait_until  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from policy_rig import SENTENCE, write_profile, write_rig_checkpoint  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from adamoe_ros.action import ExecuteInstruction  # noqa: E402
from adamoe_ros.msg import ActionChunk, PolicyStatus  # noqa: E402
from adamoe_ros.ros import names, qos  # noqa: E402

PROFILE = """
extends: aloha_sim
name: bench
use_sim_time: false
cameras:
  cam_high: {rate: %(rate)s}
  cam_left_wrist: {rate: %(rate)s}
  cam_right_wrist: {rate: %(rate)s}
"""
CASES = ((100.0, 15.0), (100.0, 30.0), (200.0, 30.0))  # Hz: joint states, cameras
MATCHED = 2.0  # s until publishers and subscriptions have found each other
DRAINED = 2.0  # s until a node that is behind has taken what waits, at most a few messages a topic


class Client:
    """Hears the policy and asks it for goals, in a thread of its own."""

    def __init__(self) -> None:
        rclpy.init()
        self.node = rclpy.create_node("bench_policy_inputs")
        self.statuses: list[PolicyStatus] = []
        self.chunks: list[tuple[float, ActionChunk]] = []
        self.received: dict[str, int] = {}
        listen = self.node.create_subscription
        listen(PolicyStatus, names.POLICY_STATUS, self.statuses.append, qos.POLICY_STATUS)
        listen(ActionChunk, names.ACTION_CHUNK, self._on_chunk, qos.CHUNK)
        listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        self.goals: Any = ActionClient(self.node, ExecuteInstruction, names.EXECUTE)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop hearing."""
        self._executor.shutdown()
        self._thread.join(5.0)
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _on_chunk(self, message: ActionChunk) -> None:
        self.chunks.append((time.monotonic(), message))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith("policy_node: inputs"):
                found = {item.key: item.value for item in status.values}
                self.received = {
                    key.removesuffix(" received"): int(value)
                    for key, value in found.items()
                    if key.endswith(" received")
                }

    def state(self, name: str) -> bool:
        """Whether the policy says that it is in a lifecycle state."""
        return bool(self.statuses) and self.statuses[-1].state == name

    def transition(self, number: int) -> None:
        """Of the robot."""
        client: Any = self.node.create_client(ChangeState, "loopback_node/change_state")
        assert client.wait_for_service(30.0)
        future = client.call_async(ChangeState.Request(transition=Transition(id=number)))
        wait_until(future.done, "the robot's transition", 30.0)
        assert future.result().success

    def first_chunk(self) -> tuple[float, float]:
        """s from asking for a goal to its first chunk, and s of its inference; then cancels."""
        begin, known = time.monotonic(), len(self.chunks)
        sent = self.goals.send_goal_async(ExecuteInstruction.Goal(instruction=SENTENCE))
        wait_until(lambda: len(self.chunks) > known, "a chunk", 60.0)
        at, chunk = self.chunks[known]
        wait_until(sent.done, "the goal's acceptance", 60.0)
        handle = sent.result()
        ended = handle.get_result_async()
        handle.cancel_goal_async()
        wait_until(ended.done, "the goal's end", 60.0)
        return at - begin, float(chunk.inference)


def cpu_s(process: Process) -> float:
    """CPU time of a process so far, s."""
    fields = Path(f"/proc/{process.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(command: list[str], log: Path, package: Path) -> Process:
    """A node of the package of a checkout."""
    path, here = os.environ.get("PYTHONPATH", ""), Path.cwd()
    os.environ["PYTHONPATH"] = f"{package}:{path}"
    os.chdir(package)  # which "python -c" puts before everything else
    try:
        return Process(command, log)
    finally:
        os.environ["PYTHONPATH"] = path
        os.chdir(here)


def quantiles(values: list[float]) -> dict[str, float | int]:
    """In ms."""
    if not values:
        return {"count": 0}
    p50, p95, p99 = np.quantile(values, (0.5, 0.95, 0.99)) * 1e3
    figures = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": max(values) * 1e3}
    return {"count": len(values), **{key: round(float(value), 2) for key, value in figures.items()}}


def measure(
    state_rate: float, camera_rate: float, package: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """One pair of rates, with policy_node of one checkout."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        robot = write_profile(folder, PROFILE % {"rate": camera_rate})
        checkpoint = write_rig_checkpoint(folder / "checkpoint", robot)
        loopback = {"robot": robot, "cameras": True, "state_rate": state_rate}
        policy = {"robot": robot, "checkpoint": checkpoint, "device": "cpu", "threads": 1}
        policy |= {"seed": 1, "autostart": True, "input_timeout": 20.0}
        client = Client()
        processes = [
            start(
                node_command("adamoe_ros.ros.policy.policy_node", "PolicyNode", policy, threads=4),
                folder / "policy.log",
                package,
            ),
            start(
                node_command("adamoe_ros.ros.sim.loopback_node", "LoopbackNode", loopback),
                folder / "loopback.log",
                ROOT,
            ),
        ]
        try:
            figures = run(client, processes, options)
        except AssertionError:
            print(processes[0].text, processes[1].text, file=sys.stderr)
            raise
        finally:
            for process in processes:
                process.stop()
            client.close()
    return {"joint_states_hz": state_rate, "cameras_hz": camera_rate, **figures}


def run(client: Client, processes: list[Process], options: argparse.Namespace) -> dict[str, Any]:
    """Start the robot, stay idle, ask for goals, stop the robot, count."""
    robot = processes[1]
    wait_until(lambda: client.state("inactive"), "the policy to be configured", 90.0)
    client.transition(Transition.TRANSITION_CONFIGURE)
    time.sleep(MATCHED)
    begin = time.monotonic()
    client.transition(Transition.TRANSITION_ACTIVATE)
    wait_until(lambda: client.state("active"), "the policy to be active", 90.0)
    to_active = time.monotonic() - begin
    first = client.first_chunk()
    time.sleep(2.0)
    client.statuses.clear()
    before, at = [cpu_s(process) for process in processes], time.monotonic()
    time.sleep(options.seconds)
    seconds = time.monotonic() - at
    shares = [(cpu_s(p) - was) / seconds for p, was in zip(processes, before, strict=True)]
    statuses = list(client.statuses)
    goals = []
    for _ in range(options.goals):
        goals.append(client.first_chunk())
        time.sleep(0.3)
    client.transition(Transition.TRANSITION_DEACTIVATE)
    time.sleep(DRAINED)
    said = re.search(r"sent (\d+) joint states and (\d+) pictures", robot.text)
    assert said is not None, robot.text
    received = client.received
    states = sum(count for name, count in received.items() if name.endswith("joint_states"))
    pictures = sum(received.values()) - states
    return {
        "cpu_share_policy_node": round(shares[0], 3),
        "cpu_share_loopback_node": round(shares[1], 3),
        "input_age": quantiles([status.observation_age for status in statuses]),
        "share_of_status_with_missing_inputs": round(
            sum(bool(status.missing) for status in statuses) / max(len(statuses), 1), 3
        ),
        "lost_joint_states": int(said[1]) - states,
        "lost_pictures": int(said[2]) - pictures,
        "sent_joint_states": int(said[1]),
        "sent_pictures": int(said[2]),
        "seconds": round(time.monotonic() - begin - DRAINED, 1),
        "robot_active_to_policy_active_s": round(to_active, 2),
        "first_goal_to_chunk_ms": round(first[0] * 1e3, 1),
        "goal_to_chunk": quantiles([total for total, _ in goals]),
        "goal_to_chunk_less_inference": quantiles([total - own for total, own in goals]),
    }


def main() -> int:
    """Measure every case, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "policy_inputs.json")
    parser.add_argument("--before", type=Path, help="checkout of another policy_node")
    parser.add_argument("--label", default="before", help="what to call it")
    parser.add_argument("--seconds", type=float, default=20.0, help="idle, per case")
    parser.add_argument("--goals", type=int, default=10, help="per case")
    parser.add_argument("--cases", type=int, default=len(CASES), help="how many of them")
    options = parser.parse_args()
    isolate()
    note = machine()
    nodes = {"this checkout": ROOT} | ({options.label: options.before} if options.before else {})
    results = []
    for case in CASES[: options.cases]:
        for label, package in nodes.items():
            results.append({"policy_node_of": label, **measure(*case, package, options)})
            print(json.dumps(results[-1]), flush=True)
    settings = {"seconds": options.seconds, "goals": options.goals, "cameras": "3 x 640x480 rgb8"}
    write(options.out, {"machine": note, "settings": settings, "results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
