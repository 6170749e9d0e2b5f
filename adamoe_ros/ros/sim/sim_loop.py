# SPDX-License-Identifier: Apache-2.0
"""Paces the simulator and its cameras in two threads; knows neither ROS nor MuJoCo.

The physics thread advances simulation time in equal steps and never faster than asked. Pictures are
taken of copied states in the other thread, so a slow renderer does not stop the joints: it is
waited for only when the next picture is due, and then the clock slows down and no frame is lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

_CATCH_UP = 0.05  # s of wall time that may be made good after a stall; more is given up


class World(Protocol):
    """What is simulated. ``advance`` to ``judge`` are called under the loop's lock."""

    def advance(self, seconds: float) -> None:
        """Move simulation time on."""

    def snapshot(self) -> Any:
        """A copy of the state, enough to take pictures of it later."""

    def judge(self) -> bool:
        """Whether the task is fulfilled now."""

    def take_pictures(self, snapshot: Any) -> Any:
        """Render; called in the render thread, without the lock."""

    def open_renderer(self) -> None:
        """Make the GL context; called first in the render thread."""

    def close_renderer(self) -> None:
        """Give the GL context back; called last in the render thread."""


@dataclass(frozen=True)
class Rates:
    """Steps per second of simulation time; ``clock`` is a multiple of the others' rate."""

    clock: float
    control: float
    camera: float
    status: float


@dataclass(frozen=True)
class Events:
    """What the loop reports; every time is in ns of simulation time.

    Attributes:
        clock: each step.
        control: each control period, under the lock, before the world advances.
        frames: (time, pictures) after rendering, in the render thread.
        status: each status period and when ``judge`` changes.
        failed: an exception ended one of the threads.
    """

    clock: Callable[[int], None]
    control: Callable[[int], None]
    frames: Callable[[int, Any], None]
    status: Callable[[int], None]
    failed: Callable[[BaseException], None]


class Every:
    """True once per period of simulation time, without drift."""

    def __init__(self, rate: float, start_ns: int) -> None:
        self._period = 1e9 / rate
        self._start = start_ns
        self._count = 0

    def __call__(self, now_ns: int) -> bool:
        if now_ns - self._start < self._count * self._period - 1.0:
            return False
        self._count = int((now_ns - self._start + 1.0) / self._period) + 1
        return True


class SimLoop:
    """Runs a world.

    Args:
        world: what is simulated; ``lock`` guards it.
        rates: of everything that happens regularly.
        events: where it is reported.
        factor: simulated seconds per second, at most; read each step.
        start_ns: simulation time of the first step.
    """

    def __init__(
        self,
        world: World,
        rates: Rates,
        events: Events,
        factor: Callable[[], float],
        start_ns: int,
    ) -> None:
        self.lock = threading.RLock()
        self.now_ns = start_ns
        self._world = world
        self._rates = rates
        self._events = events
        self._factor = factor
        self._stop = threading.Event()
        self._wanted: tuple[int, Any] | None = None
        self._handover = threading.Condition()
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=name, daemon=True)
            for work, name in ((self._render, "sim_render"), (self._run, "sim_physics"))
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads and wait for them; may be called twice."""
        self._stop.set()
        with self._handover:
            self._handover.notify_all()
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(timeout=10.0)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # reported: a dead thread must not look like a quiet one
            self._stop.set()
            with self._handover:
                self._handover.notify_all()
            self._events.failed(error)

    def _run(self) -> None:
        rates, start = self._rates, self.now_ns
        control, camera, status = (
            Every(rate, start) for rate in (rates.control, rates.camera, rates.status)
        )
        step = 1.0 / rates.clock
        judged = False
        due = time.monotonic()
        count = 0
        while not self._stop.is_set():
            now = self.now_ns
            with self.lock:
                if control(now):
                    self._events.control(now)
                picture = self._world.snapshot() if camera(now) else None
                success = self._world.judge()
            if picture is not None:
                self._hand_over(now, picture)
            if status(now) or success != judged:
                self._events.status(now)
            judged = success
            with self.lock:
                self._world.advance(step)
            count += 1
            self.now_ns = start + round(count * step * 1e9)
            self._events.clock(self.now_ns)
            due = self._pace(due + step / self._factor())

    def _pace(self, due: float) -> float:
        """Wait until ``due`` (s, monotonic); a time too long past is moved up to now."""
        late = time.monotonic() - due
        if late < 0:
            self._stop.wait(-late)
        return due + max(late - _CATCH_UP, 0.0)

    def _hand_over(self, now_ns: int, picture: Any) -> None:
        """Give a state to the render thread; waits while it still has one to begin with."""
        with self._handover:
            while self._wanted is not None and not self._stop.is_set():
                self._handover.wait()
            self._wanted = (now_ns, picture)
            self._handover.notify_all()

    def _render(self) -> None:
        self._world.open_renderer()
        try:
            while True:
                with self._handover:
                    while self._wanted is None and not self._stop.is_set():
                        self._handover.wait()
                    if self._stop.is_set():
                        return
                    assert self._wanted is not None
                    now_ns, picture = self._wanted
                    self._wanted = None
                    self._handover.notify_all()
                self._events.frames(now_ns, self._world.take_pictures(picture))
        finally:
            self._world.close_renderer()
