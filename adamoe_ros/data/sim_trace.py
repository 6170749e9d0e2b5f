# SPDX-License-Identifier: Apache-2.0
"""States of the simulator over an episode, so that pictures can be made of it afterwards.

One ``.npz`` per episode.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TraceInfo:
    """What sets an episode up: registry name, sentence and seed."""

    task: str
    instruction: str
    seed: int


@dataclass(frozen=True)
class Trace:
    """One episode.

    Attributes:
        info: what set it up.
        times: (T,) s of simulation time as in the messages' stamps, one per camera frame.
        states: (T, N) float64, the simulator's generalised positions.
        success: (T,) bool, the simulator's judgement.
    """

    info: TraceInfo
    times: NDArray[np.float64]
    states: NDArray[np.float64]
    success: NDArray[np.bool_]


class TraceWriter:
    """Collects one episode after the other and writes each at its end.

    Args:
        folder: created when needed; empty: nothing is kept.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._info: TraceInfo | None = None
        self._rows: list[tuple[float, NDArray[np.float64], bool]] = []
        self._count = 0

    def begin(self, info: TraceInfo) -> None:
        """Start an episode."""
        self._info, self._rows = info, []

    def add(self, time_s: float, state: NDArray[np.float64], success: bool) -> None:
        """Note one state; a copy is taken."""
        if self._folder is not None and self._info is not None:
            self._rows.append((time_s, np.array(state, dtype=np.float64), success))

    def end(self) -> None:
        """Write the episode, unless it is empty or was written already."""
        info, rows, self._info = self._info, self._rows, None
        if self._folder is None or info is None or not rows:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        times, states, success = zip(*rows, strict=True)
        trace = Trace(info, np.array(times), np.stack(states), np.array(success))
        write_trace(trace_path(self._folder, self._count), trace)
        self._count += 1
        self._rows = []


def trace_path(folder: Path, index: int) -> Path:
    """File of the index-th episode, from 0."""
    return folder / f"episode_{index:04d}.npz"


def write_trace(path: Path, trace: Trace) -> None:
    """Write one episode."""
    np.savez_compressed(
        path,
        info=json.dumps(asdict(trace.info)),
        times=trace.times,
        states=trace.states,
        success=trace.success,
    )


def read_trace(path: Path) -> Trace:
    """Inverse of ``write_trace``."""
    with np.load(path, allow_pickle=False) as document:
        info = TraceInfo(**json.loads(str(document["info"])))
        return Trace(info, document["times"], document["states"], document["success"])
