# SPDX-License-Identifier: Apache-2.0
"""What a figure was measured on: processor, device, versions, commit, date."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_PACKAGES = ("torch", "numpy", "mujoco", "transformers", "ros-rclpy")


def machine_record(device: torch.device | None = None) -> dict[str, Any]:
    """For JSON; with a CUDA ``device``, that GPU as well."""
    flags = _cpu_line("flags")
    found: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "amx": "amx_bf16" in flags,
        "avx512_bf16": "avx512_bf16" in flags,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "load_average_before": round(os.getloadavg()[0], 2),
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    if device is not None and device.type == "cuda":
        found["gpu"] = _gpu(device)
    return found


def machine_line() -> str:
    """Processor, cores, memory and system in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    system = f"{platform.system()} {platform.release()}"
    return f"{cpu_name()}, {cores} cores, {memory:.0f} GiB, {system}"


def cpu_name() -> str:
    """As the kernel names it."""
    return _cpu_line("model name") or platform.processor() or platform.machine()


def commit() -> str:
    """Of the checkout that this runs from, with ``+`` where the package differs; empty if installed."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".")
    return _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _git(*words: str) -> str:
    folder = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no git on a robot
        return ""
    return done.stdout.strip()


def _gpu(device: torch.device) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "cuda": torch.version.cuda,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_line(key: str) -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
