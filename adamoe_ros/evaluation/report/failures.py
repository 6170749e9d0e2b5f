# SPDX-License-Identifier: Apache-2.0
"""Films of evaluated episodes, from the states that were kept of them.

May import: data, sim, numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mujoco
import numpy as np

from adamoe_ros.data.sim_trace import Trace
from adamoe_ros.evaluation.report.video import SCENE, VIEW, Caption, Picture, compose, write_mp4
from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.render import CameraRenderer

RATE = 10.0  # frames per second of film and of simulation time
_SCENE_CAMERA = "angle"


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
    sim = BimanualSim(trace.info.task)
    sim.reset(trace.info.seed, trace.info.instruction)  # paints the objects
    scene, views = CameraRenderer(sim.model, *SCENE), CameraRenderer(sim.model, *VIEW)
    wanted = np.arange(trace.times[0], trace.times[-1], 1.0 / RATE)
    rows = np.searchsorted(trace.times, wanted).clip(max=len(trace.times) - 1)
    try:
        for row in rows.tolist():
            sim.data.qpos[:] = trace.states[row]
            mujoco.mj_forward(sim.model, sim.data)
            time = float(trace.times[row] - trace.times[0])
            left = f"{time:.1f} s   seed {trace.info.seed}   {note}"
            caption = Caption(told, left, "success" if trace.success[row] else "")
            picture = scene.picture(sim.data, _SCENE_CAMERA)
            yield compose(picture, views.slots(sim.data), caption)
    finally:
        views.close()
        scene.close()
