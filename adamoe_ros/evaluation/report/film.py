# SPDX-License-Identifier: Apache-2.0
"""The demo's film from the simulator's own states: rendered afterwards, so the run is not slowed.

May import: data, sim, numpy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import mujoco
import numpy as np

from adamoe_ros.data.recording import Episode, Recording
from adamoe_ros.data.sim_trace import Trace, read_trace, trace_path
from adamoe_ros.evaluation.report.video import SCENE, VIEW, Caption, Picture, compose, write_mp4
from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.render import CameraRenderer

RATE = 25.0  # frames per second of film and of simulation time
_SCENE_CAMERA = "angle"
_SHADOW_SIZE = 1024  # px; the default 4096 takes three times as long in software
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
        yield from _episode_frames(episode, read_trace(trace_path(traces, episode.index)))


def _episode_frames(episode: Episode, trace: Trace) -> Iterator[Picture]:
    sim = BimanualSim(trace.info.task, trace.info.instruction)
    sim.reset(trace.info.seed, trace.info.instruction)  # paints the objects
    sim.model.vis.quality.shadowsize = _SHADOW_SIZE  # read when the renderer is made
    scene = CameraRenderer(sim.model, *SCENE)
    scene.shadows = True
    views = CameraRenderer(sim.model, *VIEW)
    try:
        for row in _rows(episode, trace):
            sim.data.qpos[:] = trace.states[row]
            mujoco.mj_forward(sim.model, sim.data)
            time = float(trace.times[row]) - episode.start
            caption = _caption(episode, time, bool(trace.success[row]))
            picture = scene.picture(sim.data, _SCENE_CAMERA)
            yield compose(picture, views.slots(sim.data), caption)
    finally:
        views.close()
        scene.close()


def _rows(episode: Episode, trace: Trace) -> list[int]:
    """Rows of the states, ``1 / RATE`` apart, from just before to just after the goal."""
    first = max(episode.start - _BEFORE, float(trace.times[0]))
    last = min(episode.start + episode.elapsed + _AFTER, float(trace.times[-1]))
    wanted = np.arange(first, last, 1.0 / RATE)
    return np.searchsorted(trace.times, wanted).clip(max=len(trace.times) - 1).tolist()


def _caption(episode: Episode, time: float, success: bool) -> Caption:
    index = bisect_right([inference.time for inference in episode.inferences], time) - 1
    parts = [f"{max(time, 0.0):.1f} s", f"seed {episode.seed}"]
    if index >= 0 and "total" in episode.stages:
        latency = episode.inferences[index].latency[episode.stages.index("total")]
        parts.append(f"inference {latency * 1e3:.0f} ms")
    return Caption(episode.instruction_at(time), "   ".join(parts), "success" if success else "")
