# SPDX-License-Identifier: Apache-2.0
"""The next step's samples are fetched while this step computes; which they are does not change."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from adamoe_ros.training.samples import Batch


class Prefetcher:
    """Batches by step, one step ahead in a thread.

    Args:
        fetch: step -> batch.
        end: no step from here on is fetched ahead.
    """

    def __init__(self, fetch: Callable[[int], Batch], end: int) -> None:
        self._fetch, self._end = fetch, end
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="samples")
        self._ahead: dict[int, Future[Batch]] = {}

    def get(self, step: int) -> Batch:
        """The batch of a step."""
        future = self._ahead.pop(step, None) or self._pool.submit(self._fetch, step)
        if step + 1 < self._end:
            self._ahead[step + 1] = self._pool.submit(self._fetch, step + 1)
        return future.result()

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown(cancel_futures=True)
