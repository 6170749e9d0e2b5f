# SPDX-License-Identifier: Apache-2.0
"""Films of evaluated episodes, from the states that were kept of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adamoe_ros.data.sim_trace import Trace
from adamoe_ros.evaluation.report.scene_film import rows_at, scene_frames
from adamoe_ros.evaluation.report.video import Caption, Picture, write_mp4

RATE = 10.0  # frames per second of film and of simulation time


def film_trace(path: Path, trace: Trace, told: str, note: str) -> int:
    """Film an episode without shadows, which would take most of the time.

    Args:
        told: sentence that the policy heard. note: said at the end of the second line.

    Returns:
        Number of frames.
    """
    beside = path.with_name(f".{path.name}")
    frames = write_mp4(beside.with_suffix(".mp4"), _frames(trace, told, note), RATE)
    beside.replace(path)
    return frames


def _frames(trace: Trace, told: str, note: str) -> Iterator[Picture]:
    def caption(row: int) -> Caption:
        time = float(trace.times[row] - trace.times[0])
        left = f"{time:.1f} s   seed {trace.info.seed}   {note}"
        return Caption(told, left, "success" if trace.success[row] else "")

    rows = rows_at(trace, float(trace.times[0]), float(trace.times[-1]), RATE)
    return scene_frames(trace, rows, caption, shadows=False)
