# SPDX-License-Identifier: Apache-2.0
"""Replay of a bag without inference: three 640x480 JPEG cameras at 30 Hz and joints at 100 Hz.

Twice: pictures decoded only where an inference would look (every 0.5 s), and every picture decoded.
Memory is sampled while a longer bag is read, to see whether it grows. Writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

from bag_maker import PROFILE, SMALL, make_bag, settings_facts

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.evaluation.replay.run import BagReplay, Listeners, ReplaySettings

HERE = Path(__file__).resolve().parent


def resident_mib() -> float:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def replayed(
    folder: Path, settings: ReplaySettings, profile: RobotProfile = PROFILE
) -> dict[str, float]:
    """One pass: s of recording, s of wall and CPU, memory at half and at the end."""
    samples: list[tuple[float, float]] = []
    listeners = Listeners(progress=lambda seconds: samples.append((seconds, resident_mib())))
    wall, cpu = time.perf_counter(), time.process_time()
    with Bag(folder) as bag:
        record = BagReplay(bag, profile, [], settings, listeners).run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    tail = [mib for seconds, mib in samples if seconds > record.duration_s * 0.1]
    return {
        "recording_s": round(record.duration_s, 3),
        "observations": record.observations,
        "wall_s": round(wall, 3),
        "cpu_s": round(cpu, 3),
        "times_real_time": round(record.duration_s / wall, 2),
        "times_real_time_by_cpu_of_two_cores": round(2 * record.duration_s / cpu, 2),
        "memory_at_a_tenth_mib": round(tail[0], 1),
        "memory_at_the_end_mib": round(tail[-1], 1),
        "memory_highest_mib": round(max(tail), 1),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the bag")
    parser.add_argument("--long", type=float, default=3600.0, help="s of the bag for memory")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "replay.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        bag = make_bag(Path(place) / "bag", options.seconds)
        figures = {
            "pictures where an inference looks": replayed(bag, ReplaySettings()),
            "every picture decoded": replayed(bag, ReplaySettings(decode_all=True)),
        }
        if options.long:
            long = make_bag(Path(place) / "long", options.long, small=True)
            figures["memory over a long bag (64x48 pictures)"] = replayed(
                long, ReplaySettings(), SMALL
            )
    document = {**settings_facts(vars(options)), "figures": figures}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1, default=str) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
