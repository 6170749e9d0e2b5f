# SPDX-License-Identifier: Apache-2.0
"""Frames of a film, rendered from the simulator's states that were kept of an episode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from adamoe_ros.data.sim_trace import Trace
from adamoe_ros.evaluation.report.video import SCENE, VIEW, Caption, Picture, compose
from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.render import CameraRenderer

_SCENE_CAMERA = "angle"
_SHADOW_SIZE = 1024  # px; the default 4096 takes three times as long in software


def rows_at(trace: Trace, first: float, last: float, rate: float) -> list[int]:
    """Rows of the states, ``1 / rate`` s apart, between two of the trace's times."""
    wanted = np.arange(first, last, 1.0 / rate)
    return np.searchsorted(trace.times, wanted).clip(max=len(trace.times) - 1).tolist()


def scene_frames(
    trace: Trace, rows: Sequence[int], caption: Callable[[int], Caption], shadows: bool
) -> Iterator[Picture]:
    """Scene, views and words of some rows of an episode's states.

    Args:
        caption: of a row.
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
