# SPDX-License-Identifier: Apache-2.0
"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from adamoe_ros.evaluation.bench.checkout import commit


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, device, versions, commit, date."""
    import numpy
    import transformers

    found: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "amx": "amx_bf16" in _cpu_flags(),
        "avx512_bf16": "avx512_bf16" in _cpu_flags(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["gpu"] = {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_bytes": properties.total_memory,
            "cuda": torch.version.cuda,
        }
    return found


def _cpu_flags() -> str:
    return _cpu_line("flags")


def _cpu_name() -> str:
    return _cpu_line("model name") or platform.processor()


def _cpu_line(key: str) -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
