# SPDX-License-Identifier: Apache-2.0
"""Pictures decoded in threads while the events before them are still at work.

The order of events is that of the bag; nothing but time changes. Imports: data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import NamedTuple

from adamoe_ros.contract.observation import Observation
from adamoe_ros.data.observations import BagObservation, Event

DEPTH = 8  # observations that are read ahead: 0.25 s of three cameras, 22 MB where all are decoded


class Ahead(NamedTuple):
    """An event; ``loading`` has the observation with its pictures, None: not asked for."""

    event: Event
    loading: Future[Observation] | None


def decoded_ahead(
    events: Iterable[Event],
    wanted: Callable[[BagObservation], bool],
    pool: Executor,
    depth: int = DEPTH,
) -> Iterator[Ahead]:
    """Events in their order, read ahead of their use.

    Args:
        wanted: whether an observation's pictures are needed; asked once for each, in order.
        pool: of threads; an observation's pictures are decoded by one.
        depth: observations between reading and use.
    """
    waiting: deque[Ahead] = deque()
    observations = 0
    for event in events:
        if event.kind != "observation":
            waiting.append(Ahead(event, None))
            continue
        loading = pool.submit(event.value.load) if wanted(event.value) else None
        waiting.append(Ahead(event, loading))
        observations += 1
        while observations > depth:
            first = waiting.popleft()
            observations -= first.event.kind == "observation"
            yield first
    yield from waiting
