#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Load an AdaMoE checkpoint of full size (4.14 B parameters, bfloat16) in a process of its own.

Writes a file of made-up weights to a temporary folder, drops it from the page cache, reads it
raw (the disk's speed), drops it again, and loads it as a policy. Reports time and peak memory, and
removes the file. Needs 9 GB of disk and of memory.

    python benchmarks/bench_load_full_size.py [--folder DIR] [--preset adamoe_pi0] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_BLOCK = 1 << 24  # bytes


def write_weights(path: Path, preset_name: str) -> int:
    """Write a safetensors file block by block; returns the number of parameters."""
    import torch

    from adamoe_ros.model.config import preset
    from adamoe_ros.model.weights import parameter_shapes

    shapes = parameter_shapes(preset(preset_name))
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {
            "dtype": "BF16",
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = torch.randn(_BLOCK // 2, generator=torch.Generator().manual_seed(0)).mul_(0.02)
    data = block.bfloat16().view(torch.uint8).numpy().data
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, offset, _BLOCK):
            stream.write(data[: min(_BLOCK, offset - start)])
        stream.flush()
        os.fsync(stream.fileno())
    return offset // 2


def drop_from_cache(path: Path) -> None:
    """Ask the kernel to forget the file's pages."""
    with path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_raw(path: Path) -> float:
    """Seconds of a plain sequential read."""
    buffer = bytearray(_BLOCK)
    start = time.perf_counter()
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
    return time.perf_counter() - start


def load(path: Path, preset_name: str) -> dict[str, float]:
    """Load in this process: seconds, peak resident bytes, and those before loading."""
    from adamoe_ros.model.config import preset
    from adamoe_ros.model.weights import load_policy
    from adamoe_ros.policy.tensor_file import TensorFile

    before = resident("VmRSS")
    start = time.perf_counter()
    with TensorFile(path) as tensors:
        model = load_policy(preset(preset_name), tensors, where=path.name)
    seconds = time.perf_counter() - start
    count = sum(p.numel() for p in model.parameters())
    return {
        "seconds": seconds,
        "peak_bytes": resident("VmHWM"),
        "before_bytes": before,
        "parameters": count,
    }


def resident(key: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no {key} in /proc/self/status")


def measure(folder: Path | None, preset_name: str) -> dict[str, object]:
    """The whole benchmark."""
    from common import machine

    noted = machine()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "model.safetensors"
        write_weights(path, preset_name)
        size = path.stat().st_size
        drop_from_cache(path)
        raw = read_raw(path)
        drop_from_cache(path)
        child = [sys.executable, __file__, "--load", str(path), "--preset", preset_name]
        cold = json.loads(subprocess.run(child, check=True, capture_output=True).stdout)
        warm = json.loads(subprocess.run(child, check=True, capture_output=True).stdout)
    return {
        "what": "load of a full-size checkpoint, bfloat16, CPU",
        "preset": preset_name,
        "parameters": cold["parameters"],
        "file_bytes": size,
        "raw_read_seconds": round(raw, 2),
        "raw_read_bytes_per_second": round(size / raw),
        "load_seconds_cold": round(cold["seconds"], 2),
        "load_seconds_in_page_cache": round(warm["seconds"], 2),
        "load_over_raw_read": round(cold["seconds"] / raw, 3),
        "peak_resident_bytes": cold["peak_bytes"],
        "resident_before_bytes": cold["before_bytes"],
        "peak_over_file": round(cold["peak_bytes"] / size, 4),
        "machine": noted,
        "limits": {"peak_over_file": 1.05},
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the temporary file goes")
    parser.add_argument("--preset", default="adamoe_pi0")
    parser.add_argument("--out", type=Path, help="write the JSON here, too")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        print(json.dumps(load(arguments.load, arguments.preset)))
        return 0
    text = json.dumps(measure(arguments.folder, arguments.preset), indent=2)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
