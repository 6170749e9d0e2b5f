# SPDX-License-Identifier: Apache-2.0
"""Progress of long work: a bar in a terminal, plain lines where there is none. Imports rich."""

from __future__ import annotations

import sys
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
