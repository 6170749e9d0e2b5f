# SPDX-License-Identifier: Apache-2.0
"""Progress of long work: a bar in a terminal, plain lines where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any


class Steps:
    """Counts steps; a context manager.

    Args:
        what: is counted, in plural.
        total: number of steps.
        unit: after the count, e.g. " s".
    """

    def __init__(self, what: str, total: float, unit: str = "") -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = 0.0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Steps:
        if sys.stdout.isatty():
            from rich.progress import (
                BarColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def done(self, line: str, steps: float = 1.0) -> None:
        """Some steps more; ``line`` is printed unless it is empty."""
        self._done += steps
        if self._bar is not None:
            self._bar.advance(self._task, steps)
            if line:
                self._bar.console.print(line, highlight=False, markup=False)
        elif line:
            total = f"{self._total:g}{self._unit}"
            print(f"[{self._done:g}/{total}] {line}", flush=True)


class Megabytes:
    """Bytes of a known number that have been dealt with; a context manager.

    Without a terminal, a line for every tenth.

    Args:
        what: is done to them.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._steps: Steps | None = None
        self._total = self._done = self._shown = 0
        self._live = sys.stdout.isatty()

    def __enter__(self) -> Megabytes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._steps is not None:
            self._steps.__exit__(kind, error, trace)

    def begin(self, total: int) -> Callable[[int], None]:
        """Start, now that the number of bytes is known; returns what is told of each part."""
        self._total = total
        self._steps = Steps(self._what, round(total / 1e6, 1), " MB").__enter__()
        return self._advance

    def _advance(self, count: int) -> None:
        assert self._steps is not None
        self._done += count
        step = self._done - self._shown
        if self._live or step >= self._total / 10 or self._done >= self._total:
            shown = round(self._done / 1e6, 1) - round(self._shown / 1e6, 1)
            self._steps.done("" if self._live else self._what, shown)
            self._shown = self._done
