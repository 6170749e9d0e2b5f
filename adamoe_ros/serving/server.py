# SPDX-License-Identifier: Apache-2.0
"""The policy on a port: who may come in, which protocol a client speaks, and its pages.

    /healthz, /health  alive          /metrics  Prometheus
    /openpi, /vla-eval, /xpolicylab   that protocol; any other path: told by who speaks first

One coroutine a connection, so that a slow or dead client holds up nobody; everything that a client can
make grow has a bound.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import logging
import resource
import time
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, ClassVar, Protocol, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.serving.door import Door
from adamoe_ros.serving.openpi import OpenpiProtocol
from adamoe_ros.serving.service import ClientEpisode, PolicyService, RateLimit
from adamoe_ros.serving.vla_eval import VlaEvalProtocol
from adamoe_ros.serving.xpolicylab import XPolicyLabProtocol

_OPEN_S = 10.0  # for the TLS and HTTP parts of a connection
_FIRST_S = 0.3  # that a client of unknown protocol has for its first frame
_HEAD = 256  # bytes of a frame that tell its protocol
_QUEUED_FRAMES = 2  # of a client that does not wait for its answers
T = TypeVar("T")
_log = logging.getLogger(__name__)
_library_log = logging.getLogger(f"{__name__}.websockets")  # tracebacks of broken handshakes
_library_log.setLevel(logging.CRITICAL)


_PROTOCOLS: dict[str, Callable[[PolicyService, ClientEpisode], ClientProtocol]] = {
    kind.name: kind for kind in (OpenpiProtocol, VlaEvalProtocol, XPolicyLabProtocol)
}


class ClientProtocol(Protocol):
    """What a connection speaks."""

    name: ClassVar[str]
    error_ends: ClassVar[bool]

    def greeting(self) -> bytes | None:
        """What the server says first."""

    async def answer(self, frame: bytes | str) -> tuple[bytes | None, bool]:
        """A frame's answer (None: the end), and whether it was an inference; may raise ContractError."""

    def error(self, line: str) -> bytes | str:
        """An error as a frame."""


class PolicyServer:
    """Answers on one port until ``close``; an asynchronous context manager.

    Args:
        service: the policy, started.
        door: where, and who may come in.

    Raises:
        ContractError: the port is taken, or the address is not of this computer.
    """

    def __init__(self, service: PolicyService, door: Door) -> None:
        self._service, self._door = service, door
        self._numbers = itertools.count()
        self._inside = 0
        self._server: Server | None = None

    async def __aenter__(self) -> PolicyServer:
        door, settings = self._door, self._service.settings
        _raise_file_limit()
        tls: dict[str, Any] = {}
        if door.tls:
            tls = {"ssl": door.tls, "ssl_handshake_timeout": _OPEN_S}
        try:
            self._server = await serve(
                self._handle,
                door.host,
                door.port,
                process_request=self._process_request,
                compression=None,
                open_timeout=_OPEN_S,
                max_size=settings.max_frame << 20,
                max_queue=_QUEUED_FRAMES,
                logger=_library_log,
                **tls,
            )
        except OSError as error:
            where, do = f"{door.host}:{door.port}", "choose another --host or --port"
            raise ContractError(problem(where, "a free port", error.strerror, do)) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close(close_connections=True)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """That it listens on."""
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/healthz":
            if not self._service.alive:
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "the policy has ended\n")
            return connection.respond(HTTPStatus.OK, "OK\n")
        if not self._may_enter(request.headers):
            return self._refuse(
                connection, HTTPStatus.UNAUTHORIZED, "token", "Authorization: Api-Key"
            )
        if path == "/health":  # vla-eval's
            return connection.respond(HTTPStatus.OK, '{"status": "ok"}\n')
        if path == "/metrics":
            page = self._service.metrics.page()
            kind = Headers(
                [("Content-Type", CONTENT_TYPE_LATEST), ("Content-Length", str(len(page)))]
            )
            return Response(HTTPStatus.OK, "OK", kind, page)
        if self._inside >= self._service.settings.max_clients:
            most = f"{self._service.settings.max_clients} clients"
            return self._refuse(
                connection, HTTPStatus.SERVICE_UNAVAILABLE, "full", f"at most {most}"
            )
        return None

    def _may_enter(self, headers: Headers) -> bool:
        if not self._door.token:
            return True
        given = headers.get_all("Authorization")
        words = given[0].split() if len(given) == 1 else []
        right = len(words) == 2 and words[0].lower() in ("api-key", "bearer")
        return right and hmac.compare_digest(words[1].encode(), self._door.token.encode())

    def _refuse(
        self, connection: ServerConnection, status: HTTPStatus, reason: str, expected: str
    ) -> Response:
        self._service.metrics.refuse(reason)
        do = "see adamoe serve --help"
        return connection.respond(status, problem(reason, expected, "another request", do) + "\n")

    async def _handle(self, connection: ServerConnection) -> None:
        number = next(self._numbers)
        self._inside += 1
        try:
            protocol, first = await self._choose(connection, ClientEpisode(self._service, number))
            await self._serve(connection, protocol, first, f"{number} {_address(connection)}")
        except ConnectionClosed:
            pass  # how a client went is its own affair
        finally:
            self._inside -= 1

    async def _choose(
        self, connection: ServerConnection, episode: ClientEpisode
    ) -> tuple[ClientProtocol, bytes | str | None]:
        """Which protocol it is, and the first frame where that has told."""
        assert connection.request is not None
        named = connection.request.path.partition("?")[0].strip("/").rpartition("/")[2]
        if named in _PROTOCOLS:
            return _PROTOCOLS[named](self._service, episode), None
        try:  # openpi's clients wait for the server, the others' speak first
            first = await asyncio.wait_for(connection.recv(), _FIRST_S)
        except asyncio.TimeoutError:
            return OpenpiProtocol(self._service, episode), None
        return _PROTOCOLS[_spoken(first)](self._service, episode), first

    async def _serve(
        self,
        connection: ServerConnection,
        protocol: ClientProtocol,
        first: bytes | str | None,
        name: str,
    ) -> None:
        metrics, limit = self._service.metrics, RateLimit(self._service.settings.max_rate)
        figures = metrics.connect(name, protocol.name)
        _log.info("client %s: %s", name, protocol.name)
        try:
            greeting = protocol.greeting()
            if greeting is not None:
                await connection.send(greeting)
            while True:
                frame = first if first is not None else await connection.recv()
                first, arrived = None, time.monotonic()
                try:
                    limit.take()
                    answer, inferred = await _while_open(connection, protocol.answer(frame))
                except ConnectionClosed:
                    raise
                except Exception as error:
                    metrics.note_error(protocol.name)
                    known = isinstance(error, ContractError)
                    line = _line(error)
                    _log.warning("client %s: %s", name, line, exc_info=not known)
                    await connection.send(protocol.error(line))
                    if protocol.error_ends or not known:
                        await connection.close(1011, "the last frame says why")
                        return
                    continue
                if answer is None:
                    await connection.close()
                    return
                if answer:  # some messages have none
                    await connection.send(answer)
                if inferred:
                    metrics.note(figures, time.monotonic() - arrived)
        finally:
            metrics.disconnect(figures)
            _log.info("client %s: gone after %d chunks", name, figures.requests)


async def _while_open(connection: ServerConnection, answering: Coroutine[Any, Any, T]) -> T:
    """An answer; where its client goes before, nobody needs it: it is given up.

    Raises:
        ConnectionClosed: the client has gone.
    """
    answer = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(connection.wait_closed())
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise connection.protocol.close_exc
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


def _line(error: Exception) -> str:
    if isinstance(error, ContractError):
        return "; ".join(error.problems)
    what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return problem("server", "an answer", what, "report it, with the server's log")


def _spoken(frame: bytes | str) -> str:
    """Which protocol a first frame is of; what cannot be read is refused as openpi does."""
    head = frame[:_HEAD] if isinstance(frame, bytes) else b""
    if b"message_type" in head:
        return "xpolicylab"
    return "vla-eval" if b"\xa4type" in head and b"\xa7payload" in head else "openpi"


def _address(connection: ServerConnection) -> str:
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if address else "unknown"


def _raise_file_limit() -> None:
    """As many connections as this process may have: half-open ones take places, too."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
