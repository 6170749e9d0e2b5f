# SPDX-License-Identifier: Apache-2.0
"""The line a person watches while a run goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TextIO


def duration_text(seconds: float) -> str:
    """``75`` -> ``1:15``; ``4000`` -> ``1:06:40``."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Rates and time left; rewrites one line on a terminal, appends lines elsewhere.

    Args:
        first: step the run starts at.
        steps: step it ends at.
        batch_size: for the samples per second.
        stream: where to write; stderr keeps stdout machine-readable.
    """

    def __init__(
        self, first: int, steps: int, batch_size: int, stream: TextIO | None = None
    ) -> None:
        self._first, self._steps, self._batch = first, steps, batch_size
        self._stream = stream or sys.stderr
        self._start = time.monotonic()
        self._last, self._last_step = self._start, first
        self._waited = 0.0

    def waited(self, seconds: float) -> None:
        """Note time spent waiting for data or evaluating."""
        self._waited += seconds

    def show(self, done: int, values: Mapping[str, float]) -> dict[str, float]:
        """Write the line after ``done`` steps; returns the rates for the log."""
        now = time.monotonic()
        interval = max(1e-9, now - self._last)
        rate = (done - self._last_step) / interval
        mean = (done - self._first) / max(1e-9, now - self._start)
        left = (self._steps - done) / max(1e-9, mean)
        rates = {
            "samples_per_s": round(rate * self._batch, 1),
            "data_share": round(self._waited / interval, 3),
            "elapsed_s": round(now - self._start, 1),
        }
        self._last, self._last_step, self._waited = now, done, 0.0
        shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        text = (
            f"step {done}/{self._steps} {shown} | {rates['samples_per_s']:.0f} samples/s, "
            f"{duration_text(left)} left"
        )
        live = self._stream.isatty()
        self._stream.write(f"\r{text:<110}" if live else text + "\n")
        if live and done >= self._steps:
            self._stream.write("\n")
        self._stream.flush()
        return rates


class Counter:
    """Counts finished things of a known number, with the time left; one line, or ten without
    a terminal.

    Args:
        what: said in front.
        total: when it is done.
        stream: where to write.
    """

    def __init__(self, what: str, total: int, stream: TextIO | None = None) -> None:
        self._what, self._total, self._done = what, total, 0
        self._stream = stream or sys.stderr
        self._start = time.monotonic()

    def add(self, count: int = 1, note: str = "") -> None:
        """Note ``count`` more; ``note`` is said behind."""
        before, self._done = self._done, self._done + count
        elapsed = time.monotonic() - self._start
        left = elapsed / self._done * (self._total - self._done)
        text = f"{self._what}: {self._done}/{self._total} {note}| {duration_text(left)} left"
        ended = self._done >= self._total
        if self._stream.isatty():
            self._stream.write(f"\r{text:<100}" + ("\n" if ended else ""))
        elif ended or self._done * 10 // self._total > before * 10 // self._total:
            self._stream.write(text + "\n")
        self._stream.flush()
