# SPDX-License-Identifier: Apache-2.0
"""Replay of a bag without inference: three 640x480 JPEG cameras at 30 Hz and joints at 100 Hz.

Twice: pictures decoded only where an inference would look (every 0.5 s), and every picture decoded.
Beside it the floor of the latter: decoding the same JPEGs on all cores and nothing else. Writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from bag_maker import PROFILE, jpegs, load_now, make_bag, settings_facts

from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.evaluation.replay.run import BagReplay, ReplaySettings

HERE = Path(__file__).resolve().parent
CORES = os.cpu_count() or 1


def timed(recording_s: Callable[[], float]) -> dict[str, float]:
    """Wall and CPU of a call that says how many s of recording it has done."""
    wall, cpu = time.perf_counter(), time.process_time()
    seconds = recording_s()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "recording_s": round(seconds, 3),
        "wall_s": round(wall, 3),
        "cpu_s": round(cpu, 3),
        "times_real_time": round(seconds / wall, 2),
        "times_real_time_by_cpu_of_all_cores": round(CORES * seconds / cpu, 2),
    }


def replayed(folder: Path, settings: ReplaySettings) -> float:
    """One pass."""
    with Bag(folder) as bag:
        return BagReplay(bag, PROFILE, {}, settings).run().duration_s


def decoded(seconds: float) -> float:
    """The bag's pictures, decoded by as many threads as there are cores."""
    packed = [np.frombuffer(data, np.uint8) for data in jpegs()]
    number = round(seconds * 30) * len(PROFILE.cameras)

    def some(first: int) -> None:
        for place in range(first, number, CORES):
            cv2.imdecode(packed[place % len(packed)], cv2.IMREAD_COLOR_RGB)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(some, range(CORES)))
    return seconds


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the bag")
    parser.add_argument("--rounds", type=int, default=3, help="in turns; the best counts")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "replay.json")
    options = parser.parse_args()
    document = settings_facts(vars(options))
    rounds: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        bag = make_bag(Path(place) / "bag", options.seconds)
        jobs: dict[str, Callable[[], float]] = {
            "pictures where an inference looks": lambda: replayed(bag, ReplaySettings()),
            "every picture decoded": lambda: replayed(bag, ReplaySettings(decode_all=True)),
            "floor: JPEG decoding alone": lambda: decoded(options.seconds),
        }
        for _ in range(options.rounds):
            for name, job in jobs.items():
                rounds.setdefault(name, []).append(timed(job))
    document["load_average_after"] = load_now()
    document["target"] = "20 x real time on two cores"
    document["figures"] = {
        name: {
            **max(found, key=lambda item: item["times_real_time"]),
            "times_real_time_of_rounds": [item["times_real_time"] for item in found],
        }
        for name, found in rounds.items()
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1, default=str) + "\n")
    print(json.dumps(document["figures"], indent=1))


if __name__ == "__main__":
    main()
