# SPDX-License-Identifier: Apache-2.0
"""Latency by stage: device events between captured stages, and quantiles over many inferences.

May import: torch, numpy.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

import numpy as np
import torch


class StageTimer:
    """Marks between stages of one inference; read after the device is done.

    On CUDA a mark is an event on the current stream, made once and recorded again each time; on a
    CPU it is the clock. Switched off, a mark is one comparison.

    Args:
        stages: names in order; stage i lies between marks i and i + 1.
    """

    def __init__(self, stages: tuple[str, ...], device: torch.device, enabled: bool) -> None:
        self.stages, self.enabled = stages, enabled
        self._times = [0.0] * (len(stages) + 1)
        self._events: list[torch.cuda.Event] | None = None
        if enabled and device.type == "cuda":
            self._events = [torch.cuda.Event(enable_timing=True) for _ in self._times]

    def mark(self, number: int) -> None:
        """Stage ``number`` begins here (the last mark ends the last stage)."""
        if not self.enabled:
            return
        if self._events is not None:
            self._events[number].record()
        else:
            self._times[number] = time.perf_counter()

    def read(self) -> dict[str, float]:
        """Stage -> s; empty when switched off. The device must have passed the last mark."""
        if not self.enabled:
            return {}
        if self._events is not None:
            pairs = zip(self._events, self._events[1:], strict=False)
            spans = [begin.elapsed_time(end) / 1e3 for begin, end in pairs]
        else:
            pairs_s = zip(self._times, self._times[1:], strict=False)
            spans = [end - begin for begin, end in pairs_s]
        return dict(zip(self.stages, spans, strict=True))


class StageHistory:
    """The last inferences' stages.

    Args:
        length: inferences that are kept.
    """

    def __init__(self, length: int = 1000) -> None:
        self._rows: deque[Mapping[str, float]] = deque(maxlen=length)

    def add(self, stages: Mapping[str, float]) -> None:
        """One inference's stages, s."""
        self._rows.append(stages)

    def quantiles(self) -> dict[str, dict[str, float]]:
        """Stage -> ``p50``, ``p95``, ``p99`` in s over the kept inferences."""
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        out = {}
        for name in names:
            values = [row[name] for row in self._rows if name in row]
            p50, p95, p99 = np.quantile(values, [0.5, 0.95, 0.99]).tolist()
            out[name] = {"p50": p50, "p95": p95, "p99": p99}
        return out
