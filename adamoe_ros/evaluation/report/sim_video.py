# SPDX-License-Identifier: Apache-2.0
"""Videos of simulated episodes, rendered afterwards from the states that were kept of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from adamoe_ros.data.recording import Episode, Recording
from adamoe_ros.data.sim_trace import Trace, read_trace, trace_path
from adamoe_ros.evaluation.report.video import SCENE, VIEW, Caption, Picture, compose, write_mp4
from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.render import CameraRenderer

DEMO_RATE, EPISODE_RATE = 25.0, 10.0  # frames per second of video and of simulation time
_BEFORE, _AFTER = 0.3, 0.8  # s shown around a demo's episode
_SCENE_CAMERA = "angle"
_SHADOW_SIZE = 1024  # px; the default 4096 takes three times as long in software


def demo_video(path: Path, recording: Recording, traces: Path) -> int:
    """Every episode of a demo, one after the other.

    Args:
        traces: folder that ``sim_node`` wrote its states to.

    Returns:
        Number of frames.

    Raises:
        FileNotFoundError: an episode has no states.
    """
    frames = (
        frame
        for episode in recording.episodes
        for frame in _demo_frames(episode, read_trace(trace_path(traces, episode.index)))
    )
    return write_mp4(path, frames, DEMO_RATE)


def _demo_frames(episode: Episode, trace: Trace) -> Iterator[Picture]:
    """From just before to just after the goal."""
    first = max(episode.start - _BEFORE, float(trace.times[0]))
    last = min(episode.start + episode.elapsed + _AFTER, float(trace.times[-1]))

    def caption(row: int) -> Caption:
        time = float(trace.times[row]) - episode.start
        return _demo_caption(episode, time, bool(trace.success[row]))

    return _frames(trace, _rows(trace, first, last, DEMO_RATE), caption, shadows=True)


def _demo_caption(episode: Episode, time: float, success: bool) -> Caption:
    index = bisect_right([inference.time for inference in episode.inferences], time) - 1
    parts = [f"{max(time, 0.0):.1f} s", f"seed {episode.seed}"]
    if index >= 0 and "total" in episode.stages:
        latency = episode.inferences[index].latency[episode.stages.index("total")]
        parts.append(f"inference {latency * 1e3:.0f} ms")
    return Caption(episode.instruction_at(time), "   ".join(parts), "success" if success else "")


def episode_video(path: Path, trace: Trace, instruction: str, note: str) -> int:
    """One evaluated episode, without shadows, which would take most of the time.

    Args:
        instruction: that the policy was given. note: at the end of the second line.

    Returns:
        Number of frames.
    """

    def caption(row: int) -> Caption:
        time = float(trace.times[row] - trace.times[0])
        left = f"{time:.1f} s   seed {trace.info.seed}   {note}"
        return Caption(instruction, left, "success" if trace.success[row] else "")

    rows = _rows(trace, float(trace.times[0]), float(trace.times[-1]), EPISODE_RATE)
    beside = path.with_name(f".{path.name}")
    count = write_mp4(beside, _frames(trace, rows, caption, shadows=False), EPISODE_RATE)
    beside.replace(path)
    return count


def _rows(trace: Trace, first: float, last: float, rate: float) -> list[int]:
    """Rows of the states, ``1 / rate`` s apart, between two of the trace's times."""
    wanted = np.arange(first, last, 1.0 / rate)
    return np.searchsorted(trace.times, wanted).clip(max=len(trace.times) - 1).tolist()


def _frames(
    trace: Trace, rows: Sequence[int], caption: Callable[[int], Caption], shadows: bool
) -> Iterator[Picture]:
    """Scene, camera views and caption of some rows of an episode's states.

    Args:
        shadows: of the scene's picture; they take most of the time.
    """
    sim = BimanualSim(trace.info.task)
    sim.reset(trace.info.seed, trace.info.instruction)  # paints the objects
    sim.model.vis.quality.shadowsize = _SHADOW_SIZE  # read when the renderer is made
    scene, views = CameraRenderer(sim.model, *SCENE), CameraRenderer(sim.model, *VIEW)
    scene.shadows = shadows
    try:
        for row in rows:
            sim.set_state(trace.states[row])
            picture = scene.picture(sim.data, _SCENE_CAMERA)
            yield compose(picture, views.slots(sim.data), caption(row))
    finally:
        views.close()
        scene.close()
