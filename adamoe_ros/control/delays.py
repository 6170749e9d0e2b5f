# SPDX-License-Identifier: Apache-2.0
"""How long an observation takes to become a chunk: windowed maximum, without warm-up."""

from __future__ import annotations

from collections import deque


class DelayWindow:
    """Recent delays.

    Args:
        size: delays that count (b of the RTC paper); an old slow one is forgotten after as many.
        warmup: first delays that do not count (compilation, caches).
        initial_s: assumed until one counts.
    """

    def __init__(self, size: int = 10, warmup: int = 1, initial_s: float = 0.0) -> None:
        self._recent: deque[float] = deque(maxlen=size)
        self._warmup = warmup
        self._initial_s = initial_s

    def add(self, delay_s: float) -> None:
        """A measured delay; ValueError below 0."""
        if delay_s < 0:
            raise ValueError(f"expected a delay >= 0 s, got {delay_s}")
        if self._warmup > 0:
            self._warmup -= 1
        else:
            self._recent.append(delay_s)

    @property
    def largest_s(self) -> float:
        """s, of the window."""
        return max(self._recent, default=self._initial_s)
