# SPDX-License-Identifier: Apache-2.0
"""Bag -> LeRobot dataset with H.264: three 640x480 JPEG cameras at 30 Hz and joints at 100 Hz.

One bag alone (decoding and encoding in threads), and several bags on all cores. Beside it the floor:
decoding and encoding the same pictures with the same settings on all cores and nothing else. Writes
JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from bag_maker import PROFILE, jpegs, load_now, make_bag, settings_facts

from adamoe_ros.contract.workers import Workers
from adamoe_ros.data.bag_conversion import ConvertSettings
from adamoe_ros.data.bag_conversion_many import ConversionJob, convert_bags
from adamoe_ros.data.lerobot.video_writer import GOP, PRESET
from adamoe_ros.data.units import units_for

HERE = Path(__file__).resolve().parent
CORES = os.cpu_count() or 1
FPS = 30
CRF = ConvertSettings(fps=FPS).crf


def timed(recording_s: Callable[[], float]) -> dict[str, float]:
    """Wall and CPU, children included, of a call that says how many s of recording it has done."""
    before, wall = os.times(), time.perf_counter()
    seconds = recording_s()
    wall, after = time.perf_counter() - wall, os.times()
    cpu = sum(after[i] - before[i] for i in range(4))
    return {
        "recording_s": round(seconds, 3),
        "wall_s": round(wall, 3),
        "cpu_s": round(cpu, 3),
        "times_real_time": round(seconds / wall, 2),
        "times_real_time_by_cpu_of_all_cores": round(CORES * seconds / cpu, 2),
    }


def converted(bags: list[Path], target: Path, workers: int) -> dict[str, Any]:
    """One conversion."""
    shutil.rmtree(target, ignore_errors=True)
    units = units_for(PROFILE, None, "1_open")
    job = ConversionJob(
        bags, target, PROFILE, units, ConvertSettings(fps=FPS), workers=Workers(workers)
    )

    def convert() -> float:
        totals = convert_bags(job, lambda *_: None).totals
        assert totals is not None
        return totals.frames / FPS

    figures = timed(convert)
    size = sum(path.stat().st_size for path in target.rglob("*.mp4"))
    return {"bags": len(bags), "workers": workers, **figures, "video_mib": round(size / 2**20, 2)}


def floor(folder: Path, seconds: float) -> dict[str, Any]:
    """As many pictures as one bag has, decoded and encoded by as many threads as there are cores."""
    folder.mkdir()
    packed = [np.frombuffer(data, np.uint8) for data in jpegs()]
    each = round(seconds * FPS) * len(PROFILE.cameras) // CORES

    def encode(thread: int) -> None:
        with av.open(str(folder / f"{thread}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(FPS))
            stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
            stream.options = {"crf": str(CRF), "preset": PRESET, "g": str(GOP), "threads": "1"}
            for number in range(each):
                data = packed[number % len(packed)]
                picture: Any = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
                planes: Any = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
                frame = av.VideoFrame.from_numpy_buffer(planes, format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())

    def everything() -> float:
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(encode, range(CORES)))
        return seconds

    return timed(everything)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each bag")
    parser.add_argument("--bags", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "dataset.json")
    options = parser.parse_args()
    document = settings_facts(vars(options))
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        root = Path(place)
        bags = [make_bag(root / f"bag_{i}", options.seconds) for i in range(options.bags)]
        document["figures"] = {
            "floor: decoding and encoding alone": floor(root / "floor", options.seconds),
            "one bag": converted(bags[:1], root / "one", 1),
            "all cores": converted(bags, root / "all", CORES),
        }
    document["target"] = "5 x real time on two cores"
    document["load_average_after"] = load_now()
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1, default=str) + "\n")
    print(json.dumps(document["figures"], indent=1))


if __name__ == "__main__":
    main()
