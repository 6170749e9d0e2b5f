# SPDX-License-Identifier: Apache-2.0
"""Requests of all clients through one network: what waits is inferred together, oldest first.

One thread infers, so that the event loop goes on answering; a request whose client has gone is not
inferred, and one that cannot be inferred fails alone.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.control.scheduling import InferenceRequest, free_plan
from adamoe_ros.policy.actor import PolicyActor
from adamoe_ros.policy.actor_base import noise_seed
from adamoe_ros.serving.metrics import ServerMetrics
from adamoe_ros.serving.requests import ClientRequest

_WORTH_IT = 1.05  # a larger batch has to give so much more throughput
_ROUNDS = 3


@dataclass(frozen=True)
class Answer:
    """What one request came to.

    Attributes:
        inference: ``stages`` are the batch's.
        batch: requests that were inferred together.
        waited_s: from arrival to the batch's start.
        inference_s: of the batch.
    """

    inference: Inference
    batch: int
    waited_s: float
    inference_s: float


@dataclass(eq=False)  # each is itself alone
class _Waiting:
    request: ClientRequest
    arrived: float
    future: asyncio.Future[Answer]
    loop: asyncio.AbstractEventLoop


def measure_batches(actor: PolicyActor, most: int) -> dict[int, float]:
    """Observations per s of batches of 1, 2, 4, ... until more is not faster."""
    rates: dict[int, float] = {}
    size = 1
    while size <= most:
        requests = [_warm_up_request(actor, number) for number in range(size)]
        took = []
        for _ in range(_ROUNDS):
            begun = time.perf_counter()
            actor.infer_batch(requests, [one.request for one in requests])
            took.append(time.perf_counter() - begun)
        rates[size] = size / min(took[1:])
        if size > 1 and rates[size] < _WORTH_IT * rates[size // 2]:
            break
        size *= 2
    return rates


def best_batch(rates: dict[int, float]) -> int:
    """The smallest size beyond which throughput does not grow any more."""
    best = 1
    for size, rate in sorted(rates.items()):
        if rate >= _WORTH_IT * rates[best]:
            best = size
    return best


def _warm_up_request(actor: PolicyActor, number: int) -> ClientRequest:
    request = InferenceRequest(actor.warm_up_observation(), free_plan(0, actor.horizon))
    return ClientRequest(request, 0.0, actor.runtime.noise(noise_seed(0, number)))


class Batcher:
    """The inference thread.

    Args:
        actor: without a profile.
        most: requests of a batch.
        metrics: what it counts in.
    """

    def __init__(self, actor: PolicyActor, most: int, metrics: ServerMetrics) -> None:
        self._actor, self.most, self._metrics = actor, most, metrics
        self._waiting: list[_Waiting] = []
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)

    def start(self) -> None:
        """Begin to infer."""
        self._thread.start()

    def stop(self) -> None:
        """End after the batch that runs; what waits is never answered."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether requests are inferred."""
        return self._thread.is_alive()

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    async def infer(self, request: ClientRequest, arrived: float) -> Answer:
        """One request.

        Raises:
            ContractError: the policy cannot answer it; one line.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, arrived, loop.create_future(), loop)
        with self._wake:
            self._waiting.append(waiting)
            self._wake.notify()
        return await waiting.future

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._stopping:
                    self._wake.wait()
                if self._stopping:
                    return
                batch = self._take()
            if batch:
                self._infer(batch)

    def _take(self) -> list[_Waiting]:
        """The oldest, and others that fit to it; those whose client has gone are forgotten."""
        alive = [one for one in self._waiting if not one.future.done()]
        alive.sort(key=lambda one: one.request.due)
        batch: list[_Waiting] = []
        clips: set[float] = set()
        for one in alive:
            clip = one.request.clip
            if len(batch) < self.most and (clip is None or clips <= {clip}):
                batch.append(one)
                clips |= set() if clip is None else {clip}
        self._waiting = [one for one in alive if one not in batch]
        return batch

    def _infer(self, batch: Sequence[_Waiting]) -> None:
        begun = time.monotonic()
        requests = [one.request for one in batch]
        try:
            trace = len(batch) == 1 and requests[0].trace
            made = self._actor.infer_batch(requests, [one.request for one in requests], trace=trace)
        except Exception as error:  # whatever the model raises may cost nobody else anything
            if len(batch) > 1:
                for one in batch:
                    self._infer([one])
                return
            lines = error.problems if isinstance(error, ContractError) else (_fault(error),)
            _settle(batch[0], ContractError(lines))
            return
        took = time.monotonic() - begun
        self._metrics.note_batch(len(batch), took)
        for one, inference in zip(batch, made.inferences, strict=True):
            if np.isfinite(inference.positions).all():
                _settle(one, Answer(inference, len(batch), begun - one.arrived, took))
            else:
                line = problem("actions", "finite numbers", "NaN or infinity", "check the inputs")
                _settle(one, ContractError(line))


def _fault(error: Exception) -> str:
    what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return problem("inference", "a chunk", what, "report it, with the server's log")


def _settle(one: _Waiting, outcome: Answer | ContractError) -> None:
    def settle() -> None:
        if one.future.done():  # its client has gone
            return
        if isinstance(outcome, ContractError):
            one.future.set_exception(outcome)
        else:
            one.future.set_result(outcome)

    one.loop.call_soon_threadsafe(settle)
