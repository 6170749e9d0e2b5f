# SPDX-License-Identifier: Apache-2.0
"""Episodes of ``ClosedLoop``s to their end: alone, or many in step so that they are inferred together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.control.metrics import SeamSummary
from adamoe_ros.control.scheduling import InferenceRequest
from adamoe_ros.evaluation.closed_loop import ClosedLoop

InferTogether = Callable[[Sequence[int], Sequence[InferenceRequest]], Sequence[Inference]]
"""(numbers of the loops that ask, what they ask) -> a chunk for each."""


@dataclass(frozen=True)
class LoopOutcome:
    """What an episode came to.

    Attributes:
        success: the judgement held for the settling time.
        seconds: s of simulated time until that began; the limit without success.
        inferences: chunks made. dropped: of these, thrown away for their age.
        late, rejected: chunks that control did not take up.
        clips: gate interventions, joints times ticks, by cause.
        seams: of the whole episode.
    """

    success: bool
    seconds: float
    inferences: int
    dropped: int
    late: int
    rejected: int
    clips: dict[str, int]
    seams: SeamSummary


class _Episode:
    """One loop and how long its success has held."""

    def __init__(self, loop: ClosedLoop, judge: Callable[[], bool], max_s: float, settle_s: float):
        period = loop.core.period_s
        self.loop, self._judge = loop, judge
        self._ticks, self._needed = round(max_s / period), max(1, round(settle_s / period))
        self._tick = self._held = 0

    @property
    def over(self) -> bool:
        return self._tick >= self._ticks or self._held >= self._needed

    def end_step(self) -> None:
        self.loop.end_step()
        self._tick += 1
        self._held = self._held + 1 if self._judge() else 0

    def outcome(self) -> LoopOutcome:
        loop = self.loop
        success = self._held >= self._needed
        status = loop.core.status(loop.now_ns)
        causes = ("position", "velocity", "acceleration", "step")
        return LoopOutcome(
            success=success,
            seconds=round((self._tick - self._held * success) * loop.core.period_s, 6),
            inferences=loop.inferences,
            dropped=loop.scheduler.dropped,
            late=status.late_chunks,
            rejected=status.rejected_chunks,
            clips={cause: int(getattr(loop.core.gate.clips, cause).sum()) for cause in causes},
            seams=loop.core.metrics.summary(),
        )


def run_together(
    loops: Sequence[ClosedLoop],
    judges: Sequence[Callable[[], bool]],
    infer: InferTogether,
    max_s: float,
    settle_s: float = 0.5,
) -> list[LoopOutcome]:
    """Run each until its success has settled or time is up.

    Args:
        judges: the simulators' judgements, now.
        infer: called once per tick in which any loop asks.
        settle_s: s that success must hold without a break.
    """
    episodes = [
        _Episode(loop, judge, max_s, settle_s) for loop, judge in zip(loops, judges, strict=True)
    ]
    while True:
        running = [number for number, episode in enumerate(episodes) if not episode.over]
        if not running:
            return [episode.outcome() for episode in episodes]
        asked: dict[int, InferenceRequest] = {}
        for number in running:
            request = loops[number].begin_step()
            if request is not None:
                asked[number] = request
        if asked:
            made = infer(list(asked), list(asked.values()))
            for number, own in zip(asked, made, strict=True):
                loops[number].answer(own)
        for number in running:
            episodes[number].end_step()
