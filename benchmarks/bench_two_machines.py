#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Policy on a workstation, control and drivers on the robot: what works over which link.

Two network namespaces joined by a veth pair stand for the two computers (root is needed). "robot" runs
control_node, loopback_node and a camera driver (three pictures of 640x480, 30 Hz), "desk" runs policy_node on
a tiny random checkpoint. The link's bandwidth is shaped by ``tc tbf`` in both directions, loss by ``nft``,
delay and jitter by a relay between two TUN devices. A goal runs during every case.

    sudo .venv/bin/python benchmarks/bench_two_machines.py [--seconds 20] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "test" / "ros"), str(ROOT / "test" / "core" / "policy")]

from common import RESULTS, machine, write  # noqa: E402

# of this run and its children alone: several may run at once
RUN = os.environ.setdefault("ADAMOE_LINK", f"{os.getpid()}")
ROBOT, DESK = f"robot_{RUN}", f"desk_{RUN}"
ADDRESSES = {ROBOT: "10.77.0.1", DESK: "10.77.0.2"}
PROFILE = """
extends: aloha_sim
name: two_machines
use_sim_time: false
cameras:
  cam_high: {rate: 30.0, tolerance: 0.1, %(kind)s}
  cam_left_wrist: {rate: 30.0, tolerance: 0.1, %(kind)s}
  cam_right_wrist: {rate: 30.0, tolerance: 0.1, %(kind)s}
"""
CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")
SIZE = (480, 640, 3)
RATE = 30.0  # Hz


@dataclass(frozen=True)
class Case:
    """One link and one kind of pictures.

    Attributes:
        mbit: bandwidth in each direction; 0: that of the machine.
        loss: share of packets lost in each direction, 0 to 1.
        delay_ms: each way, by the relay; with ``jitter_ms`` of it spread evenly.
        kind: of the pictures: "image" or "compressed".
        down_s: the link is cut that long in the middle of the goal.
    """

    name: str
    kind: str = "compressed"
    mbit: int = 0
    loss: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    down_s: float = 0.0


CASES = (
    Case("raw", "image"),
    Case("raw_1000", "image", mbit=1000),
    Case("raw_100", "image", mbit=100),
    Case("jpeg"),
    Case("jpeg_100", mbit=100),
    Case("jpeg_40", mbit=40),
    Case("jpeg_loss_1", mbit=100, loss=0.01),
    Case("jpeg_loss_5", mbit=100, loss=0.05),
    Case("jpeg_delay_20", delay_ms=20.0, jitter_ms=5.0),
    Case("jpeg_down_2", mbit=100, down_s=2.0),
    Case("raw_loss_1", "image", loss=0.01),
)


# --- the link ---------------------------------------------------------------------------------------


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def link(case: Case) -> Iterator[None]:
    """Two namespaces and what joins them."""
    for name in (ROBOT, DESK):
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
    relay = None
    try:
        if case.delay_ms:
            relay = _tun_relay(case)
        else:
            _ip("link", "add", "link0", "netns", ROBOT, "type", "veth", "peer", "name", "link0",
                "netns", DESK)  # fmt: skip
            for name, address in ADDRESSES.items():
                _ip("-n", name, "addr", "add", f"{address}/24", "dev", "link0")
                _ip("-n", name, "link", "set", "link0", "up")
        for name in ADDRESSES:
            _shape(name, case)
        yield
    finally:
        if relay is not None:
            relay.kill()
            relay.wait()
        for name in (ROBOT, DESK):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _shape(name: str, case: Case) -> None:
    inside = ["ip", "netns", "exec", name]
    if case.mbit:
        words = ["tc", "qdisc", "add", "dev", "link0", "root", "tbf", "rate", f"{case.mbit}mbit"]
        burst = max(64, case.mbit * 2)
        subprocess.run([*inside, *words, "burst", f"{burst}kb", "latency", "50ms"], check=True)
    if case.loss:
        lost = round(case.loss * 1000)
        rules = (
            "add table inet loss; add chain inet loss in { type filter hook input priority 0; };"
            f'add rule inet loss in iifname "link0" numgen random mod 1000 < {lost} drop'
        )
        subprocess.run([*inside, "nft", rules], check=True)


def _tun_relay(case: Case) -> subprocess.Popen[bytes]:
    """A process that carries packets between two TUN devices, each later by the delay."""
    words = [sys.executable, __file__, "--relay", str(case.delay_ms), str(case.jitter_ms)]
    relay = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert relay.stdout is not None
    if relay.stdout.readline().strip() != b"ready":
        raise SystemExit("bench_two_machines: the relay did not start (/dev/net/tun is needed)")
    return relay


def run_relay(delay_ms: float, jitter_ms: float) -> None:
    """Body of the relay process."""
    import fcntl
    import heapq
    import random
    import select
    import struct

    ends: dict[int, int] = {}
    for name, address in ADDRESSES.items():
        handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        device = name[:14]
        # IFF_TUN | IFF_NO_PI, TUNSETIFF
        fcntl.ioctl(handle, 0x400454CA, struct.pack("16sH", device.encode(), 0x1001))
        _ip("link", "set", device, "netns", name)
        _ip("-n", name, "link", "set", device, "name", "link0")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "link0")
        _ip("-n", name, "link", "set", "link0", "up", "multicast", "on", "txqueuelen", "5000")
        _ip("-n", name, "route", "add", "224.0.0.0/4", "dev", "link0")
        ends[handle] = -1
    first, second = ends
    ends = {first: second, second: first}
    print("ready", flush=True)
    waiting: list[tuple[float, int, int, bytes]] = []
    number, last = 0, {first: 0.0, second: 0.0}
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for handle in select.select([first, second], [], [], timeout)[0]:
            with contextlib.suppress(BlockingIOError):
                for _ in range(64):
                    packet = os.read(handle, 65536)
                    later = (delay_ms + random.uniform(-jitter_ms, jitter_ms)) / 1e3
                    # a link keeps the order of its packets
                    last[handle] = max(last[handle], time.monotonic() + later)
                    heapq.heappush(waiting, (last[handle], number, ends[handle], packet))
                    number += 1
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, handle, packet = heapq.heappop(waiting)
            with contextlib.suppress(OSError):
                os.write(handle, packet)


# --- the robot's cameras ----------------------------------------------------------------------------


def scene() -> np.ndarray:
    """(480, 640, 3) uint8 with the detail of a photo: about 60 kB as a JPEG of quality 90."""
    import cv2

    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (12, 16, 3)).astype(np.float32)
    image = cv2.resize(coarse, SIZE[1::-1], interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(random.normal(0, 60, SIZE).astype(np.float32), (0, 0), 1.0)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def run_cameras(kind: str) -> None:
    """Body of the camera driver: three cameras, reliable publishers as most drivers have them."""
    import cv2
    import rclpy
    from sensor_msgs.msg import CompressedImage, Image

    rclpy.init()
    node, image = rclpy.create_node("cameras"), scene()
    message: Any
    if kind == "image":
        message = Image(height=SIZE[0], width=SIZE[1], step=SIZE[1] * 3, encoding="rgb8")
        message.data.frombytes(image.tobytes())
    else:
        message = CompressedImage(format="jpeg")
        message.data.frombytes(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        )
    publishers = [node.create_publisher(type(message), f"{name}/image_raw", 5) for name in CAMERAS]
    begin, frame = time.monotonic(), 0
    while True:
        frame += 1
        time.sleep(max(0.0, begin + frame / RATE - time.monotonic()))
        message.header.stamp = node.get_clock().now().to_msg()
        for publisher in publishers:
            publisher.publish(message)


# --- one case, measured on the desk -----------------------------------------------------------------


def measure(case: Case, seconds: float, folder: Path) -> dict[str, Any]:
    """Start both computers' processes, run a goal, count."""
    from control_rig import Process, node_command, wait_until
    from policy_rig import SENTENCE, write_rig_checkpoint

    robot = folder / "robot.yaml"
    robot.write_text(PROFILE % {"kind": f"type: {case.kind}"})
    checkpoint = write_rig_checkpoint(folder / "checkpoint", robot)
    over = ["ip", "netns", "exec", ROBOT]
    auto = {"robot": robot, "autostart": True}
    policy = {**auto, "checkpoint": checkpoint, "device": "cpu", "threads": 1, "seed": 1}
    commands = {
        "loopback": over + node_command("adamoe_ros.ros.sim.loopback_node", "LoopbackNode", auto),
        "cameras": [*over, sys.executable, __file__, "--cameras", case.kind],
        "control": over + node_command("adamoe_ros.ros.control.control_node", "ControlNode", auto),
        "policy": node_command(
            "adamoe_ros.ros.policy.policy_node",
            "PolicyNode",
            {**policy, "input_timeout": 60.0},
            threads=4,
        ),
    }
    processes = {name: Process(words, folder / f"{name}.log") for name, words in commands.items()}
    watch = Watch()
    try:
        wait_until(lambda: watch.state == "active", lambda: processes["policy"].text[-2000:], 90.0)
        wait_until(lambda: watch.policy_age >= 0, lambda: processes["control"].text[-2000:], 60.0)
        goal = watch.goal(SENTENCE)
        wait_until(lambda: watch.mode == 2 or goal.done(), "motion or the goal's end", 60.0)
        return _run(case, watch, goal, seconds)
    finally:
        watch.close()
        for process in processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.stop()


def _run(case: Case, watch: Watch, goal: Any, seconds: float) -> dict[str, Any]:
    watch.clear()
    begin, received = time.monotonic(), dict(watch.received)
    cut: dict[str, float | None] = {}
    if case.down_s:
        time.sleep(seconds / 3)
        down = time.monotonic()
        _ip("-n", ROBOT, "link", "set", "link0", "down")
        time.sleep(case.down_s)
        _ip("-n", ROBOT, "link", "set", "link0", "up")
        up = time.monotonic()
        time.sleep(seconds * 2 / 3)
        cut = watch.after_cut(down, up)
    else:
        time.sleep(seconds)
    spent = time.monotonic() - begin
    frames = {name: watch.received.get(name, 0) - received.get(name, 0) for name in CAMERAS}
    return {
        "frames_per_s": {name: round(count / spent, 1) for name, count in frames.items()},
        "observation_age_ms": _quantiles(watch.observation_ages),
        "command_age_ms": _quantiles(watch.command_ages),
        "running_share": round(float(np.mean([mode == 2 for mode in watch.modes])), 3)
        if watch.modes
        else 0.0,
        "hold_causes": sorted({cause for cause in watch.causes if cause}),
        "goal_ended": _ended(goal),
        **cut,
    }


def _ended(goal: Any) -> str:
    return f"{goal.result().result.code}: {goal.result().result.message}" if goal.done() else ""


def _quantiles(values: list[float]) -> dict[str, float | int]:
    if not values:
        return {"count": 0}
    p50, p99 = np.quantile(values, (0.5, 0.99)) * 1e3
    return {"count": len(values), "p50": round(float(p50), 1), "p99": round(float(p99), 1)}


class Watch:
    """What a person at the desk sees: status of policy and control, and a goal."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.action import ActionClient
        from rclpy.executors import SingleThreadedExecutor

        from adamoe_ros.action import ExecuteInstruction
        from adamoe_ros.msg import ControlStatus, PolicyStatus
        from adamoe_ros.ros import names, qos

        rclpy.init()
        self.node = rclpy.create_node("watch")
        self.state, self.mode, self.policy_age = "", 0, -1.0
        self.received: dict[str, int] = {}
        self.clear()
        listen = self.node.create_subscription
        listen(PolicyStatus, names.POLICY_STATUS, self._on_policy, qos.POLICY_STATUS)
        listen(ControlStatus, names.CONTROL_STATUS, self._on_control, qos.CONTROL_STATUS)
        listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        self._kind = ExecuteInstruction
        self._client: Any = ActionClient(self.node, ExecuteInstruction, names.EXECUTE)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def clear(self) -> None:
        """Forget what was measured so far."""
        self.observation_ages: list[float] = []
        self.command_ages: list[float] = []
        self.modes: list[int] = []
        self.causes: list[str] = []
        self.timeline: list[tuple[float, int]] = []

    def goal(self, sentence: str) -> Any:
        """Send a goal; the future of its result."""
        from control_rig import in_executor, wait_until

        assert self._client.wait_for_server(30.0)
        wanted = self._kind.Goal(instruction=sentence)
        sent = in_executor(self._executor, lambda: self._client.send_goal_async(wanted))
        wait_until(sent.done, "the goal's acceptance", 60.0)
        return sent.result().get_result_async()

    def after_cut(self, down: float, up: float) -> dict[str, float | None]:
        """s from the link's return to the first report of motion."""
        moving = [at for at, mode in self.timeline if mode == 2 and at > up]
        return {"resumes_after_s": round(moving[0] - up, 2) if moving else None}

    def close(self) -> None:
        """Stop listening."""
        import rclpy

        self._executor.shutdown()
        self._thread.join(5.0)
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _on_policy(self, message: Any) -> None:
        self.state = message.state
        if message.observation_age >= 0:
            self.observation_ages.append(message.observation_age)

    def _on_control(self, message: Any) -> None:
        self.mode, self.policy_age = message.mode, message.policy_age
        self.modes.append(message.mode)
        self.causes.append(message.hold_cause)
        self.timeline.append((time.monotonic(), message.mode))
        if message.mode == 2 and message.command_age >= 0:
            self.command_ages.append(message.command_age)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.endswith("policy_node: inputs"):
                self.received |= {
                    item.key.removesuffix(" received"): int(item.value)
                    for item in status.values
                    if item.key.endswith(" received")
                }


def inside(name: str, seconds: float) -> None:
    """Runs in the desk's namespace; prints one JSON line."""
    case = next(case for case in CASES if case.name == name)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(case, seconds, Path(folder))), flush=True)


def main() -> int:
    """Every case, each in fresh namespaces."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=RESULTS / "two_machines.json")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--cameras", help=argparse.SUPPRESS)
    parser.add_argument("--relay", type=float, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cameras:
        run_cameras(options.cameras)
    elif options.relay:
        run_relay(*options.relay)
    elif options.inside:
        inside(options.inside, options.seconds)
    else:
        return _all(options)
    return 0


def _all(options: argparse.Namespace) -> int:
    if os.geteuid() != 0 or not shutil.which("ip"):
        print(
            "bench_two_machines: expected root and iproute2 for network namespaces", file=sys.stderr
        )
        return 2
    environment = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "ROS_DOMAIN_ID": "77"}
    results: dict[str, Any] = {}
    about = machine()
    for case in CASES:
        if options.only and case.name not in options.only:
            continue
        if case.loss and not shutil.which("nft"):
            results[case.name] = {"link": asdict(case), "not_run": "nft is not installed"}
            continue
        with link(case):
            words = [
                sys.executable,
                __file__,
                "--inside",
                case.name,
                "--seconds",
                str(options.seconds),
            ]
            run = subprocess.run(
                ["ip", "netns", "exec", DESK, *words],
                env=environment,
                capture_output=True,
                text=True,
                timeout=options.seconds + 300,
                check=False,
            )
        if run.returncode:
            results[case.name] = {"link": asdict(case), "failed": run.stderr[-1500:]}
        else:
            results[case.name] = {"link": asdict(case), **json.loads(run.stdout.splitlines()[-1])}
        print(case.name, json.dumps(results[case.name]), flush=True)
    document = {"machine": about, "seconds": options.seconds, "cases": results}
    if not options.only:
        write(options.out, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
