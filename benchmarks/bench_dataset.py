# SPDX-License-Identifier: Apache-2.0
"""Bag -> LeRobot dataset with H.264: three 640x480 JPEG cameras at 30 Hz and joints at 100 Hz.

One bag alone (decoding and encoding in threads), and several bags on all cores. Writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from bag_maker import PROFILE, make_bag, settings_facts

from adamoe_ros.data.convert import ConvertSettings
from adamoe_ros.data.convert_many import ConversionJob, convert_bags
from adamoe_ros.data.units import units_for

HERE = Path(__file__).resolve().parent


def converted(bags: list[Path], target: Path, workers: int) -> dict[str, float]:
    """One conversion."""
    shutil.rmtree(target, ignore_errors=True)
    units = units_for(PROFILE, None, "1_open")
    job = ConversionJob(bags, target, PROFILE, units, ConvertSettings(fps=30), workers=workers)
    before, wall = os.times(), time.perf_counter()
    outcome = convert_bags(job, lambda *_: None)
    wall, after = time.perf_counter() - wall, os.times()
    cpu = sum(after[i] - before[i] for i in range(4))
    assert outcome.totals is not None
    seconds = outcome.totals.frames / 30
    size = sum(path.stat().st_size for path in target.rglob("*.mp4"))
    return {
        "recording_s": round(seconds, 3),
        "bags": len(bags),
        "workers": workers,
        "wall_s": round(wall, 3),
        "cpu_s": round(cpu, 3),
        "times_real_time": round(seconds / wall, 2),
        "times_real_time_by_cpu_of_two_cores": round(2 * seconds / cpu, 2),
        "video_mib": round(size / 2**20, 2),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each bag")
    parser.add_argument("--bags", type=int, default=4)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "dataset.json")
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        root = Path(place)
        bags = [make_bag(root / f"bag_{i}", options.seconds) for i in range(options.bags)]
        figures = {
            "one bag": converted(bags[:1], root / "one", 1),
            "all cores": converted(bags, root / "all", cores),
        }
    document = {**settings_facts(vars(options)), "figures": figures}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1, default=str) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
