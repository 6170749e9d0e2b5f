# SPDX-License-Identifier: Apache-2.0
"""What became of an episode: the scene's own task, and the one that the policy was told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.data.sim_trace import EpisodeInfo, Trace
from adamoe_ros.evaluation.cases import Sentences
from adamoe_ros.evaluation.phases import PhaseWatch
from adamoe_ros.sim.bimanual import CONTROL_RATE, BimanualSim
from adamoe_ros.sim.tasks import make_task, task_of
from adamoe_ros.sim.tasks.base import Task

_EVERY = 2  # ticks between the states that are kept for videos: 25 Hz


class EpisodeWatch:
    """Follows one episode in the simulator, tick by tick.

    Args:
        sim: just reset.
        sentences: of the episode.
        settle_s: how long a judgement must hold without a break.

    Attributes:
        phase: see ``phases``.
    """

    def __init__(self, sim: BimanualSim, sentences: Sentences, settle_s: float = 0.5) -> None:
        self._sim, self._sentences = sim, sentences
        self._needed = max(1, round(settle_s * CONTROL_RATE))
        self._other = other_task(sim, sentences)
        self._own_held = self._other_held = self._tick = 0
        self._rows: list[tuple[float, NDArray[np.float64], bool]] = []
        self.phase = PhaseWatch(sim)

    def __call__(self) -> bool:
        """One tick has passed; whether either task is fulfilled now."""
        own, other = self._sim.success(), False
        if self._other is not None:
            self._other.watch(self._sim.model, self._sim.data)
            other = bool(self._other.success(self._sim.model, self._sim.data))
        self._own_held = self._own_held + 1 if own else 0
        self._other_held = self._other_held + 1 if other else 0
        if self._tick % _EVERY == 0:
            self._rows.append((self._tick / CONTROL_RATE, self._sim.state(), own))
        self._tick += 1
        return own or other

    @property
    def success(self) -> bool:
        """Whether the scene's own task is done for good."""
        return self._own_held >= self._needed

    @property
    def followed(self) -> bool | None:
        """Whether what the policy was told is done for good; None: this scene cannot tell."""
        if self._sentences.told == self._sentences.scene or self._same_wish():
            return self.success
        return None if self._other is None else self._other_held >= self._needed

    def _same_wish(self) -> bool:
        return self._sim.task.language.meaning_of(self._sentences.told) == self._sim.task.meaning

    def trace(self) -> Trace:
        """States at 25 Hz, for videos."""
        times, states, success = zip(*self._rows, strict=True)
        info = EpisodeInfo(self._sim.task.name, self._sentences.scene, self._sim.seed)
        return Trace(info, np.array(times), np.stack(states), np.array(success))


def other_task(sim: BimanualSim, sentences: Sentences) -> Task | None:
    """The task of the told sentence, where it is another wish and this scene has its objects."""
    found = task_of(sentences.told)
    if found is None or (found[0] == sim.task.name and found[1] == sim.task.meaning):
        return None
    task = make_task(found[0])
    task.begin(found[1])
    try:
        task.watch(sim.model, sim.data)
        task.success(sim.model, sim.data)
    except KeyError:  # MuJoCo's answer for a name that the scene does not have
        return None
    return task


def judge_trace(trace: Trace, told: str, settle_s: float = 0.5) -> tuple[EpisodeWatch, list[int]]:
    """Judge recorded states, e.g. of ``sim_node``, as if they were seen now.

    Returns:
        The watch at the end, and the phase at each of the trace's times.
    """
    sim = BimanualSim(trace.info.task)
    sim.reset(trace.info.seed, trace.info.instruction)
    rate = (len(trace.times) - 1) / max(float(trace.times[-1] - trace.times[0]), 1e-9)
    watch = EpisodeWatch(sim, Sentences(sim.instruction, told), settle_s * rate / CONTROL_RATE)
    phases = []
    for state in trace.states:
        sim.set_state(state)
        sim.task.watch(sim.model, sim.data)
        watch()
        phases.append(watch.phase())
    return watch, phases
