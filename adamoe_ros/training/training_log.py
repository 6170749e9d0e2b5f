# SPDX-License-Identifier: Apache-2.0
"""What a run reports while it goes on: a line for the person, JSON lines, TensorBoard's files."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from adamoe_ros.training.run_state import disk_full, write_file

LOG_FILE, EVENTS = "log.jsonl", "tensorboard"


class TrainingLog:
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
            raise disk_full(self._folder, error) from error

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
        raise disk_full(folder, error) from error


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


class JsonLines:
    """A log of one JSON object a line; lines after a resumed step are dropped on opening.

    Args:
        path: file; made with its folder.
        keep_below: with a resumed run, its first step: later lines came from the killed run.
    """

    def __init__(self, path: Path, keep_below: int = 0) -> None:
        self._path = path
        kept = [row for row in read_lines(path) if row.get("step", -1) < keep_below]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_file(path, lambda stream: stream.write(text.encode()))
        self._stream = path.open("a", encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        """Append one object and flush.

        Raises:
            ContractError: the disk is full.
        """
        try:
            self._stream.write(json.dumps(row) + "\n")
            self._stream.flush()
        except OSError as error:
            raise disk_full(self._path, error) from error

    def close(self) -> None:
        """Close the file; what a full disk kept from being written is lost, and was reported."""
        with contextlib.suppress(OSError):
            self._stream.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSON-lines file; a last line cut off by a kill is left out."""
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
