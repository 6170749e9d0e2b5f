# SPDX-License-Identifier: Apache-2.0
"""A real server in a thread of its own, and openpi's side of the wire in a few lines."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

from adamoe_ros.serving import wire
from adamoe_ros.serving.door import Door
from adamoe_ros.serving.server import PolicyServer
from adamoe_ros.serving.service import PolicyService, ServeSettings

PROMPT = "lift the yellow bar with both arms"


@contextmanager
def running(service: PolicyService, door: Door | None = None) -> Iterator[int]:
    """The port of a server that answers until the block ends."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    ended, found = asyncio.Event(), [0]

    async def serve() -> None:
        async with PolicyServer(service, door or Door(port=0)) as server:
            found[0] = server.port
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(20)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)
        loop.close()


@contextmanager
def serving(
    folder: Path, door: Door | None = None, **changes: Any
) -> Iterator[tuple[PolicyService, int]]:
    """A policy and its port."""
    settings = ServeSettings(**({"device": "cpu", "seed": 5, "max_batch": 4} | changes))
    service = PolicyService(folder, settings)
    service.start()
    try:
        with running(service, door) as port:
            yield service, port
    finally:
        service.stop()


def open_client(port: int, path: str = "/openpi", **options: Any) -> ClientConnection:
    """As openpi-client connects."""
    return connect(f"ws://127.0.0.1:{port}{path}", compression=None, max_size=None, **options)


def aloha(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """An observation of openpi's ALOHA client."""
    rng = np.random.default_rng(seed)
    names = ("cam_high", "cam_left_wrist", "cam_right_wrist")
    images = {name: rng.integers(0, 256, (3, 48, 64), dtype=np.uint8) for name in names}
    return {"state": rng.normal(size=14) * 0.2, "images": images, "prompt": PROMPT} | changes


def ask(client: ClientConnection, observation: Mapping[str, Any]) -> Any:
    """An observation's answer; a line where it is an error."""
    client.send(wire.pack(observation))
    answer = client.recv(20)
    return answer if isinstance(answer, str) else wire.unpack(answer)


def wait_until(true: Callable[[], object], patience_s: float = 20.0) -> None:
    """Until it holds: a server counts an answer after it has sent it."""
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
