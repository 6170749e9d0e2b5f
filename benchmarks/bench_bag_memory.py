# SPDX-License-Identifier: Apache-2.0
"""Memory over a long bag of three 640x480 JPEG cameras: replay of an hour, conversion of minutes.

The bag (15 GB an hour) lies in TMPDIR while this runs. Memory is sampled every 10 s of recording.
Writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bag_maker import PROFILE, load_now, make_bag, repeat_bag, settings_facts

from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.bag_conversion import ConvertSettings, convert_bag
from adamoe_ros.data.units import units_for
from adamoe_ros.evaluation.replay.run import BagReplay, Listeners, ReplaySettings

HERE = Path(__file__).resolve().parent
SHORT_S = 60.0  # of the bag that is repeated
EVERY_S = 10.0


class Samples:
    """Resident memory of this process over the time of a recording."""

    def __init__(self) -> None:
        self.found: list[tuple[float, float]] = []

    def take(self, seconds: float) -> None:
        """Note it, if it is time."""
        if not self.found or seconds - self.found[-1][0] >= EVERY_S:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.found.append((seconds, pages * resource.getpagesize() / 2**20))

    def facts(self, wall_s: float) -> dict[str, Any]:
        """MiB by share of the recording, medians late in it, and the highest of all."""
        end = self.found[-1][0]
        shares = {}
        for share in (0.1, 0.25, 0.5, 0.75, 1.0):
            near = min(self.found, key=lambda item: abs(item[0] - share * end))
            shares[f"at {share:.0%}"] = round(near[1], 1)
        return {
            "recording_s": round(end, 1),
            "wall_s": round(wall_s, 1),
            "times_real_time": round(end / wall_s, 2),
            "resident_mib": shares,
            "median_mib_of_third_quarter": _median(self.found, end, 0.5, 0.75),
            "median_mib_of_last_quarter": _median(self.found, end, 0.75, 1.0),
            "highest_mib": round(max(mib for _, mib in self.found), 1),
        }


def _median(found: list[tuple[float, float]], end: float, low: float, high: float) -> float:
    part = sorted(mib for seconds, mib in found if low * end <= seconds <= high * end)
    return round(part[len(part) // 2], 1)


def measured(job: Callable[[Samples], None]) -> dict[str, Any]:
    """Memory during a job."""
    samples, begun = Samples(), time.perf_counter()
    job(samples)
    return samples.facts(time.perf_counter() - begun)


def replay(bag: Path, samples: Samples) -> None:
    """Without inference."""
    with Bag(bag) as opened:
        listeners = Listeners(progress=samples.take)
        BagReplay(opened, PROFILE, {}, ReplaySettings(), listeners).run()


def convert(bag: Path, folder: Path, samples: Samples) -> None:
    """To a staged episode with video."""
    units, settings = units_for(PROFILE, None, "1_open"), ConvertSettings(fps=30)
    convert_bag(
        bag, folder, PROFILE, units, settings, progress=lambda frames: samples.take(frames / 30)
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=60, help="of the bag that is replayed")
    parser.add_argument("--convert", type=int, default=5, help="minutes that are converted")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "bag_memory.json")
    options = parser.parse_args()
    document = settings_facts(vars(options))
    figures = document["figures"] = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        root = Path(place)
        short = make_bag(root / "short", SHORT_S)
        if options.convert:
            some = repeat_bag(short, root / "some", SHORT_S, options.convert)
            figures["conversion"] = measured(lambda it: convert(some, root / "staged", it))
        if options.minutes:
            long = repeat_bag(short, root / "long", SHORT_S, options.minutes)
            figures["replay"] = measured(lambda it: replay(long, it))
    document["load_average_after"] = load_now()
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1, default=str) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
