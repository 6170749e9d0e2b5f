# SPDX-License-Identifier: Apache-2.0
"""The policy that is served, whatever the protocol: loaded, measured, described, asked."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamoe_ros import __version__
from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.manifest import checkpoint_name
from adamoe_ros.contract.parameters import param, same_as
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.policy.actor import PolicyActor
from adamoe_ros.policy.actor_base import noise_seed
from adamoe_ros.policy.checkpoint import (
    CONFIG,
    MANIFEST,
    STATISTICS,
    WEIGHTS,
    Checkpoint,
    read_checkpoint,
)
from adamoe_ros.serving.batching import Answer, Batcher, best_batch, measure_batches
from adamoe_ros.serving.interfaces import Interface, ObservationReader, load_interface
from adamoe_ros.serving.metrics import ServerMetrics
from adamoe_ros.serving.requests import KEYS, ClientRequest, RequestReader
from adamoe_ros.serving.wire import EXTRA, VERSION

_BLOCK = 1 << 20  # bytes that are hashed at once


@dataclass(frozen=True)
class ServeSettings(PolicySettings):
    """Settings of a server; of ``PolicySettings`` those that concern the network."""

    strategy: str = same_as(
        PolicySettings, "strategy", default="rtc"
    )  # so that guidance is possible
    interface: tuple[str, ...] = param(
        ("aloha",),
        "What clients call things, one of each protocol: names of config/interfaces or .yaml files; "
        "none: only our own client.",
    )
    prompt: str = param("", "Instruction for clients that send none; empty: they are refused.")
    max_batch: int = param(
        8,
        "Most requests that are inferred together; fewer where more is not faster.",
        bounds=(1, 64),
    )
    max_clients: int = param(64, "Most connections.", bounds=(1, 1000))
    max_rate: float = param(100.0, "Most requests of a client.", unit="Hz", bounds=(0.1, 1000.0))
    max_frame: int = param(64, "Largest frame, MiB.", bounds=(1, 512))


class PolicyService:
    """One loaded policy.

    Args:
        folder: checkpoint.

    Raises:
        ContractError: checkpoint, interface and settings do not fit.

    Attributes:
        rates: batch size -> observations per s, as measured.
        announced: what our own client reads of the metadata.
    """

    def __init__(self, folder: Path, settings: ServeSettings) -> None:
        checkpoint = read_checkpoint(folder)
        self.settings, self.metrics = settings, ServerMetrics()
        self._readers = _readers(settings, checkpoint)
        self.actor = PolicyActor(None, checkpoint, settings, settings.max_batch)
        unfit = self.actor.instruction_problem(settings.prompt) if settings.prompt else None
        if unfit:
            raise ContractError(f"--prompt: {unfit}")
        self._read = RequestReader(self.actor)
        self.warm_s = self.actor.warm_up()
        self.rates = measure_batches(self.actor, settings.max_batch)
        self._batcher = Batcher(self.actor, best_batch(self.rates), self.metrics)
        self.metrics.watch_queue(lambda: self._batcher.queued)
        self.announced = self._describe(checkpoint)

    @property
    def batch(self) -> int:
        """Requests of a batch, at most."""
        return self._batcher.most

    @property
    def alive(self) -> bool:
        """Whether requests are inferred."""
        return self._batcher.alive

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return self._batcher.queued

    def start(self) -> None:
        """Begin to infer."""
        self._batcher.start()

    def stop(self) -> None:
        """End the inference thread."""
        self._batcher.stop()

    async def infer(self, request: ClientRequest, arrived: float) -> Answer:
        """See ``Batcher``."""
        return await self._batcher.infer(request, arrived)

    def _describe(self, checkpoint: Checkpoint) -> dict[str, Any]:
        actor, folder = self.actor, checkpoint.folder
        assert checkpoint.statistics is not None  # the actor has seen to it
        return {
            "version": VERSION,
            "server": f"adamoe_ros {__version__}",
            "checkpoint": checkpoint_name(folder),
            "config": (folder / CONFIG).read_text(encoding="utf-8"),
            "manifest": checkpoint.manifest.model_dump_json(),
            "norm_stats": checkpoint.statistics.to_json(),
            "fingerprint": fingerprint(checkpoint),
            "device": actor.device,
            "flow_steps": actor.steps,
            "rtc_jacobian": actor.settings.rtc_jacobian,
            "warm_s": self.warm_s,
            "batch": self.batch,
            "interfaces": {name: one.interface.description for name, one in self._readers.items()},
            "keys": list(KEYS),
        }

    def read(
        self, frame: Mapping[str, Any], seed: int, arrived: float, protocol: str
    ) -> ClientRequest:
        """See ``RequestReader``."""
        return self._read(frame, self._readers.get(protocol), seed, arrived)

    def interface(self, protocol: str) -> Interface:
        """Of a protocol whose clients were understood."""
        return self._readers[protocol].interface

    def columns(self, protocol: str) -> int:
        """Leading ones of a chunk that are sent."""
        reader = self._readers.get(protocol)
        chosen = reader.interface.action_columns if reader else 0
        return chosen or len(self.actor.manifest.action_entries)

    def rows_to_execute(self, answer: Answer, protocol: str) -> NDArray[np.float64]:
        """Of a chunk, for clients that do not choose by themselves."""
        rows = self.settings.execution_horizon or max(1, self.actor.horizon // 2)
        return answer.inference.positions[:rows, : self.columns(protocol)]

    def metadata(self) -> dict[str, Any]:
        """openpi's first frame."""
        return {EXTRA: self.announced}


def _readers(settings: ServeSettings, checkpoint: Checkpoint) -> dict[str, ObservationReader]:
    """Protocol -> how its observations are read."""
    problems, found = Problems(), dict[str, ObservationReader]()
    for name in settings.interface:
        if name == "none":
            continue
        interface = problems.collect(partial(load_interface, name))
        if interface is None:
            continue
        if interface.protocol in found:
            expected, do = f"one of {interface.protocol}", "leave one away"
            problems.add("interface", expected, f"{name!r} as another one", do)
            continue
        reader = problems.collect(
            partial(ObservationReader, interface, checkpoint.manifest, settings.prompt)
        )
        if reader is not None:
            found[interface.protocol] = reader
    problems.raise_if_any()
    return found


def fingerprint(checkpoint: Checkpoint) -> str:
    """SHA-256 over all files that make the policy."""
    digest = hashlib.sha256()
    tokenizer = checkpoint.manifest.tokenizer
    for name in (CONFIG, MANIFEST, STATISTICS, *([tokenizer] if tokenizer else []), WEIGHTS):
        with (checkpoint.folder / name).open("rb") as stream:
            digest.update(f"{name}\n".encode())
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


class ClientEpisode:
    """What one connection's requests have in common.

    Args:
        number: of the connection since the server's start.

    Attributes:
        chunks: answered so far; gives each its own noise.
    """

    def __init__(self, service: PolicyService, number: int) -> None:
        self._service = service
        self._seed = noise_seed(service.actor.seed, number)
        self.restart()

    def restart(self) -> None:
        """Another episode of the same client."""
        self.chunks = 0
        self._cameras: frozenset[str] | None = None

    def read(
        self, frame: Mapping[str, Any], arrived: float, protocol: str = "openpi"
    ) -> ClientRequest:
        """See ``RequestReader``; blocks for the decoding of pictures.

        Raises:
            ContractError: as there, or a camera came or went within the episode.
        """
        return self.check(self._service.read(frame, self.seed, arrived, protocol))

    @property
    def seed(self) -> int:
        """Of the next chunk's noise."""
        return noise_seed(self._seed, self.chunks)

    def check(self, request: ClientRequest) -> ClientRequest:
        """The same request, with the cameras of the ones before."""
        cameras = frozenset(request.request.observation.images)
        if self._cameras is not None and cameras != self._cameras:
            expected = f"{', '.join(sorted(self._cameras))} as before"
            got, do = ", ".join(sorted(cameras)), "send the same cameras for a whole connection"
            raise ContractError(problem("cameras", expected, got, do))
        self._cameras = cameras
        return request


class RateLimit:
    """A bucket of requests that fills again at a rate.

    Args:
        rate: Hz.
    """

    def __init__(self, rate: float) -> None:
        self._rate, self._left = rate, max(1.0, rate)
        self._at = time.monotonic()

    def take(self) -> None:
        """One request.

        Raises:
            ContractError: there were too many.
        """
        now = time.monotonic()
        most = max(1.0, self._rate)
        self._left = min(most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            raise ContractError(
                problem("rate", f"at most {self._rate:g} Hz", "more", "send less often")
            )
        self._left -= 1.0
