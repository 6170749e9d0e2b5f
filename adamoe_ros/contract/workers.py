# SPDX-License-Identifier: Apache-2.0
"""Work spread over processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

R = TypeVar("R")


def run_in_processes(
    function: Callable[..., R],
    jobs: Sequence[tuple[Any, ...]],
    processes: int,
    begin: Callable[..., None] | None = None,
    begin_with: tuple[Any, ...] = (),
) -> Iterator[tuple[int, Future[R]]]:
    """(number of a job, its finished future) as jobs end; what has not begun is dropped on an error.

    Processes are spawned, because neither a GL context nor CUDA survives a fork. One job or one
    process: in this process, without ``begin``.

    Args:
        jobs: arguments of each call.
        begin: called in every process with ``begin_with`` first.
    """
    if processes <= 1 or len(jobs) <= 1:
        for number, arguments in enumerate(jobs):
            future: Future[R] = Future()
            try:
                future.set_result(function(*arguments))
            except Exception as error:
                future.set_exception(error)
            yield number, future
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(jobs)), context, begin, begin_with) as pool:
        futures = {pool.submit(function, *job): number for number, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                yield futures[future], future
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
