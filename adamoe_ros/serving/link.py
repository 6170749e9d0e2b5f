# SPDX-License-Identifier: Apache-2.0
"""The connection of our own client: made again by itself, and never to another policy than before.

One thread keeps it, with an event loop of its own; whoever asks waits at most the time that an answer
may take, whatever the network does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException
from websockets.uri import parse_uri

from adamoe_ros.contract.errors import ContractError, PolicyUnavailable, problem
from adamoe_ros.serving import wire
from adamoe_ros.serving.door import read_token, trust
from adamoe_ros.serving.wire import EXTRA, VERSION

_CONNECT_S = 5.0
_BACKOFF_S = (0.1, 2.0)  # between attempts, first and longest
_PING_S = 1.0
_AGAIN = "it is tried again by itself"


@dataclass(frozen=True)
class LinkSettings:
    """How to reach a server.

    Attributes:
        url: ``ws://host:port`` or ``wss://host:port``.
        token_file: with the token that it asks for; None: it asks for none.
        authority: PEM of who signed its certificate; None: the system's.
        answer_s: longest time that an answer may take.
    """

    url: str
    token_file: Path | None = None
    authority: Path | None = None
    answer_s: float = 2.0


class PolicyLink:
    """A connection that stands, or is being made.

    Raises:
        ContractError: the address is none, or no policy server of ours answers there.

    Attributes:
        where: for lines to a person.
        metadata: what the server announced when the link was made.
        fault: why nothing can be asked at the moment, one line; empty: it stands.
    """

    def __init__(self, settings: LinkSettings) -> None:
        self.where, self._settings = f"policy {settings.url}", settings
        self._address = self._check_address(settings.url)
        self._headers = {}
        if settings.token_file is not None:
            self._headers["Authorization"] = f"Api-Key {read_token(settings.token_file)}"
        self._tls = trust(settings.authority) if settings.url.startswith("wss") else None
        self.metadata: Mapping[str, Any] = {}
        self.fault = ""
        self._connection: ClientConnection | None = None
        self._first: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="policy_link", daemon=True)
        self._thread.start()
        try:
            self._first.result()
        except ContractError:
            self.close()
            raise

    @staticmethod
    def _check_address(url: str) -> str:
        """With the path that names the protocol, so that nobody has to guess."""
        try:
            path = parse_uri(url).path.rstrip("/")
            return url if path else f"{url.rstrip('/')}/openpi"
        except InvalidURI as error:
            expected, do = "ws://host:port or wss://host:port", "correct it"
            raise ContractError(problem("policy", expected, repr(url), do)) from error

    def close(self) -> None:
        """End it; may be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join()

    def ask(self, frame: Mapping[str, Any]) -> Mapping[str, Any]:
        """A frame's answer; used from one thread at a time.

        Raises:
            PolicyUnavailable: the link is down, or no answer came in time; it is made anew then.
            ContractError: the server says what is wrong with the frame.
        """
        data = wire.pack(frame)
        if self._connection is None or not self._thread.is_alive():
            raise PolicyUnavailable(self.fault or problem(self.where, "a link", "none", _AGAIN))
        asked = asyncio.run_coroutine_threadsafe(self._ask(self._connection, data), self._loop)
        answer = asked.result()
        if isinstance(answer, str):
            raise ContractError(f"{self.where}: {' '.join(answer.split())[:500]}")
        return wire.unpack(answer)

    async def _ask(self, connection: ClientConnection, data: bytes) -> bytes | str:
        limit = self._settings.answer_s
        try:
            return await asyncio.wait_for(_exchange(connection, data), limit)
        except asyncio.TimeoutError:
            line = problem(self.where, f"an answer within {limit:g} s", "none", _AGAIN)
            # a late answer would be taken for the next one's, and closing would wait for the other side
            connection.transport.abort()
        except (WebSocketException, OSError) as error:
            line = problem(self.where, "an answer", _what(error), _AGAIN)
        self._lose(line)
        raise PolicyUnavailable(line)

    def _lose(self, line: str) -> None:
        self._connection, self.fault = None, line

    def _run(self) -> None:
        self._task = self._loop.create_task(self._keep())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            self._lose(problem(self.where, "a link", "a closed one", "configure again"))
            self._loop.close()

    async def _keep(self) -> None:
        pause = _BACKOFF_S[0]
        while True:
            try:
                await self._follow()
                pause = _BACKOFF_S[0]
            except Exception as error:  # also what a server sends that is none of ours
                self._lose(self._line(error))
                if not self._first.done():
                    self._first.set_exception(ContractError(self.fault))
                    return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _BACKOFF_S[1])

    async def _follow(self) -> None:
        """Connect, compare, and wait until it ends."""
        async with connect(
            self._address,
            ssl=self._tls,
            compression=None,
            max_size=None,
            open_timeout=_CONNECT_S,
            ping_interval=_PING_S,
            ping_timeout=max(_PING_S, self._settings.answer_s),
            close_timeout=0.2,
            proxy=None,
            additional_headers=self._headers,
        ) as connection:
            first = await asyncio.wait_for(connection.recv(), _CONNECT_S)
            self._compare(self._announced(first))
            self.fault, self._connection = "", connection
            if not self._first.done():
                self._first.set_result(None)
            await connection.wait_closed()
            if self._connection is connection:
                got = _what(connection.protocol.close_exc)
                self._lose(problem(self.where, "a connection", got, _AGAIN))

    def _announced(self, frame: bytes | str) -> Mapping[str, Any]:
        metadata = wire.unpack(frame).get(EXTRA)
        do = "name the port of 'adamoe serve', of the same version as here"
        if not isinstance(metadata, Mapping) or metadata.get("version") != VERSION:
            got = metadata.get("version") if isinstance(metadata, Mapping) else "another server"
            raise ContractError(problem(self.where, f"adamoe serve, protocol {VERSION}", got, do))
        return metadata

    def _compare(self, metadata: Mapping[str, Any]) -> None:
        """Another policy than at first would be asked with the wrong units, or act otherwise than was checked."""
        first = self.metadata or metadata
        for key in ("fingerprint", "flow_steps", "rtc_jacobian"):
            if metadata.get(key) != first.get(key):
                old, new = (_policy_name(one, key) for one in (first, metadata))
                do = "configure again to use it"
                raise ContractError(problem(self.where, f"{old} as before", new, do))
        self.metadata = first

    def _line(self, error: Exception) -> str:
        if isinstance(error, ContractError):
            return "; ".join(error.problems)
        do = "is 'adamoe serve' running there?"
        if isinstance(error, InvalidStatus):
            code = error.response.status_code
            do = "give the right token file" if code == 401 else "see the server's log"
            return problem(self.where, "to be let in", f"HTTP {code}", do)
        if isinstance(error, ssl.SSLError):
            do = "give the PEM of who signed its certificate, or a valid one to the server"
        elif isinstance(error, InvalidHandshake):
            do = "use wss:// where the server has a certificate, ws:// where it has none"
        return problem(self.where, "a connection", _what(error), do)


def _policy_name(metadata: Mapping[str, Any], key: str) -> str:
    if key != "fingerprint":
        return f"{key} {metadata.get(key)}"
    return f"{metadata.get('checkpoint')} ({str(metadata.get(key))[:8]})"


async def _exchange(connection: ClientConnection, data: bytes) -> bytes | str:
    await connection.send(data)
    return await connection.recv()


def _what(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
