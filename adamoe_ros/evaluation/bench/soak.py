# SPDX-License-Identifier: Apache-2.0
"""Many inferences in a row: does memory grow, how long is the tail."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from adamoe_ros.evaluation.bench.measure import summary
from adamoe_ros.evaluation.bench.workload import Problem
from adamoe_ros.policy.engines.eager import Engine


def resident_bytes() -> int:
    """Of this process in host memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def soak(engine: Engine, problem: Problem, count: int) -> dict[str, Any]:
    """Run ``count`` inferences; memory is compared after the first tenth and at the end."""
    cuda = engine.device.type == "cuda"
    times, early = [], (0, 0)
    for number in range(count):
        begun = time.perf_counter()
        engine.sample(problem.inputs, problem.noise, problem.steps)
        times.append(time.perf_counter() - begun)
        if number == count // 10:
            early = (resident_bytes(), _device_bytes(engine.device) if cuda else 0)
    late = (resident_bytes(), _device_bytes(engine.device) if cuda else 0)
    return {
        "inferences": count,
        "host_growth_bytes": late[0] - early[0],
        "device_growth_bytes": late[1] - early[1],
        "wall": summary(times[count // 10 :]),
    }


def _device_bytes(device: torch.device) -> int:
    free, total = torch.cuda.mem_get_info(device)
    return int(total - free)
