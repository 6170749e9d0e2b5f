# SPDX-License-Identifier: Apache-2.0
"""openpi's protocol: the server's metadata first, then an observation for every answer.

An error is a text frame with one line, and the connection ends, as with openpi's server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from adamoe_ros.serving import wire
from adamoe_ros.serving.batching import Answer
from adamoe_ros.serving.requests import ClientRequest
from adamoe_ros.serving.service import ClientEpisode, PolicyService
from adamoe_ros.serving.wire import EXTRA


class OpenpiProtocol:
    """One connection."""

    name: ClassVar[str] = "openpi"
    error_ends: ClassVar[bool] = True

    def __init__(self, service: PolicyService, episode: ClientEpisode) -> None:
        self._service, self._episode = service, episode
        self._previous_s: float | None = None

    def greeting(self) -> bytes | None:
        """What the server says first."""
        return wire.pack(self._service.metadata())

    async def answer(self, frame: bytes | str) -> tuple[bytes, bool]:
        """A frame's answer, and whether it was an inference.

        Raises:
            ContractError: the frame does not fit.
        """
        arrived = time.monotonic()
        values = await asyncio.to_thread(wire.unpack, frame)
        extra = values.get(EXTRA)
        if isinstance(extra, Mapping) and "echo" in extra:
            return wire.pack({EXTRA: {"time_ns": time.time_ns()}}), False
        request = await asyncio.to_thread(self._episode.read, values, arrived)
        answer = await self._service.infer(request, arrived)
        self._episode.chunks += 1
        reply = self._reply(request, answer, isinstance(extra, Mapping), arrived)
        return wire.pack(reply), True

    def error(self, line: str) -> bytes | str:
        """An error as a frame."""
        return line

    def _reply(
        self, request: ClientRequest, answer: Answer, own: bool, arrived: float
    ) -> dict[str, Any]:
        made, columns = answer.inference, self._service.columns(self.name)
        served_s = time.monotonic() - arrived
        timing = {"infer_ms": 1e3 * served_s}
        if self._previous_s is not None:
            timing["prev_total_ms"] = 1e3 * self._previous_s
        self._previous_s = served_s
        reply = {
            "actions": made.positions[:, :columns],
            "policy_timing": {"infer_ms": 1e3 * answer.inference_s},
            "server_timing": timing,
        }
        if own:
            reply[EXTRA] = {
                "normalized": request.normalized,
                "committed_rows": made.committed_rows,
                "stages": {**made.stages, "queue": answer.waited_s, "served": served_s},
                "experts": list(made.experts),
                "batch": answer.batch,
            }
        return reply
