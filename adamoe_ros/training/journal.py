# SPDX-License-Identifier: Apache-2.0
"""What a run says while it goes on: a line for the person, JSON lines, TensorBoard's event files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adamoe_ros.training.progress import Progress
from adamoe_ros.training.storage import JsonLines, no_room

LOG_FILE, EVENTS = "log.jsonl", "tensorboard"


class Journal:
    """Writes what one run says.

    Args:
        folder: of the run.
        first: step it goes on from; what a killed run wrote beyond it is dropped.
        steps: step it ends at. batch_size: for the samples per second.
        events: also write TensorBoard's files.
    """

    def __init__(self, folder: Path, first: int, steps: int, batch_size: int, events: bool) -> None:
        self._lines = JsonLines(folder / LOG_FILE, keep_below=first + 1)
        self._progress = Progress(first, steps, batch_size)
        self._folder = folder / EVENTS
        self._events = _writer(self._folder, first) if events else None

    def waited(self, seconds: float) -> None:
        """Note time spent waiting for data."""
        self._progress.waited(seconds)

    def losses(self, step: int, values: Mapping[str, float], rates: Mapping[str, float]) -> None:
        """Losses and learning rates after ``step`` steps.

        Raises:
            ContractError: the disk is full.
        """
        speed = self._progress.show(step, values)
        self._lines.write({"step": step, **values, **speed})
        self._scalars(step, {f"loss/{name}": value for name, value in values.items()})
        self._scalars(step, {f"learning_rate/{name}": value for name, value in rates.items()})
        self._scalars(step, {f"speed/{name}": value for name, value in speed.items()})

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of roll-outs.

        Raises:
            ContractError: the disk is full.
        """
        self._lines.write({"step": step, "evaluation": dict(values)})
        self._scalars(step, {f"evaluation/{name}": value for name, value in values.items()})

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._events is None:
            return
        try:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)
            self._events.flush()
        except OSError as error:
            self._events = None
            raise no_room(self._folder, error) from error

    def close(self) -> None:
        """Close the files."""
        self._lines.close()
        if self._events is not None:
            self._events.close()


def _writer(folder: Path, first: int) -> Any:
    """TensorBoard's writer, which drops what a killed run wrote beyond ``first``; None without it."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        line = "TensorBoard: no event files, as it is not installed (pip install tensorboard)"
        print(line, file=sys.stderr)
        return None
    try:
        return SummaryWriter(str(folder), purge_step=first + 1 if first else None)
    except OSError as error:
        raise no_room(folder, error) from error
