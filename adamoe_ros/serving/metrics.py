# SPDX-License-Identifier: Apache-2.0
"""Figures of the server, for Prometheus and for the terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_BATCHES = (1, 2, 4, 8, 16, 32)
_WINDOW = 200  # latencies of a client that its percentiles cover


@dataclass
class ClientFigures:
    """One connection.

    Attributes:
        name: number and address.
        protocol: as it was recognised.
        latency: s from a request's arrival to its answer, the newest.
    """

    name: str
    protocol: str
    requests: int = 0
    latency: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def percentile(self, share: float) -> float:
        """s; NaN before the first."""
        return float(np.percentile(self.latency, share)) if self.latency else float("nan")


class ServerMetrics:
    """Counts and times; a registry of its own, so that two servers may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.clients: dict[str, ClientFigures] = {}
        self.batches: deque[int] = deque(maxlen=_WINDOW)
        one, make = self.registry, "adamoe"
        self._requests = Counter(
            "requests", "Answered.", ["protocol", "outcome"], namespace=make, registry=one
        )
        self._refused = Counter(
            "refused_connections", "Not let in.", ["reason"], namespace=make, registry=one
        )
        self._clients = Gauge("clients", "Connected.", ["protocol"], namespace=make, registry=one)
        self._latency = Histogram(
            "latency_seconds",
            "Arrival to answer.",
            ["client"],
            buckets=_SECONDS,
            namespace=make,
            registry=one,
        )
        self._inference = Histogram(
            "inference_seconds", "Of a batch.", buckets=_SECONDS, namespace=make, registry=one
        )
        self._batch = Histogram(
            "batch_size", "Requests of a batch.", buckets=_BATCHES, namespace=make, registry=one
        )
        self._queue = Gauge("queue", "Requests that wait.", namespace=make, registry=one)

    def watch_queue(self, queued: Callable[[], int]) -> None:
        """Where the length of the queue is read."""
        self._queue.set_function(queued)

    def connect(self, name: str, protocol: str) -> ClientFigures:
        """A client is known."""
        figures = self.clients[name] = ClientFigures(name, protocol)
        self._clients.labels(protocol).inc()
        return figures

    def disconnect(self, figures: ClientFigures) -> None:
        """It has gone; its own series goes with it."""
        del self.clients[figures.name]
        self._clients.labels(figures.protocol).dec()
        if figures.latency:
            self._latency.remove(figures.name)

    def refuse(self, reason: str) -> None:
        """A connection was not let in."""
        self._refused.labels(reason).inc()

    def note_batch(self, size: int, took_s: float) -> None:
        """A batch was inferred."""
        self.batches.append(size)
        self._batch.observe(size)
        self._inference.observe(took_s)

    def note(self, figures: ClientFigures, latency_s: float) -> None:
        """A request was answered with a chunk."""
        figures.requests += 1
        figures.latency.append(latency_s)
        self._requests.labels(figures.protocol, "ok").inc()
        self._latency.labels(figures.name).observe(latency_s)

    def note_error(self, protocol: str) -> None:
        """A frame was answered with an error."""
        self._requests.labels(protocol, "error").inc()

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
