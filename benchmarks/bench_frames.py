#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Camera frames delivered of those sent: three 640x480 cameras at 25 Hz, best effort, two processes.

Once with the Fast DDS profile that ships in config/, once with Fast DDS as it comes.

    python benchmarks/bench_frames.py
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import RESULTS, ROOT, machine, write

sys.path.insert(0, str(ROOT / "test" / "ros"))  # the sender is the tests'

from camera_sender import CAMERAS, QOS, RATE

PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"


def receive(seconds: float) -> dict[str, Any]:
    """Count in this process, send from another one, both in this environment."""
    import numpy as np
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node("frame_counter")
    received: dict[str, list[float]] = {name: [] for name in CAMERAS}

    def note(name: str, message: Image) -> None:
        stamp = message.header.stamp
        sent = stamp.sec + stamp.nanosec / 1e9
        received[name].append(node.get_clock().now().nanoseconds / 1e9 - sent)

    for name in CAMERAS:
        node.create_subscription(
            Image, f"{name}/image_raw", lambda message, name=name: note(name, message), QOS
        )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    script = ROOT / "test" / "ros" / "camera_sender.py"
    sender = subprocess.Popen([sys.executable, str(script), str(seconds)], stdout=subprocess.PIPE)
    end = time.monotonic() + seconds + 15.0
    sent = round(seconds * RATE) * len(CAMERAS)
    try:
        while time.monotonic() < end and sum(map(len, received.values())) < sent:
            executor.spin_once(timeout_sec=0.2)
    finally:
        sender.kill()
        sender.wait()
        executor.shutdown(timeout_sec=2.0)
        node.destroy_node()
        rclpy.try_shutdown()
    delays = np.array([delay for delays in received.values() for delay in delays])
    return {
        "sent": sent,
        "delivered": len(delays),
        "share": len(delays) / sent,
        "delay_p50_ms": float(np.percentile(delays, 50) * 1e3) if len(delays) else None,
        "delay_p99_ms": float(np.percentile(delays, 99) * 1e3) if len(delays) else None,
    }


def measure(seconds: float, profile: bool) -> dict[str, Any]:
    """One case in a fresh process, since Fast DDS reads its profile once."""
    environment = dict(os.environ, ROS_DOMAIN_ID=str(random.randrange(1, 101)))
    for name in (PROFILE, "FASTRTPS_DEFAULT_PROFILES_FILE"):
        environment.pop(name, None)
    if profile:
        old = environment.get("ROS_DISTRO") in ("humble", "jazzy")
        name = "FASTRTPS_DEFAULT_PROFILES_FILE" if old else PROFILE
        environment[name] = str(ROOT / "config" / "fastdds.xml")
    command = [sys.executable, __file__, "--receive", str(seconds)]
    done = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, timeout=seconds + 60
    )

    return {"fastdds_profile": profile, **json.loads(done.stdout.splitlines()[-1])}


def main() -> int:
    """Both cases, a table, JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--out", type=Path, default=RESULTS / "frames.json")
    parser.add_argument("--receive", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive is not None:
        print(json.dumps(receive(options.receive)))
        return 0
    before = machine()
    results = [measure(options.seconds, profile) for profile in (True, False)]
    for result in results:
        print(result)
    cameras = {"count": len(CAMERAS), "size": [640, 480], "rate_hz": RATE}
    write(options.out, {"machine": before, "cameras": cameras, "results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
