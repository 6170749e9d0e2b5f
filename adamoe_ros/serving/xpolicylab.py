# SPDX-License-Identifier: Apache-2.0
"""XPolicyLab's protocol, RoboTwin's new interface: hello, reset, infer, trial_end, heartbeat, close.

Arrays are msgpack-numpy's, without its pickles; an inference answers with a list of dicts, one a row,
with the keys of the state. An error names its request, and the connection goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, ClassVar

import msgpack
import numpy as np

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.serving import wire
from adamoe_ros.serving.service import ClientEpisode, PolicyService

_ANSWERS = {
    "hello": "hello_ack",
    "prepare_case": "prepare_case_ack",
    "reset": "reset_result",
    "infer": "infer_result",
    "trial_end": "trial_end_ack",
    "heartbeat": "heartbeat_ack",
}
_ECHOED = ("message_id", "evaluation_id", "action_case_id", "trial_id", "repeat_index", "step")


class XPolicyLabProtocol:
    """One connection."""

    name: ClassVar[str] = "xpolicylab"
    error_ends: ClassVar[bool] = False

    def __init__(self, service: PolicyService, episode: ClientEpisode) -> None:
        self._service, self._episode = service, episode
        self._asked: Mapping[str, Any] = {}

    def greeting(self) -> None:
        """The client speaks first."""

    async def answer(self, frame: bytes | str) -> tuple[bytes | None, bool]:
        """See ``ClientProtocol``."""
        arrived, self._asked = time.monotonic(), {}
        message = await asyncio.to_thread(wire.unpack, frame, _decode)
        echoed = {key: message.get(key) for key in _ECHOED}
        self._asked = {k: v for k, v in echoed.items() if v is None or isinstance(v, (str, int))}
        kind, payload = wire.word(message.get("message_type")), message.get("payload")
        payload = {} if payload is None else payload
        if kind == "close":
            return None, False
        if kind not in _ANSWERS or not isinstance(payload, Mapping):
            do = "speak XPolicyLab's protocol"
            raise ContractError(problem("message_type", ", ".join(_ANSWERS), repr(kind)[:60], do))
        if kind in ("reset", "trial_end"):
            self._episode.restart()
        if kind != "infer":
            return self._message(_ANSWERS[kind], {}), False
        return self._message(_ANSWERS[kind], await self._infer(payload, arrived)), True

    async def _infer(self, payload: Mapping[str, Any], arrived: float) -> dict[str, Any]:
        seen = payload.get("observation")
        if not isinstance(seen, Mapping):
            raise ContractError(
                problem("observation", "a mapping", type(seen).__name__, "send one")
            )
        request = await asyncio.to_thread(self._episode.read, seen, arrived, self.name)
        answer = await self._service.infer(request, arrived)
        self._episode.chunks += 1
        parts = self._service.interface(self.name).state
        names = [part.key.rpartition(".")[2] for part in parts]
        ends = np.cumsum([part.width for part in parts])[:-1]
        rows = [
            dict(zip(names, np.split(row, ends), strict=True))
            for row in self._service.rows_to_execute(answer, self.name)
        ]
        return {"actions": rows, "latency_ms": 1e3 * (time.monotonic() - arrived)}

    def error(self, line: str) -> bytes:
        """An error as a frame."""
        return self._message("error", {"code": "infer_failed", "message": line, "details": {}})

    def _message(self, kind: str, payload: Mapping[str, Any]) -> bytes:
        sent = datetime.now(timezone.utc).isoformat()
        message = {**self._asked, "message_type": kind, "sent_at": sent, "payload": payload}
        return bytes(msgpack.packb(message, default=_encode))


def _encode(value: Any) -> dict[bytes, Any]:
    kind, shape = value.dtype.str, list(value.shape)
    return {b"nd": True, b"type": kind, b"kind": b"", b"shape": shape, b"data": value.tobytes()}


def _decode(value: dict[Any, Any]) -> Any:
    if b"nd" not in value:
        return value
    shape = value.get(b"shape", []) if value[b"nd"] else []
    array = wire.decode_array(value.get(b"data"), value.get(b"type"), shape)
    return array if value[b"nd"] else array[()]
