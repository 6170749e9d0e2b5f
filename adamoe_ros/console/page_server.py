# SPDX-License-Identifier: Apache-2.0
"""The page on a port: its files and four sockets, in a thread with a loop of its own.

    /stop      a stop, from whoever may look; also ``POST /stop`` with the robot's name
    /live      snapshots and events out; what operators ask for in
    /pictures  JPEG: camera number, view number, then the file
    /lead      beats out; dead-man and jog of whoever leads in, each as the answer to a beat

A stop has its own socket and its own thread: it waits for no picture, no snapshot and no other request.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Awaitable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from adamoe_ros.console.page_leader import PageLeader
from adamoe_ros.console.page_sockets import Beats, Tray, jog_shares, person_name, receive
from adamoe_ros.console.picture_feed import VIEWS, PictureFeed
from adamoe_ros.console.robot_view import RobotView
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.serving.door import Door

PAGE = Path(__file__).parent / "page"
VIEW, OPERATE = "view", "operate"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
_HELLO_S = 20.0  # that a socket has to say who it is
_WRONG_TOKEN, _NO_HELLO = 4401, 4408  # codes of a close: the page asks for a token, or tries again
_NOT_HERE = 4404  # no such robot, or not for this page
_PATIENCE_S = 130.0  # for what is asked of the robot
_ACTIVE_S = 120.0  # after an order somebody counts as operating
_MOST_PEOPLE = 32
_LONGEST = 4096  # bytes of a message from a page
_log = logging.getLogger(__name__)


class LedRobot(Protocol):
    """What the page leads; ``ros/console`` has it."""

    view: RobotView
    pictures: PictureFeed
    leader: PageLeader | None  # where the profile lets the page lead

    def stop(self, who: str) -> str:
        """Stop now; words for the person. Called in the thread of stops, must not wait."""

    def act(self, what: str, values: Mapping[str, Any], who: str) -> str:
        """Carry out an order; words for the person. May wait; raises ContractError."""


@dataclass
class Person:
    """Somebody with the page open."""

    number: int
    name: str
    role: str
    acted: float = -_ACTIVE_S

    @property
    def known_as(self) -> str:
        """For the log."""
        return f"{self.name} (#{self.number})"


class PageServer:
    """Serves from ``start`` to ``stop``.

    Args:
        robots: by namespace, in the page's order.
        door: where, and the token of operators.
        view_token: lets in to look; empty: the operators' token does.
        rate: Hz of snapshots.

    Raises:
        ContractError: from ``start``: the port is taken, or the address is not of this computer.
    """

    def __init__(
        self, robots: Mapping[str, LedRobot], door: Door, view_token: str = "", rate: float = 8.0
    ) -> None:
        self.robots, self.door = dict(robots), door
        self._view_token, self._period = view_token, 1.0 / rate
        self._people: dict[int, Person] = {}
        self._numbers = 0
        self._listeners: dict[int, _Listener] = {}
        self._stopper = ThreadPoolExecutor(1, "stop")
        self._workers = ThreadPoolExecutor(4, "orders")
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None
        self._failure = ""

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen; returns when the port is open."""
        config = uvicorn.Config(
            self._application(),
            host=self.door.host,
            port=self.door.port,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=_LONGEST,
            ws_ping_interval=5.0,
            ws_ping_timeout=10.0,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
        config.load()
        config.ssl = self.door.tls
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            time.sleep(0.01)
        if not self._server.started:
            where, do = f"{self.door.host}:{self.door.port}", "choose another --host or --port"
            raise ContractError(problem(where, "a free port", self._failure or "an end", do))

    def _run(self) -> None:
        assert self._server is not None
        try:
            self._server.run()
        except (OSError, SystemExit) as error:
            self._failure = "one that is taken" if isinstance(error, SystemExit) else str(error)

    def stop(self) -> None:
        """Close; may be called twice."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(4.0)
        for pool in (self._stopper, self._workers):
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def port(self) -> int:
        """That it listens on."""
        assert self._server is not None
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Of the page."""
        host = f"[{self.door.host}]" if ":" in self.door.host else self.door.host
        return f"{'https' if self.door.tls else 'http'}://{host}:{self.port}/"

    # --- pages ----------------------------------------------------------------------------------

    def _application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", lambda request: FileResponse(PAGE / "console.html")),
                Route("/healthz", lambda request: PlainTextResponse("OK\n")),
                Route("/stop", self._post_stop, methods=["POST"]),
                WebSocketRoute("/stop", self._serve_stop),
                WebSocketRoute("/live", self._serve_live),
                WebSocketRoute("/pictures", self._serve_pictures),
                WebSocketRoute("/lead", self._serve_lead),
                Mount("/page", StaticFiles(directory=PAGE)),
            ]
        )

    async def _post_stop(self, request: Request) -> Response:
        word = request.headers.get("authorization", "").partition(" ")[2]
        if not self._same_site(request.headers) or not self._role(word):
            return PlainTextResponse("a token is needed\n", 401)
        name = request.query_params.get("robot", next(iter(self.robots)))
        if name not in self.robots:
            return PlainTextResponse("no such robot\n", 404)
        words = await self._stop(name, request.query_params.get("who", "a program")[:40])
        return JSONResponse({"ok": True, "words": words})

    # --- who may --------------------------------------------------------------------------------

    def _role(self, token: str) -> str:
        """What a token allows; empty: nothing."""
        if not self.door.token and not self._view_token:
            return OPERATE
        given = token.encode()
        if self.door.token and hmac.compare_digest(given, self.door.token.encode()):
            return OPERATE
        if self._view_token and hmac.compare_digest(given, self._view_token.encode()):
            return VIEW
        return ""

    def _same_site(self, headers: Mapping[str, str]) -> bool:
        """Whether a browser asks from this very page: another one's may not lead the robot."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.door.host in _LOOPBACK and urlsplit(f"//{host}").hostname not in _LOOPBACK:
            return False
        return origin is None or urlsplit(origin).netloc == host

    async def _enter(self, socket: WebSocket) -> dict[str, Any] | None:
        """The first message, with the role; None: not let in, the reason is sent."""
        if not self._same_site(socket.headers):
            await socket.close(4403)
            return None
        await socket.accept()
        why = _NO_HELLO
        with contextlib.suppress(asyncio.TimeoutError, WebSocketDisconnect, ValueError):
            hello = await asyncio.wait_for(receive(socket), _HELLO_S)
            role = self._role(str(hello.get("token", "")))
            if role:
                return {**hello, "role": role}
            why = _WRONG_TOKEN
        with contextlib.suppress(RuntimeError):
            await socket.close(why)
        return None

    # --- stop -----------------------------------------------------------------------------------

    async def _serve_stop(self, socket: WebSocket) -> None:
        hello = await self._enter(socket)
        if hello is None:
            return
        number = int(hello["number"]) if isinstance(hello.get("number"), int) else 0
        with contextlib.suppress(WebSocketDisconnect, ValueError, RuntimeError):
            while True:
                asked = await receive(socket)
                name = str(asked.get("robot", ""))
                if isinstance(asked.get("number"), int):
                    number = asked["number"]
                person = self._people.get(number)
                if asked.get("stop") and name in self.robots:
                    if person is not None:
                        person.acted = time.monotonic()
                    words = await self._stop(
                        name, person.known_as if person else person_name(hello)
                    )
                    await socket.send_json({"stopped": name, "words": words})
                else:  # how the line is
                    await socket.send_json({"alive": asked.get("alive")})

    def _stop(self, name: str, who: str) -> Awaitable[str]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._stopper, self.robots[name].stop, who)

    # --- live -----------------------------------------------------------------------------------

    async def _serve_live(self, socket: WebSocket) -> None:
        hello = await self._enter(socket)
        if hello is None:
            return
        if len(self._people) >= _MOST_PEOPLE:
            await socket.close(4429)
            return
        self._numbers += 1
        person = Person(self._numbers, person_name(hello), hello["role"])
        listener = _Listener(person, socket, self, str(hello.get("robot", "")))
        self._people[person.number] = person
        self._say(f"{person.known_as} opened the page ({_role_words(person.role)})")
        sender = asyncio.create_task(listener.send_all(self._period))
        try:
            while True:
                await listener.take(await receive(socket))
        except (WebSocketDisconnect, ValueError, RuntimeError):
            pass  # how a page goes is its own affair
        finally:
            sender.cancel()
            del self._people[person.number]
            self._say(f"{person.known_as} closed the page")

    def _say(self, text: str) -> None:
        for robot in self.robots.values():
            robot.view.note("person", text)

    def people(self) -> list[dict[str, Any]]:
        """Who has the page open."""
        now = time.monotonic()
        return [
            {
                "number": person.number,
                "name": person.name,
                "role": person.role,
                "operating": now - person.acted < _ACTIVE_S,
            }
            for person in self._people.values()
        ]

    async def act(self, name: str, asked: Mapping[str, Any], person: Person) -> dict[str, Any]:
        """Carry out an operator's order; the answer for the page."""
        what = str(asked.get("act", ""))
        if person.role != OPERATE:
            line = "this page may only look: come in with the operators' token"
            return {"ok": False, "words": line}
        person.acted = time.monotonic()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(
            self._workers, self.robots[name].act, what, asked, person.known_as
        )
        try:
            return {"ok": True, "words": await asyncio.wait_for(work, _PATIENCE_S)}
        except asyncio.TimeoutError:
            return {"ok": False, "words": f"{what}: no answer within {_PATIENCE_S:.0f} s"}
        except ContractError as error:
            return {"ok": False, "words": "; ".join(error.problems)}

    # --- pictures -------------------------------------------------------------------------------

    async def _serve_pictures(self, socket: WebSocket) -> None:
        hello = await self._enter(socket)
        robot = self.robots.get(str((hello or {}).get("robot", "")))
        if robot is None:
            with contextlib.suppress(RuntimeError):
                await socket.close(_NOT_HERE)
            return
        tray = Tray(asyncio.get_running_loop())
        view = hello["view"] if hello and hello.get("view") in VIEWS else VIEWS[0]
        robot.pictures.look(tray, view, tray.put)
        sender = asyncio.create_task(tray.send_all(socket))
        try:
            while True:
                asked = await receive(socket)
                view = asked.get("view")
                if view in VIEWS:
                    robot.pictures.look(tray, view, tray.put)
                elif asked.get("pause"):
                    robot.pictures.look_away(tray)
        except (WebSocketDisconnect, ValueError, RuntimeError):
            pass
        finally:
            robot.pictures.look_away(tray)
            sender.cancel()

    # --- leading by hand ------------------------------------------------------------------------

    async def _serve_lead(self, socket: WebSocket) -> None:
        hello = await self._enter(socket) or {}
        robot, person = self.robots.get(str(hello.get("robot", ""))), self._person(hello)
        leader = robot.leader if robot else None
        if leader is None or robot is None or person is None or hello.get("role") != OPERATE:
            with contextlib.suppress(RuntimeError):
                await socket.close(_NOT_HERE)
            return
        who = person.known_as
        try:
            leader.take(who)
        except ContractError as error:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await socket.send_json({"refused": "; ".join(error.problems)})
                await socket.close()
            return
        robot.view.note("person", f"{who} has the leader of the page")
        beats = Beats(socket)
        sender = asyncio.create_task(beats.send_all())
        try:
            while True:
                word = await receive(socket)
                age = beats.age(word.get("beat"))
                leader.say(who, word.get("held") is True, jog_shares(word.get("jog")), age)
                if word.get("held") is True:
                    person.acted = time.monotonic()
        except (WebSocketDisconnect, ValueError, RuntimeError):
            pass
        finally:
            leader.leave(who)
            sender.cancel()
            robot.view.note("person", f"{who} does not lead from the page any more")

    def _person(self, hello: Mapping[str, Any]) -> Person | None:
        number = hello.get("number")
        return self._people.get(number) if isinstance(number, int) else None


class _Listener:
    """One open page: what it looks at, and what it has been sent."""

    def __init__(self, person: Person, socket: WebSocket, server: PageServer, robot: str) -> None:
        self._person, self._socket, self._server = person, socket, server
        self._lock = asyncio.Lock()
        self._change(robot)

    def _change(self, robot: str) -> None:
        robots = self._server.robots
        self._robot = robot if robot in robots else next(iter(robots))
        self._event = 0

    async def send_all(self, period: float) -> None:
        person = self._person
        me = {"number": person.number, "name": person.name, "role": person.role}
        robots = [(name, one.view.profile.name) for name, one in self._server.robots.items()]
        await self._send({"you": me, "robots": robots})
        while True:
            view = self._server.robots[self._robot].view
            state = view.snapshot()
            events = view.events_since(self._event)
            if events:
                self._event = events[-1]["number"]
            people = self._server.people()
            await self._send({"state": state, "events": events, "people": people})
            await asyncio.sleep(period)

    async def take(self, asked: Mapping[str, Any]) -> None:
        """One message of the page."""
        if "look" in asked:
            self._change(str(asked["look"]))
        elif "act" in asked:
            answer = await self._server.act(self._robot, asked, self._person)
            await self._send({"answer": asked.get("id"), **answer})

    async def _send(self, value: Mapping[str, Any]) -> None:
        text = json.dumps(value, separators=(",", ":"))
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            async with self._lock:
                await self._socket.send_text(text)


def _role_words(role: str) -> str:
    return "may operate" if role == OPERATE else "looks on"
