# SPDX-License-Identifier: Apache-2.0
"""What goes over the page's sockets: messages read with suspicion, pictures, and beats of who leads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from adamoe_ros.console.page_leader import WORD_S
from adamoe_ros.console.picture_feed import VIEWS

_BEAT_S = 0.05


class Beats:
    """Asks the page of who leads for its word, and knows how old an answer is.

    What was under way while a network or a browser stood still is too old when it comes.
    """

    def __init__(self, socket: WebSocket) -> None:
        self._socket, self._number = socket, 0
        self._sent: dict[int, float] = {}

    async def send_all(self) -> None:
        """Until cancelled, or the page has gone."""
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            while True:
                self._number += 1
                self._sent[self._number] = time.monotonic()
                self._sent.pop(self._number - 2 * round(WORD_S / _BEAT_S), None)
                await self._socket.send_json({"beat": self._number})
                await asyncio.sleep(_BEAT_S)

    def age(self, number: Any) -> float:
        """s since a beat was sent; infinite: not known, or long ago."""
        sent = self._sent.get(number) if isinstance(number, int) else None
        return math.inf if sent is None else time.monotonic() - sent


class Tray:
    """Newest picture of each camera for one page; filled by the feed's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._there = asyncio.Event()
        self._pictures: dict[int, bytes] = {}

    def put(self, camera: int, view: str, jpeg: bytes) -> None:
        """From any thread."""
        frame = bytes([camera, VIEWS.index(view)]) + jpeg
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._lay, camera, frame)

    def _lay(self, camera: int, frame: bytes) -> None:
        self._pictures[camera] = frame
        self._there.set()

    async def send_all(self, socket: WebSocket) -> None:
        """Until cancelled, or the page has gone."""
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            while True:
                await self._there.wait()
                self._there.clear()
                pictures, self._pictures = self._pictures, {}
                for frame in pictures.values():
                    await socket.send_bytes(frame)


async def receive(socket: WebSocket) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: anything else.
        WebSocketDisconnect: the page has gone.
    """
    value = json.loads(await socket.receive_text())
    if not isinstance(value, dict):
        raise ValueError("expected an object")
    return value


def jog_shares(value: Any) -> dict[str, float]:
    """Joint -> share of the jog speed; what is none is left out."""
    items = value.items() if isinstance(value, dict) else ()
    return {k: float(v) for k, v in items if type(v) in (int, float) and -1 <= v <= 1}


def person_name(hello: Mapping[str, Any]) -> str:
    text = "".join(c for c in str(hello.get("name", "")) if c.isprintable()).strip()
    return text[:40] or "somebody"
