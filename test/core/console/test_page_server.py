# SPDX-License-Identifier: Apache-2.0
"""Who may do what on the page, what two people see of each other, and that a stop waits for nothing."""

from __future__ import annotations

import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme
from console_robot import Robot
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from adamoe_ros.console import page_server
from adamoe_ros.console.page_server import PAGE, PageServer
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.serving.door import Door, make_door

OPERATE, VIEW = "token-of-the-operators", "token-of-those-who-look"


@contextmanager
def serving(door: Door, view_token: str = "") -> Iterator[tuple[Robot, PageServer]]:
    robot = Robot()
    server = PageServer({"/": robot}, door, view_token, rate=50.0)
    server.start()
    try:
        yield robot, server
    finally:
        robot.held.set()
        server.stop()
        robot.pictures.close()


@pytest.fixture(scope="module")
def open_page() -> Iterator[tuple[Robot, PageServer]]:
    with serving(Door(port=0)) as made:
        yield made


@pytest.fixture(scope="module")
def locked_page() -> Iterator[tuple[Robot, PageServer]]:
    with serving(Door(port=0, token=OPERATE), VIEW) as made:
        yield made


@contextmanager
def enter(
    server: PageServer, path: str, token: str = "", **hello: Any
) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{server.port}/{path}") as line:
        line.send(json.dumps({"token": token, "robot": "/", **hello}))
        yield line


def until(line: ClientConnection, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first message that is wanted."""
    end = time.monotonic() + 20.0
    while time.monotonic() < end:
        message = json.loads(line.recv(20))
        if wanted(message):
            return message
    raise AssertionError("it did not come")


def order(line: ClientConnection, what: str) -> dict[str, Any]:
    line.send(json.dumps({"act": what, "id": what}))
    return until(line, lambda message: message.get("answer") == what)


def test_the_page_and_its_files_come_from_here_alone(open_page: tuple[Robot, PageServer]) -> None:
    url = open_page[1].url
    page = urllib.request.urlopen(url).read().decode()
    assert page == (PAGE / "console.html").read_text()
    for path in sorted(PAGE.iterdir()):
        text = (
            path.read_text().replace("http://www.w3.org/2000/svg", "").replace("${scheme}://", "")
        )
        assert "://" not in text, path.name
        if path.name != "console.html":
            assert f'"page/{path.name}"' in page
            assert urllib.request.urlopen(f"{url}page/{path.name}").read() == path.read_bytes()


def test_with_a_view_token_one_may_look_and_stop_only(
    locked_page: tuple[Robot, PageServer],
) -> None:
    robot, server = locked_page
    with enter(server, "live", VIEW, name="Eve") as live, enter(server, "stop", VIEW) as line:
        you = until(live, lambda message: "you" in message)["you"]
        assert you["role"] == "view"
        assert not order(live, "start")["ok"]
        line.send(json.dumps({"stop": True, "robot": "/", "number": you["number"]}))
        assert json.loads(line.recv(20)) == {"stopped": "/", "words": "stop sent"}
    assert robot.stops[-1] == f"Eve (#{you['number']})"


@pytest.mark.parametrize("token", ["", "wrong", OPERATE[:-1], OPERATE + "x", "\x00"])
@pytest.mark.parametrize("path", ["live", "stop", "pictures"])
def test_a_wrong_token_is_told_and_closed(
    locked_page: tuple[Robot, PageServer], token: str, path: str
) -> None:
    with enter(locked_page[1], path, token) as line, pytest.raises(ConnectionClosed) as error:
        line.recv(20)
    assert error.value.rcvd is not None
    assert error.value.rcvd.code == 4401


def test_leading_needs_the_operators_token_and_a_leader_that_is_free(
    locked_page: tuple[Robot, PageServer],
) -> None:
    server = locked_page[1]
    for token in (VIEW, OPERATE):
        with enter(server, "live", token) as live:
            number = until(live, lambda message: "you" in message)["you"]["number"]
            with enter(server, "lead", token, number=number) as line:
                if token == OPERATE:
                    assert "control_status, got none" in json.loads(line.recv(20))["refused"]
                with pytest.raises(ConnectionClosed) as error:
                    line.recv(20)
        assert error.value.rcvd is not None
        assert error.value.rcvd.code == (4404 if token == VIEW else 1000)


def test_a_posted_stop_needs_a_token(locked_page: tuple[Robot, PageServer]) -> None:
    robot, server = locked_page
    before = len(robot.stops)
    wrong = urllib.request.Request(f"{server.url}stop", method="POST")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(wrong)
    assert error.value.code == 401
    right = urllib.request.Request(f"{server.url}stop?who=pedal", method="POST")
    right.add_header("Authorization", f"Bearer {VIEW}")
    assert json.load(urllib.request.urlopen(right))["ok"]
    assert robot.stops[before:] == ["pedal"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.example"},
        {"Host": "elsewhere.example", "Origin": "http://elsewhere.example"},
    ],
)
def test_another_sites_page_may_not_lead_the_robot(
    open_page: tuple[Robot, PageServer], headers: dict[str, str]
) -> None:
    url = f"ws://127.0.0.1:{open_page[1].port}/live"
    origin = headers.pop("Origin")
    if headers:  # a name that leads here: DNS rebinding
        url = f"ws://elsewhere.example:{open_page[1].port}/live"
    with (
        pytest.raises(InvalidStatus) as error,
        connect(
            url, origin=origin, sock=socket.create_connection(("127.0.0.1", open_page[1].port))
        ),
    ):  # type: ignore[arg-type]
        pass
    assert error.value.response.status_code == 403


def test_two_operators_see_each_other(open_page: tuple[Robot, PageServer]) -> None:
    server = open_page[1]
    with enter(server, "live", name="Ada") as ada, enter(server, "live", name="Bob") as bob:
        assert order(ada, "start")["words"].startswith("start by Ada")
        assert order(bob, "cancel")["ok"]
        for page in (ada, bob):
            both = until(page, lambda m: sum(p["operating"] for p in m.get("people", ())) == 2)[
                "people"
            ]
            assert [person["name"] for person in both] == ["Ada", "Bob"]
    texts = [event["text"] for event in open_page[0].view.events_since(0)]
    assert any(text.startswith("Bob") and "opened the page" in text for text in texts)


def test_a_refusal_comes_with_its_reason(open_page: tuple[Robot, PageServer]) -> None:
    with enter(open_page[1], "live") as page:
        answer = order(page, "refuse")
        assert (answer["ok"], answer["words"]) == (
            False,
            "reset refused: the stop is still pressed",
        )


def test_a_stop_waits_for_no_order_and_no_picture() -> None:
    with serving(Door(port=0)) as (robot, server):
        image = np.zeros((480, 640, 3), np.uint8)
        with enter(server, "live") as page, enter(server, "pictures", view="raw") as pictures:
            for _ in range(6):  # more than there are threads for orders
                page.send(json.dumps({"act": "wait", "id": 1}))
            with enter(server, "stop") as line:
                for _ in range(20):  # a page that takes no picture it is sent
                    robot.pictures.offer("cam_high", lambda: image)
                    begun = time.monotonic()
                    line.send(json.dumps({"stop": True, "robot": "/"}))
                    assert json.loads(line.recv(20))["stopped"] == "/"
                    assert time.monotonic() - begun < 5.0
            assert pictures.recv(20)[:2] == b"\x00\x00"
        assert len(robot.stops) == 20


def test_pictures_are_made_only_while_somebody_looks(open_page: tuple[Robot, PageServer]) -> None:
    robot, server = open_page
    image = np.full((48, 64, 3), 200, np.uint8)
    assert not robot.pictures.looked_at
    with enter(server, "pictures", view="model") as page:
        deadline = time.monotonic() + 20.0
        while not robot.pictures.looked_at and time.monotonic() < deadline:
            time.sleep(0.01)
        robot.pictures.offer("cam_left_wrist", lambda: image)
        frame = page.recv(20)
        assert frame[:2] == b"\x01\x01"
        assert frame[2:4] == b"\xff\xd8"

        def broken() -> np.ndarray:
            raise ContractError("cam_high: expected rgb8, got 16UC1; set the driver's encoding")

        for _ in range(2):
            robot.pictures.offer("cam_high", broken)
            time.sleep(0.1)
        robot.pictures.offer("cam_left_wrist", lambda: image)
        assert page.recv(20)[0] == 1
    assert [line for line in robot.lines if "16UC1" in line] == robot.lines
    assert len(robot.lines) == 1


@pytest.mark.parametrize("text", ["[]", "no json", '{"robot": 7}', '{"token": ["a"]}', "{" * 3000])
def test_strange_messages_close_one_page_and_nothing_else(
    open_page: tuple[Robot, PageServer], text: str
) -> None:
    server = open_page[1]
    for path in ("live", "stop", "pictures"):
        with connect(f"ws://127.0.0.1:{server.port}/{path}") as line:
            line.send(text)
    with enter(server, "live") as page:
        assert order(page, "start")["ok"]


def test_a_taken_port_is_one_line(open_page: tuple[Robot, PageServer]) -> None:
    with pytest.raises(ContractError, match=r"expected a free port"):
        PageServer({"/": open_page[0]}, Door(port=open_page[1].port)).start()


def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    door = make_door("127.0.0.1", 0, None, tmp_path / "cert.pem", tmp_path / "key.pem")
    with serving(door) as (_, server):
        assert server.url.startswith("https://")
        assert urllib.request.urlopen(f"{server.url}healthz", context=context).read() == b"OK\n"
        with connect(f"wss://127.0.0.1:{server.port}/live", ssl=context) as line:
            line.send(json.dumps({"robot": "/"}))
            assert "you" in json.loads(line.recv(20))


def test_of_two_robots_the_chosen_one_is_shown_led_and_stopped() -> None:
    left, right = Robot(), Robot()
    right.view.note("info", "I am the right one")
    server = PageServer({"/left": left, "/right": right}, Door(port=0), rate=50.0)
    server.start()
    try:
        with enter(server, "live", robot="/right") as page, enter(server, "stop") as line:
            names = until(page, lambda message: "robots" in message)["robots"]
            assert [name for name, _ in names] == ["/left", "/right"]
            until(page, lambda m: any("right one" in e["text"] for e in m.get("events", ())))
            line.send(json.dumps({"stop": True, "robot": "/right"}))
            assert json.loads(line.recv(20))["stopped"] == "/right"
            line.send(json.dumps({"stop": True, "robot": "/nowhere"}))
            assert "stopped" not in json.loads(line.recv(20))
        assert (len(left.stops), len(right.stops)) == (0, 1)
    finally:
        server.stop()
        left.pictures.close()
        right.pictures.close()


def test_who_says_nothing_is_asked_to_try_again_and_not_for_a_token(
    open_page: tuple[Robot, PageServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_server, "_HELLO_S", 0.1)
    with (
        connect(f"ws://127.0.0.1:{open_page[1].port}/live") as line,
        pytest.raises(ConnectionClosed) as error,
    ):
        line.recv(20)
    assert error.value.rcvd is not None
    assert error.value.rcvd.code == 4408
