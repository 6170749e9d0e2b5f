# SPDX-License-Identifier: Apache-2.0
"""Interleaved timing: every candidate once per round, so that the machine's moods hit all alike.

Wall time is what a robot waits; the process's CPU time (summed over its threads) is what other
processes disturb least. On CUDA it is always the wall time of a call that ends with a synchronisation.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch

Work = Callable[[], Any]
Clock = Literal["wall", "cpu"]


def timed(work: Work, device: torch.device, clock: Clock) -> float:
    """s of one call."""
    cuda = device.type == "cuda"
    now = time.process_time if clock == "cpu" and not cuda else time.perf_counter
    if cuda:
        torch.cuda.synchronize(device)
    begun = now()
    work()
    if cuda:
        torch.cuda.synchronize(device)
    return now() - begun


def interleaved(
    works: Mapping[str, Work],
    rounds: int,
    device: torch.device,
    warm_ups: int = 1,
    clock: Clock = "cpu",
) -> dict[str, list[float]]:
    """Name -> s of every round, after unmeasured warm-ups."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(warm_ups + rounds):
        for name, work in works.items():
            spent = timed(work, device, clock)
            if number >= warm_ups:
                times[name].append(spent)
    return times


def summary(times: list[float]) -> dict[str, float]:
    """Median, extremes and p99 in ms."""
    ordered = sorted(times)
    last = min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))
    return {
        "median_ms": statistics.median(ordered) * 1e3,
        "min_ms": ordered[0] * 1e3,
        "max_ms": ordered[-1] * 1e3,
        "p99_ms": ordered[last] * 1e3,
    }


def operations(work: Work, device: torch.device) -> int:
    """Kernels launched (CUDA) or operators run (CPU) by one call."""
    from torch.profiler import ProfilerActivity, profile

    cuda = device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=kinds) as recorded:
        work()
        if cuda:
            torch.cuda.synchronize(device)
    events = list(recorded.events() or [])
    if cuda:
        return sum(e.device_type == torch.autograd.DeviceType.CUDA for e in events)
    return sum(e.name.startswith(("aten::", "mkldnn::")) for e in events)
