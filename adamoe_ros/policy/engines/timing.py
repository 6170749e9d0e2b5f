# SPDX-License-Identifier: Apache-2.0
"""Latency by stage, from device events between captured stages."""

from __future__ import annotations

import time

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
