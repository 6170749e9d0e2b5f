# SPDX-License-Identifier: Apache-2.0
"""Latency of the policy's stages over the last inferences."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StageLatency:
    """One stage: s of the last inference and percentiles over the window."""

    name: str
    last: float
    p50: float
    p95: float
    p99: float


class LatencyWindow:
    """The last inferences' stage times; may be used from several threads.

    Args:
        size: inferences that are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._stages: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, stages: Mapping[str, float]) -> None:
        """Note one inference: stage -> s."""
        with self._lock:
            for name, seconds in stages.items():
                self._stages.setdefault(name, deque(maxlen=self._size)).append(float(seconds))

    def last(self, name: str) -> float:
        """s of a stage in the last inference; -1 before the first."""
        with self._lock:
            values = self._stages.get(name)
            return values[-1] if values else -1.0

    def stages(self) -> list[StageLatency]:
        """Every stage seen, in the order of the first inference."""
        with self._lock:
            kept = [(name, list(values)) for name, values in self._stages.items()]
        return [
            StageLatency(name, values[-1], *map(float, np.percentile(values, (50, 95, 99))))
            for name, values in kept
        ]
