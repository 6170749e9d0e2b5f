# SPDX-License-Identifier: Apache-2.0
"""Units of work over processes of this machine or of a Ray cluster, with the same results.

A unit whose process or node dies is run again; one that takes its process along every time is an
error of that unit alone.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, TypeVar

from adamoe_ros.contract.errors import ContractError, problem

R = TypeVar("R")
ATTEMPTS = 3  # of a unit whose process dies


@dataclass(frozen=True)
class UnitWork:
    """What is done to units.

    Attributes:
        function: of a module that every process can import; called with a unit's arguments.
        units: arguments of each call.
        names: of the units, for errors; empty: their numbers.
        begin: called with ``begin_with`` in every process before its first unit, not in this one.
        folder: that every process writes to by path; None: results come back as values.
        data: where inputs and results lie, for a person.
    """

    function: Callable[..., Any]
    units: Sequence[tuple[Any, ...]]
    names: Sequence[str] = ()
    begin: Callable[..., None] | None = None
    begin_with: tuple[Any, ...] = ()
    folder: Path | None = None
    data: str = ""

    def name(self, number: int) -> str:
        """Of a unit, for a person."""
        return self.names[number] if self.names else f"unit {number + 1} of {len(self.units)}"


class UnitRunner(Protocol):
    """Where units run.

    Attributes:
        lost: exceptions of a future whose process or node has died.
    """

    lost: tuple[type[BaseException], ...]

    def submit(self, number: int) -> Future[Any]:
        """Begin a unit."""

    def close(self) -> None:
        """Drop what has not ended."""


@dataclass(frozen=True)
class Workers:
    """Where units of work run.

    Attributes:
        most: units at a time; with Ray, 0: as many as the cluster has cores.
        ray: address of a Ray cluster; empty: processes of this machine.
        gpus: of each unit, with Ray.
    """

    most: int = 1
    ray: str = ""
    gpus: float = 0.0

    def run(self, work: UnitWork) -> Iterator[tuple[int, Future[Any]]]:
        """(number of a unit, its finished future) as units end; what is left is dropped on an error.

        Without Ray, one unit or one process: in this process, without ``begin``.

        Raises:
            ContractError: there is no such cluster, or Ray is not installed.
        """
        count = len(work.units)
        if not count:
            return
        if self.ray:
            from adamoe_ros.contract.ray_cluster import RayCluster

            yield from _spread(work, RayCluster(work, self.ray, self.gpus), self.most or count)
        elif self.most <= 1 or count <= 1:
            yield from _here(work)
        else:
            yield from _spread(work, _Processes(work), self.most)


def _here(work: UnitWork) -> Iterator[tuple[int, Future[Any]]]:
    for number, arguments in enumerate(work.units):
        future: Future[Any] = Future()
        try:
            future.set_result(work.function(*arguments))
        except Exception as error:
            future.set_exception(error)
        yield number, future


def _spread(work: UnitWork, place: UnitRunner, most: int) -> Iterator[tuple[int, Future[Any]]]:
    waiting, died = deque(range(len(work.units))), Counter[int]()
    running: dict[Future[Any], int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < most:
                number = waiting.popleft()
                running[place.submit(number)] = number
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number = running.pop(future)
                if not isinstance(future.exception(), place.lost):
                    yield number, future
                    continue
                died[number] += 1
                if died[number] < ATTEMPTS:
                    print(f"{work.name(number)}: its process died; it runs again", file=sys.stderr)
                    waiting.append(number)
                else:
                    yield number, _given_up(work.name(number))
    finally:
        place.close()


def _given_up(name: str) -> Future[Any]:
    future: Future[Any] = Future()
    expected, got = "a process that lives to its end", f"{ATTEMPTS} that died"
    do = "see whether memory ran out (dmesg); fewer processes need less"
    future.set_exception(ContractError(problem(name, expected, got, do)))
    return future


def _begin(begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """In a process of ours, before its first unit."""
    Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _end_with_parent() -> None:
    """Nobody takes results any more, and a process of a pool would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _Processes:
    """Processes of this machine: an executor each, so that one that dies takes one unit along.

    They are spawned, because neither a GL context nor CUDA survives a fork.
    """

    lost: tuple[type[BaseException], ...] = (BrokenProcessPool,)

    def __init__(self, work: UnitWork) -> None:
        self._work = work
        self._slots: list[tuple[ProcessPoolExecutor, Future[Any]]] = []

    def submit(self, number: int) -> Future[Any]:
        pool = self._free()
        future = pool.submit(self._work.function, *self._work.units[number])
        self._slots.append((pool, future))
        return future

    def _free(self) -> ProcessPoolExecutor:
        """One whose process lives and has nothing to do; else a new one."""
        for slot in [slot for slot in self._slots if slot[1].done()]:
            self._slots.remove(slot)
            pool, last = slot
            if not isinstance(last.exception(), BrokenProcessPool):
                return pool
            pool.shutdown(wait=False)
        context = multiprocessing.get_context("spawn")
        begin = (self._work.begin, self._work.begin_with)
        return ProcessPoolExecutor(1, context, _begin, begin)

    def close(self) -> None:
        for pool, _ in self._slots:
            pool.shutdown(wait=False, cancel_futures=True)
