# SPDX-License-Identifier: Apache-2.0
"""The demo's film from the simulator's own states: rendered afterwards, so the run is not slowed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from adamoe_ros.data.recording import Episode, Recording
from adamoe_ros.data.sim_trace import Trace, read_trace, trace_path
from adamoe_ros.evaluation.report.scene_film import rows_at, scene_frames
from adamoe_ros.evaluation.report.video import Caption, Picture, write_mp4

RATE = 25.0  # frames per second of film and of simulation time
_BEFORE, _AFTER = 0.3, 0.8  # s shown around an episode


def make_film(path: Path, recording: Recording, traces: Path) -> int:
    """Film every episode of a run, one after the other.

    Args:
        traces: folder that ``sim_node`` wrote its states to.

    Returns:
        Number of frames.

    Raises:
        FileNotFoundError: an episode has no states.
    """
    return write_mp4(path, _frames(recording, traces), RATE)


def _frames(recording: Recording, traces: Path) -> Iterator[Picture]:
    for episode in recording.episodes:
        yield from _episode(episode, read_trace(trace_path(traces, episode.index)))


def _episode(episode: Episode, trace: Trace) -> Iterator[Picture]:
    """From just before to just after the goal."""
    first = max(episode.start - _BEFORE, float(trace.times[0]))
    last = min(episode.start + episode.elapsed + _AFTER, float(trace.times[-1]))

    def caption(row: int) -> Caption:
        time = float(trace.times[row]) - episode.start
        return _caption(episode, time, bool(trace.success[row]))

    return scene_frames(trace, rows_at(trace, first, last, RATE), caption, shadows=True)


def _caption(episode: Episode, time: float, success: bool) -> Caption:
    index = bisect_right([inference.time for inference in episode.inferences], time) - 1
    parts = [f"{max(time, 0.0):.1f} s", f"seed {episode.seed}"]
    if index >= 0 and "total" in episode.stages:
        latency = episode.inferences[index].latency[episode.stages.index("total")]
        parts.append(f"inference {latency * 1e3:.0f} ms")
    return Caption(episode.instruction_at(time), "   ".join(parts), "success" if success else "")
