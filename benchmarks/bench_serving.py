# SPDX-License-Identifier: Apache-2.0
"""1 to 16 clients of one policy server: latency at a robot's pace, throughput without one, with batches and without.

Clients are openpi's own (``make conformance-clients`` makes their environment) in a process of theirs; the
server is ``adamoe serve`` on the shipped checkpoint. Both share the machine's cores.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, ROOT, machine, write

from adamoe_ros.data.svg import PlotArea, Series, document, line_chart

COUNTS = (1, 2, 4, 8, 16)
PYTHON = ROOT / ".venv-clients" / "openpi" / "bin" / "python"
# threads: the clients' own work is small, and they wait most of the time
CLIENTS = r"""
import json, sys, threading, time
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy
url, count, seconds, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
rng = np.random.default_rng(0)
names = ("cam_high", "cam_left_wrist", "cam_right_wrist")
images = {name: rng.integers(0, 256, (3, 224, 224), dtype=np.uint8) for name in names}
seen = {"state": np.zeros(14), "images": images, "prompt": "lift the bar with both arms"}
policies = [WebsocketClientPolicy(url) for _ in range(count)]
for policy in policies:
    policy.infer(seen)
latencies, lock = [], threading.Lock()
begun = time.monotonic() + 0.2
def robot(number, policy):
    due = begun + (number / count / rate if rate else 0.0)
    while due < begun + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        asked = time.monotonic()
        if asked > begun + seconds:
            return
        policy.infer(seen)
        with lock:
            latencies.append(time.monotonic() - asked)
        due = max(due + 1.0 / rate, time.monotonic()) if rate else time.monotonic()
threads = [threading.Thread(target=robot, args=pair) for pair in enumerate(policies)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps({"latencies": latencies, "seconds": time.monotonic() - begun}))
"""


@contextmanager
def server(batch: int, children: list[subprocess.Popen[bytes]] | None = None) -> Iterator[str]:
    """Its address; the process is added to ``children``."""
    words = [
        "serve",
        "--checkpoint",
        "checkpoints/demo",
        "--port",
        "0",
        "--plain",
        "--device",
        "cpu",
    ]
    command = [sys.executable, "-m", "adamoe_ros.cli.main", *words, "--max-batch", str(batch)]
    with tempfile.NamedTemporaryFile("w+") as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        if children is not None:
            children.append(child)
        try:
            while not (found := re.search(r"on (ws://\S+) .*", Path(log.name).read_text())):
                assert child.poll() is None, Path(log.name).read_text()
                time.sleep(0.2)
            print(found[0])
            yield found[1]
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(30)


def batches(url: str) -> tuple[float, float]:
    """Requests and batches that the server has counted."""
    page = urllib.request.urlopen(url.replace("ws://", "http://") + "/metrics").read().decode()
    names = ("adamoe_batch_size_sum", "adamoe_batch_size_count")
    requests, count = (float(re.findall(rf"^{name} (\S+)", page, re.M)[0]) for name in names)
    return requests, count


def run(url: str, count: int, seconds: float, rate: float) -> dict[str, Any]:
    """Some clients for some time; rate 0: as fast as they get answers."""
    before = batches(url)
    words = [PYTHON, "-W", "ignore", "-c", CLIENTS, url, count, seconds, rate]
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=seconds + 60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    made = json.loads(done.stdout)
    after = batches(url)
    times = np.array(made["latencies"])
    return {
        "clients": count,
        "p50_ms": round(1e3 * float(np.percentile(times, 50)), 1),
        "p99_ms": round(1e3 * float(np.percentile(times, 99)), 1),
        "chunks_per_s": round(len(times) / made["seconds"], 1),
        "mean_batch": round((after[0] - before[0]) / max(1.0, after[1] - before[1]), 2),
    }


def main() -> int:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--pace", type=float, default=2.0, help="chunks per s of a robot")
    parser.add_argument("--batch", type=int, default=8, help="most requests of a batch")
    parser.add_argument("--out", type=Path, default=RESULTS / "serving.json")
    options = parser.parse_args()
    found: dict[str, Any] = {
        "settings": {"pace (chunks/s)": options.pace, "seconds": options.seconds},
        "machine": machine(),
    }
    with server(options.batch) as batched, server(1) as single:
        urls = {"batched": batched, "one by one": single}
        found |= {name: {} for name in urls}
        for mode, rate in (("paced", options.pace), ("as fast as possible", 0.0)):
            for count in COUNTS:  # in turns: this machine may have other work, too
                for name, url in urls.items():
                    made = run(url, count, options.seconds, rate)
                    found[name].setdefault(mode, []).append(made)
                    print(mode, name, made)
    write(options.out, found)
    draw(found, ROOT / "doc" / "serving.svg")
    return 0


def draw(found: dict[str, Any], path: Path) -> None:
    """Two charts over the number of clients."""
    frame = PlotArea()
    charts = []
    for title, mode, keys in (
        ("latency at the robots' pace, ms", "paced", ("p50_ms", "p99_ms")),
        ("throughput as fast as possible, chunks/s", "as fast as possible", ("chunks_per_s",)),
    ):
        series = [
            Series(
                f"{name} {key.removesuffix('_ms')}" if len(keys) > 1 else name,
                [one["clients"] for one in found[name][mode]],
                [one[key] for one in found[name][mode]],
                tone=1 + tone,
                dashed=key.startswith("p99"),
            )
            for tone, name in enumerate(("batched", "one by one"))
            for key in keys
        ]
        charts.append((title, series, line_chart(series, name=title, frame=frame)))
    path.write_text(document(charts, frame), encoding="utf-8")
    print(f"written: {path}")


if __name__ == "__main__":
    raise SystemExit(main())
