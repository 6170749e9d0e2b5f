# SPDX-License-Identifier: Apache-2.0
"""Who may come in, and what a stranger can do to those who are inside."""

from __future__ import annotations

import socket
import ssl
import struct
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import psutil
import pytest
import trustme
from frame_fuzz import PATHS, frames, observation, outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_support import make_checkpoint
from serving_support import aloha, ask, open_client, serving
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.serving import wire
from adamoe_ros.serving.door import make_door
from adamoe_ros.serving.service import PolicyService

TOKEN = "a-token-of-more-than-16"
INTERFACES = ("aloha", "vla_eval_robotwin", "xpolicylab")
Served = tuple[PolicyService, int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("door") / "checkpoint")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with serving(folder, max_frame=4, max_clients=8, interface=INTERFACES) as made:
        yield made


@pytest.fixture(scope="module")
def insider(served: Served) -> Iterator[Any]:
    """A client that was there before; it must be answered after everything that others do."""
    with open_client(served[1]) as client:
        client.recv(20)
        yield client


def token_file(folder: Path, text: str = TOKEN, mode: int = 0o600) -> Path:
    path = folder / "token"
    path.write_text(text)
    path.chmod(mode)
    return path


def certificate(folder: Path, **validity: Any) -> tuple[Path, Path, trustme.CA]:
    authority = trustme.CA()
    made = authority.issue_cert("localhost", "127.0.0.1", **validity)
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    made.private_key_pem.write_to_path(folder / "key.pem")
    return folder / "cert.pem", folder / "key.pem", authority


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_another_address_needs_token_and_certificate(tmp_path: Path) -> None:
    with pytest.raises(ContractError) as error:
        make_door("0.0.0.0", 0)
    assert "got no token and no certificate" in str(error.value)
    with pytest.raises(ContractError) as error:
        make_door("0.0.0.0", 0, token_file(tmp_path))
    assert "got no certificate" in str(error.value)
    assert make_door("0.0.0.0", 0, insecure=True).tls is None
    assert make_door("localhost", 0).token == ""


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [("short", 0o600, "one word of at least 16"), (TOKEN, 0o644, "others may read it")],
)
def test_a_token_file_that_is_none(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        make_door("localhost", 0, token_file(tmp_path, text, mode))


def test_token_and_certificate(folder: Path, tmp_path: Path) -> None:
    cert, key, authority = certificate(tmp_path)
    door = make_door("127.0.0.1", 0, token_file(tmp_path), cert, key)
    with serving(folder, door) as (_, port):
        address = f"wss://127.0.0.1:{port}"
        wrong = (
            "Api-Key wrong",
            TOKEN,
            f"Basic {TOKEN}",
            f"Api-Key {TOKEN} x",
            "Api-Key w\u00f6rd",
        )
        for header in ({}, *({"Authorization": value} for value in wrong)):
            with (
                pytest.raises(InvalidStatus) as refused,
                connect(address, ssl=trusting(authority), additional_headers=header),
            ):
                pass
            assert refused.value.response.status_code == 401
        header = {"Authorization": f"Api-Key {TOKEN}"}
        with connect(address, ssl=trusting(authority), additional_headers=header) as client:
            assert "adamoe" in wire.unpack(client.recv(20))
            # one would reach openpi's client while it writes its request, which could be lost
            assert client.socket.session.has_ticket is False
        with (
            pytest.raises(ssl.SSLCertVerificationError),
            connect(address, additional_headers=header),
        ):
            pass
        health = urllib.request.urlopen(
            f"https://127.0.0.1:{port}/healthz", context=trusting(authority), timeout=20
        )
        assert health.read() == b"OK\n"


def test_an_expired_certificate_is_refused_by_the_client(folder: Path, tmp_path: Path) -> None:
    past = datetime.now(timezone.utc) - timedelta(days=2)
    validity = {"not_before": past - timedelta(days=1), "not_after": past}
    cert, key, authority = certificate(tmp_path, **validity)
    door = make_door("127.0.0.1", 0, token_file(tmp_path), cert, key)
    with serving(folder, door) as (_, port), pytest.raises(ssl.SSLCertVerificationError) as error:
        connect(f"wss://127.0.0.1:{port}", ssl=trusting(authority)).__enter__()
    assert "expired" in str(error.value)


def test_no_more_clients_than_there_are_places(served: Served, insider: Any) -> None:
    with ExitStack() as inside:
        for _ in range(7):
            inside.enter_context(open_client(served[1]))
        with pytest.raises(InvalidStatus) as refused, open_client(served[1]):
            pass
    assert refused.value.response.status_code == 503
    assert "actions" in ask(insider, aloha())


def test_a_gibibyte_that_is_announced_is_never_taken(served: Served, insider: Any) -> None:
    before = psutil.Process().memory_info().rss
    with open_client(served[1]) as client:
        client.recv(20)
        raw: socket.socket = client.socket
        raw.sendall(b"\x82\xff" + struct.pack(">Q", 1 << 30) + b"\0\0\0\0" + b"x" * 1000)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(20)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
    assert "actions" in ask(insider, aloha())
    assert psutil.Process().memory_info().rss - before < 64 << 20


def test_a_frame_in_endless_empty_parts_is_refused(served: Served, insider: Any) -> None:
    """They count for no size; not every websockets bounds their number."""
    with open_client(served[1]) as client:
        client.recv(20)
        client.socket.sendall(b"\x02\x80\0\0\0\0" + 10_000 * b"\0\x80\0\0\0\0")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(20)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
    with open_client(served[1]) as client:
        client.recv(20)
        frame = wire.pack(aloha())
        client.send([frame[:100], b"", frame[100:300], frame[300:]])
        assert isinstance(client.recv(20), bytes)
    assert "actions" in ask(insider, aloha())


def test_a_list_longer_than_its_frame_is_never_made(served: Served, insider: Any) -> None:
    with open_client(served[1]) as client:
        client.recv(20)
        for bomb in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x91" * 100_000):
            with pytest.raises(ContractError):
                wire.unpack(bomb)
        client.send(b"\xdd\xff\xff\xff\xff")
        assert "frame: expected msgpack" in client.recv(20)
    assert "actions" in ask(insider, aloha())


def test_slow_handshakes_hold_up_nobody(served: Served, insider: Any) -> None:
    slow = []
    for _ in range(50):
        half = socket.create_connection(("127.0.0.1", served[1]))
        half.sendall(b"GET / HTTP/1.1\r\nHost: ")
        slow.append(half)
    begun = time.monotonic()
    with open_client(served[1]) as client:
        assert "adamoe" in wire.unpack(client.recv(20))
    assert "actions" in ask(insider, aloha())
    assert time.monotonic() - begun < 5
    slow[0].settimeout(20)
    while slow[0].recv(4096):  # an error page, then the end: within the server's patience
        pass
    for half in slow:
        half.close()


def test_a_client_that_asks_too_often_is_sent_away(folder: Path) -> None:
    with serving(folder, max_rate=2.0) as (_, port), open_client(port) as client:
        client.recv(20)
        answers = []
        for _ in range(4):
            answers.append(ask(client, {"adamoe": {"echo": b""}}))
            if isinstance(answers[-1], str):
                break
    assert "rate: expected at most 2 Hz" in answers[-1]


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=70, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_fuzzed_frame_costs_its_sender_alone(
    served: Served, insider: Any, path: str, data: st.DataObject
) -> None:
    frame = data.draw(frames(path))
    with open_client(served[1], path) as client:
        if path == "/openpi":
            client.recv(20)
        assert outcome(client, path, frame)[1] == ""


@pytest.mark.parametrize("what", [{"a": 1}, [0], np.zeros(2), b"infer", None, 3])
@pytest.mark.parametrize("path", ["/vla-eval", "/xpolicylab"])
def test_a_message_without_a_kind_is_one_line(served: Served, path: str, what: Any) -> None:
    whole = observation(path)
    with open_client(served[1], path) as client:
        for key in list(whole)[:3]:  # its kind, its number or payload
            assert outcome(client, path, wire.pack({**whole, key: what}))[1] == ""
            client.recv(20)  # hello's answer
            # and nothing of another message is echoed
            client.send(b"\xc1")
            answer = msgpack.unpackb(client.recv(20))
            assert not answer.get("seq") and "message_id" not in answer


def test_a_fault_of_the_servers_own_is_named_and_logged(
    served: Served, insider: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with open_client(served[1]) as client:
        client.recv(20)
        with monkeypatch.context() as broken:
            broken.setattr(served[0], "_read", None)
            line = ask(client, aloha())
        assert line.startswith("server: expected an answer, got TypeError") and "\n" not in line
        with pytest.raises(ConnectionClosed):
            client.recv(20)
    assert "Traceback" in caplog.text
    assert "actions" in ask(insider, aloha())


def test_the_insider_is_still_answered(insider: Any) -> None:
    assert "actions" in ask(insider, aloha())
