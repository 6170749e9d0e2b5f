# SPDX-License-Identifier: Apache-2.0
"""vla-eval's protocol (version 1): an action, not a chunk, for every observation.

A chunk is inferred when its rows are used up; the client's ``execution_horizon`` is the server's. An
error is a message with the observation's number, and the connection goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import msgpack
import numpy as np
from numpy.typing import NDArray

from adamoe_ros import __version__
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.serving import wire
from adamoe_ros.serving.service import ClientEpisode, PolicyService

_PROTOCOL = 1
_SILENT = ("episode_start", "episode_end", "error")


class VlaEvalProtocol:
    """One connection."""

    name: ClassVar[str] = "vla-eval"
    error_ends: ClassVar[bool] = False

    def __init__(self, service: PolicyService, episode: ClientEpisode) -> None:
        self._service, self._episode = service, episode
        self._rows: deque[NDArray[np.float64]] = deque()
        self._number = 0

    def greeting(self) -> None:
        """The client speaks first."""

    async def answer(self, frame: bytes | str) -> tuple[bytes | None, bool]:
        """See ``ClientProtocol``."""
        arrived, self._number = time.monotonic(), 0
        message = await asyncio.to_thread(wire.unpack, frame, _decode)
        kind, payload = wire.word(message.get("type")), message.get("payload")
        number = message.get("seq")
        self._number = number if isinstance(number, int) else 0
        if not isinstance(payload, Mapping):
            do = "speak version 1 of the protocol"
            raise ContractError(problem("payload", "a mapping", type(payload).__name__, do))
        if kind == "hello":
            return self._message("hello", self._hello()), False
        if kind in _SILENT:
            self._episode.restart()
            self._rows.clear()
            return b"", False
        if kind != "observation":
            do = "speak version 1 of the protocol"
            raise ContractError(
                problem("type", "hello, observation, episode_*", repr(kind)[:60], do)
            )
        inferred = not self._rows
        if inferred:
            await self._infer(payload, arrived)
        return self._message("action", {"actions": self._rows.popleft()}), inferred

    async def _infer(self, payload: Mapping[str, Any], arrived: float) -> None:
        request = await asyncio.to_thread(self._episode.read, payload, arrived, self.name)
        answer = await self._service.infer(request, arrived)
        self._episode.chunks += 1
        self._rows.extend(self._service.rows_to_execute(answer, self.name))

    def error(self, line: str) -> bytes:
        """An error as a frame."""
        return self._message("error", {"error": line})

    def _hello(self) -> dict[str, Any]:
        return {
            "harness_version": f"adamoe_ros {__version__}",
            "protocol_version": _PROTOCOL,
            "model_server": self._service.announced["checkpoint"],
            "capabilities": {},
            "observation_params": {"send_state": True, "send_wrist_image": True},
        }

    def _message(self, kind: str, payload: Mapping[str, Any]) -> bytes:
        message = {"type": kind, "payload": payload, "seq": self._number, "timestamp": time.time()}
        return bytes(msgpack.packb(message, default=_encode))


def _encode(value: Any) -> dict[str, Any]:
    shape = list(value.shape)
    return {"__ndarray__": True, "data": value.tobytes(), "dtype": value.dtype.str, "shape": shape}


def _decode(value: dict[Any, Any]) -> Any:
    if "__image__" in value and value.get("format") != "raw":
        return value.get("data")  # decoded where it is a camera's: a frame could hold any number
    if "__ndarray__" in value or "__image__" in value:
        return wire.decode_array(value.get("data"), value.get("dtype"), value.get("shape"))
    return value
