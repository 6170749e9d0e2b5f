#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three camera frames of 640x480 to model input, against PIL; one thread, process CPU time.

python benchmarks/bench_ingest.py --out benchmarks/results/ingest.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from common import machine
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from adamoe_ros.evaluation.bench.timing import interleaved, summary  # noqa: E402
from adamoe_ros.policy.resizing import fitted_size, host_pixels  # noqa: E402

SIZE = (224, 224)


def scene(seed: int) -> np.ndarray:
    """Textured frame with edges and noise, (480, 640, 3) uint8."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:480, :640]
    waves = np.stack([np.sin(x / a) * np.cos(y / b) for a, b in ((3, 2), (7, 5), (11, 13))], -1)
    edges = 60.0 * ((x // 40 + y // 30) % 2)[..., None]
    return (
        (110 + 60 * waves + edges + draw.normal(0, 20, waves.shape)).clip(0, 255).astype(np.uint8)
    )


def by_pil(frames: list[np.ndarray]) -> np.ndarray:
    """openpi's client: PIL resize, black border, float in [-1, 1], planes first."""
    out = np.full((len(frames), 3, *SIZE), -1.0, np.float32)
    for place, frame in zip(out, frames, strict=True):
        height, width = fitted_size(frame.shape[0], frame.shape[1], SIZE)
        inner = Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR)
        top, left = (SIZE[0] - height) // 2, (SIZE[1] - width) // 2
        values = np.asarray(inner, np.float32).transpose(2, 0, 1) / 255.0 * 2.0 - 1.0
        place[:, top : top + height, left : left + width] = values
    return out


def main() -> int:
    """Measure, compare, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/ingest.json")
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    frames = [scene(seed) for seed in range(3)]
    wanted, found = by_pil(frames), host_pixels([frames], SIZE)[0].numpy()
    gap = np.abs(found - wanted) * 127.5
    times = interleaved(
        {"pil": lambda: by_pil(frames), "engine": lambda: host_pixels([frames], SIZE)},
        options.rounds,
        torch.device("cpu"),
        warm_ups=5,
    )
    times_of = {name: summary(values) for name, values in times.items()}
    result = {
        "machine": machine(torch.device("cpu")),
        "rounds": options.rounds,
        "three_frames": times_of,
        "share_of_pil": times_of["engine"]["median_ms"] / times_of["pil"]["median_ms"],
        "grey_levels": {"mean": float(gap.mean()), "max": float(gap.max())},
    }
    print(json.dumps(result, indent=1))
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
