# SPDX-License-Identifier: Apache-2.0
"""The inference thread: takes the newest observation when the schedule says so, delivers chunks.

Knows neither ROS nor torch. An assignment says for which generation and sentence to work; a chunk
that was begun for another generation is dropped, never delivered.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from adamoe_ros.contract.chunk import ActionChunk, Inference
from adamoe_ros.contract.errors import PolicyUnavailable
from adamoe_ros.contract.observation import Observation
from adamoe_ros.control.scheduling import InferencePlan, InferenceScheduler, InstructionChange

_DELAY_POLL = 0.002  # s of wall time between looks at the clock while latency is injected


@dataclass(frozen=True)
class Assignment:
    """What to work for."""

    generation: int
    instruction: str


@dataclass(frozen=True)
class Work:
    """What the thread calls.

    Attributes:
        newest_ns: stamp that the next observation would have; None: none can be had.
        observe: sentence -> observation; None: none can be had.
        restart: a new generation begins: nothing of the chunk before counts.
        infer: (observation, plan) -> inference; may raise, ``PolicyUnavailable`` without any harm.
        deliver: (chunk, observation, inference) of the current assignment.
        failed: (generation, one line): inference raised, or its chunk was not finite.
        now_ns: ROS time.
        extra_latency: s that every inference is made longer by.
    """

    newest_ns: Callable[[], int | None]
    observe: Callable[[str], Observation | None]
    restart: Callable[[], None]
    infer: Callable[[Observation, InferencePlan], Inference]
    deliver: Callable[[ActionChunk, Observation, Inference], None]
    failed: Callable[[int, str], None]
    now_ns: Callable[[], int]
    extra_latency: Callable[[], float]


class PolicyWorker:
    """One thread that infers.

    Args:
        work: what it calls.
        scheduler: when it does; used in this thread only.
        joint_names: columns of the chunks, ``<arm>/<joint>``.
        nice: of the thread and of those that the model starts in it (OpenMP has a team for each
            thread), added to the process's.
    """

    def __init__(
        self,
        work: Work,
        scheduler: InferenceScheduler,
        joint_names: Sequence[str],
        nice: int = 0,
    ) -> None:
        self._work, self._nice = work, nice
        self._scheduler = scheduler
        self._joint_names = tuple(joint_names)
        self._dt_s = scheduler.settings.dt_s
        self._wake = threading.Condition()
        self._arrived = False
        self._stopping = False
        self._assignment: Assignment | None = None
        self._change: InstructionChange | None = None
        self._refused = False
        self._generation = -1
        self._chunk_id = 0
        self._last_stamp = -1
        self._thread = threading.Thread(target=self._run, name="policy_worker", daemon=True)

    def start(self) -> None:
        """Begin; without an assignment the thread waits."""
        self._thread.start()

    def stop(self) -> None:
        """End and wait for a running inference; its chunk is dropped. May be called twice."""
        with self._wake:
            self._stopping = True
            self._assignment = None
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def assign(self, assignment: Assignment | None) -> None:
        """Work for this from now on; None: stop working. Nothing of the former is delivered."""
        with self._wake:
            self._assignment = assignment
            self._arrived = True  # what is there already may do for the first chunk
            self._wake.notify_all()

    def instruct(self, instruction: str, how: InstructionChange) -> None:
        """Another sentence for the current assignment, from the next inference on."""
        with self._wake:
            if self._assignment is not None:
                self._assignment = replace(self._assignment, instruction=instruction)
                self._change = how

    def refused(self) -> None:
        """Control did not take up a chunk: the next one must not go on from it."""
        with self._wake:
            self._refused = True

    def notice(self) -> None:
        """An input has arrived."""
        with self._wake:
            self._arrived = True
            if self._assignment is not None:  # an idle thread sleeps on
                self._wake.notify_all()

    def _run(self) -> None:
        os.nice(self._nice)  # on Linux of the calling thread only
        while True:
            with self._wake:
                while not self._stopping and not (self._assignment and self._arrived):
                    self._wake.wait()
                if self._stopping:
                    return
                assignment, self._arrived = self._assignment, False
                change, self._change = self._change, None
                if self._refused:
                    self._refused = False
                    self._scheduler.forget()
            assert assignment is not None
            try:
                self._turn(assignment, change)
            except PolicyUnavailable:
                self._scheduler.abandon()  # whoever watches the goal knows, and decides
            except Exception as error:  # whatever the model raises must end the goal, not the node
                self._scheduler.abandon()
                trace = traceback.extract_tb(error.__traceback__)[-1]
                place = f"{trace.filename.rsplit('/', 1)[-1]}:{trace.lineno}"
                self._fail(assignment, f"{type(error).__name__}: {error} ({place})")

    def _turn(self, assignment: Assignment, change: InstructionChange | None) -> None:
        work, scheduler = self._work, self._scheduler
        if assignment.generation != self._generation:
            self._generation, self._chunk_id = assignment.generation, 0
            scheduler.reset()
            work.restart()
        elif change is not None:
            scheduler.change_instruction(change)
        newest = work.newest_ns()
        if newest is None or newest == self._last_stamp or not scheduler.due(work.now_ns(), newest):
            return
        observation = work.observe(assignment.instruction)
        if observation is None or observation.stamp_ns == self._last_stamp:
            return
        self._last_stamp = observation.stamp_ns
        plan = scheduler.start(observation.stamp_ns)
        inference = work.infer(observation, plan)
        self._wait_extra(work.extra_latency(), assignment)
        if not np.isfinite(inference.positions).all():
            scheduler.abandon()
            self._fail(assignment, "expected a finite chunk, got NaN or infinity; it was not sent")
            return
        self._deliver(assignment, observation, plan, inference)

    def _deliver(
        self,
        assignment: Assignment,
        observation: Observation,
        plan: InferencePlan,
        inference: Inference,
    ) -> None:
        with self._wake:  # so that nothing is delivered after the assignment was taken away
            if not self._current(assignment):
                self._scheduler.abandon()
                return
            if not self._scheduler.finish(self._work.now_ns()):
                return
            self._chunk_id += 1
            chunk = ActionChunk(
                stamp_ns=observation.stamp_ns,
                chunk_id=self._chunk_id,
                generation=assignment.generation,
                joint_names=self._joint_names,
                dt_s=self._dt_s,
                positions=inference.positions[: plan.publish_rows],
                committed_rows=inference.committed_rows,
                instruction=assignment.instruction,
            )
            self._work.deliver(chunk, observation, inference)

    def _current(self, assignment: Assignment) -> bool:
        now = self._assignment
        return not self._stopping and now is not None and now.generation == assignment.generation

    def _fail(self, assignment: Assignment, line: str) -> None:
        with self._wake:
            if not self._current(assignment):
                return
            self._assignment = None
        self._work.failed(assignment.generation, line)

    def _wait_extra(self, extra_s: float, assignment: Assignment) -> None:
        """Wait ``extra_s`` of ROS time beyond now; less when the assignment ends."""
        if extra_s <= 0:
            return
        until = self._work.now_ns() + round(extra_s * 1e9)
        while self._work.now_ns() < until and self._current(assignment):
            time.sleep(_DELAY_POLL)
