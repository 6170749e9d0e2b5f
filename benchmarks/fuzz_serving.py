# SPDX-License-Identifier: Apache-2.0
"""What strangers can do to a policy server, and to its other clients: ``fuzz.py --frames 10000``.

``adamoe serve`` with token and certificate in a process of its own; four clients at a robot's pace measure
what they get meanwhile: alone, beside a process that only burns as much of this machine as an attacker does,
beside fuzzed frames (test/core/serving/frame_fuzz.py), beside handshakes and frames that never end, frames that
announce more than they are, and wrong tokens. The server's memory is read after each.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import trustme
from common import RESULTS, ROOT, machine, table, with_block, write
from hypothesis import HealthCheck, Phase, given, seed, settings
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.serving import wire
from adamoe_ros.serving.link import LinkSettings, PolicyLink

sys.path[:0] = [str(ROOT / "test" / "core" / name) for name in ("serving", "policy")]

from frame_fuzz import PATHS, frames, outcome  # noqa: E402
from serving_support import aloha  # noqa: E402

TOKEN = "0123456789abcdef" * 2
PAGE = ROOT / "doc" / "serving.md"
CLIENTS, PACE = 4, 2.0  # others, and chunks per s of each
INTERFACES = ("aloha", "vla_eval_robotwin", "xpolicylab")
_BATCH = 500  # fuzzed frames between two looks at the clock


@dataclass(frozen=True)
class Target:
    """A server and how to reach it."""

    url: str
    authority: Path
    pid: int

    def connect(self, path: str = "/openpi", token: str = TOKEN) -> ClientConnection:
        """Past the handshakes."""
        context = ssl.create_default_context(cafile=self.authority)
        headers = {"Authorization": f"Api-Key {token}"}
        return connect(
            self.url + path,
            ssl=context,
            additional_headers=headers,
            compression=None,
            max_size=None,
            open_timeout=60.0,
        )

    def half(self) -> socket.socket:
        """A connection that has sent nothing yet."""
        host, port = self.url.removeprefix("wss://").split(":")
        return socket.create_connection((host, int(port)), 10)

    @property
    def memory(self) -> float:
        """Resident, MiB."""
        return psutil.Process(self.pid).memory_info().rss / 2**20


@contextmanager
def serving(folder: Path, **validity: Any) -> Iterator[Target]:
    """A server with a certificate."""
    folder.mkdir()
    authority, log = trustme.CA(), folder / "log"
    made = authority.issue_cert("127.0.0.1", **validity)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    made.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "token").touch(0o600)
    (folder / "token").write_text(TOKEN)
    words = ["--checkpoint", ROOT / "checkpoints/demo", "--port", "0", "--plain", "--device", "cpu"]
    words += ["--token-file", folder / "token", "--certificate", folder / "cert.pem"]
    words += ["--key", folder / "key.pem", "--interface", *INTERFACES]
    command = [sys.executable, "-m", "adamoe_ros.cli.main", "serve", *map(str, words)]
    with log.open("w") as stream:
        child = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        while not (found := re.search(r"on (wss://\S+) ", log.read_text())):
            if child.poll() is not None:
                raise SystemExit(f"fuzz_serving: no server: {log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield Target(found[1], folder / "authority.pem", child.pid)
        if child.poll() is not None or "Traceback" in log.read_text():
            raise SystemExit(
                f"fuzz_serving: the server ended, or faltered: {log.read_text()[-4000:]}"
            )
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(300)


# --- the others -------------------------------------------------------------------------------------


def others(target: Target, ready: Any, end: Any, results: Any) -> None:
    """Body of the clients' process: latencies of each until the end, s."""
    latencies: list[float] = []
    frame = wire.pack(aloha(1))

    def robot(number: int) -> None:
        with target.connect() as client:
            client.recv(60)
            ready.release()
            due = time.monotonic() + number / CLIENTS / PACE
            while not end.wait(max(0.0, due - time.monotonic())):
                asked = time.monotonic()
                client.send(frame)
                if not isinstance(client.recv(60), bytes):
                    raise SystemExit("fuzz_serving: another client was refused")
                latencies.append(time.monotonic() - asked)
                due = max(due + 1.0 / PACE, time.monotonic())

    threads = [threading.Thread(target=robot, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(latencies)


def beside(target: Target, attack: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """An attack's record, with what the others got meanwhile and the server's memory."""
    context = multiprocessing.get_context("spawn")
    ready, end, results = context.Semaphore(0), context.Event(), context.Queue()
    process = context.Process(target=others, args=(target, ready, end, results))
    process.start()
    for _ in range(CLIENTS):
        if not ready.acquire(timeout=120):
            raise SystemExit("fuzz_serving: the other clients did not come in")
    peak, watching = [target.memory], threading.Event()

    def watch() -> None:
        while not watching.wait(0.2):
            peak.append(target.memory)

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.monotonic()
    try:
        record = attack()
    finally:
        seconds = time.monotonic() - begun
        watching.set()
        watcher.join()
        end.set()
    times = results.get(timeout=120)
    process.join()
    if process.exitcode or not times:
        raise SystemExit("fuzz_serving: the other clients did not get through")
    p50, p99, most = (round(1e3 * float(np.percentile(times, at)), 1) for at in (50, 99, 100))
    return {
        **record,
        "seconds": round(seconds, 1),
        "others": {"chunks": len(times), "p50_ms": p50, "p99_ms": p99, "max_ms": most},
        "server_MiB": {"peak": round(max(peak), 1), "after": round(target.memory, 1)},
        "load_average": round(os.getloadavg()[0], 2),
    }


# --- attacks ----------------------------------------------------------------------------------------


def quiet(seconds: float) -> dict[str, Any]:
    """None."""
    time.sleep(seconds)
    return {}


def busy(seconds: float) -> dict[str, Any]:
    """A process that needs a core as an attacker's does, and leaves the server alone."""
    code = f"import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    return {}


def fuzzed(target: Target, count: int, first: int, until: float) -> dict[str, Any]:
    """Frames of any content, a connection for each, in turns over the protocols."""
    outcomes: dict[str, Counter[str]] = {path: Counter() for path in PATHS}
    faults: list[dict[str, str]] = []

    def batch(path: str, number: int, size: int) -> None:
        @seed(number)
        @settings(
            max_examples=size,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(frame=frames(path))
        def one(frame: bytes | str) -> None:
            word, fault = "no handshake in time", ""
            with (
                contextlib.suppress(InvalidHandshake, TimeoutError),
                target.connect(path) as client,
            ):
                if path == "/openpi":
                    client.recv(60)
                word, fault = outcome(client, path, frame)
            outcomes[path][word] += 1
            if fault:
                faults.append({"path": path, "frame": repr(frame)[:500], "fault": fault})

        one()

    number, sent = first, 0
    while sent < count and time.monotonic() < until:
        batch(PATHS[number % len(PATHS)], number, min(_BATCH, count - sent))
        number, sent = number + 1, sum(sum(one.values()) for one in outcomes.values())
        print(f"{sent} of {count} frames, {len(faults)} faults", flush=True)
    found = {path: dict(sorted(one.items())) for path, one in outcomes.items()}
    return {"frames": sent, "first_seed": first, "outcomes": found, "faults": faults}


def asking(target: Target, seconds: float, rate: float) -> dict[str, Any]:
    """A client more, with nothing wrong: whole requests at random times."""
    rng, frame, asked = np.random.default_rng(0), wire.pack(aloha(1)), 0
    with target.connect() as client:
        client.recv(60)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(rng.exponential(1.0 / rate))
            client.send(frame)
            client.recv(60)
            asked += 1
    return {"asked": asked, "rate": round(rate, 2)}


def slow(target: Target, seconds: float) -> dict[str, Any]:
    """Handshakes and frames of which a byte comes each second."""
    halves = [target.half() for _ in range(100)]
    context = ssl.create_default_context(cafile=target.authority)
    headers = [context.wrap_socket(target.half(), server_hostname="127.0.0.1") for _ in range(100)]
    inside = []
    for _ in range(20):
        with contextlib.suppress(InvalidHandshake, TimeoutError):
            inside.append(client := target.connect())
            client.recv(60)
            client.socket.sendall(b"\x82\xff" + struct.pack(">Q", 8 << 20) + bytes(4))
    first = [(one, b"\x16\x03\x01\x02\x00\x01") for one in halves]
    first += [(one, b"GET / HTTP/1.1\r\nHost: " + b"x" * 200) for one in headers]
    first += [(client.socket, bytes(1000)) for client in inside]
    ended, begun = 0, time.monotonic()
    for turn in range(round(seconds)):
        time.sleep(max(0.0, begun + turn - time.monotonic()))
        left = []
        for one, data in first:
            try:
                one.sendall(data[turn : turn + 1] or b"x")
                left.append((one, data))
            except OSError:
                ended += 1
        first = left
    for one, _ in first:
        one.close()
    return {"connections": 200 + len(inside), "ended by the server": ended}


def announced(target: Target, count: int) -> dict[str, Any]:
    """1 GiB in the frame's head, in its fragments, in a list, an array, a picture."""
    found: Counter[str] = Counter()
    whole = {**aloha(), "state": {b"__ndarray__": True, b"data": b"", b"dtype": "<f8"}}
    array = wire.pack({**whole, "state": whole["state"] | {b"shape": [1 << 27]}})
    picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1 << 15, 1 << 15) + bytes(9)
    for number in range(count):
        try:
            client = target.connect()
        except (InvalidHandshake, TimeoutError):  # of a server that has no time on this machine
            found["no handshake in time"] += 1
            continue
        with client:
            kind = number % 4
            try:
                client.recv(60)
                if kind == 0:
                    client.socket.sendall(b"\x82\xff" + struct.pack(">Q", 1 << 30) + bytes(1004))
                elif kind == 1:
                    client.send(b"\xdd\x40\x00\x00\x00")
                elif kind == 2:
                    client.send(array)
                else:
                    client.send(wire.pack({**aloha(), "images": {"cam_high": picture}}))
                answer = client.recv(60)
                found["a line" if isinstance(answer, str) else "taken"] += 1
            except ConnectionClosed as closed:
                found[f"closed {closed.rcvd.code if closed.rcvd else 0}"] += 1
    return {"connections": count, "outcomes": dict(found)}


def wrong_tokens(target: Target, count: int) -> dict[str, Any]:
    """Refused before anything of theirs is read."""
    found: Counter[str] = Counter()
    for number in range(count):
        try:
            with target.connect(token=f"{number:032x}"):
                found["let in"] += 1
        except InvalidStatus as refused:
            line = refused.response.body.decode().strip() if refused.response.body else ""
            found[f"{refused.response.status_code} {line}"] += 1
        except (InvalidHandshake, TimeoutError):
            found["no handshake in time"] += 1
    return {"connections": count, "outcomes": dict(found)}


def expired(folder: Path) -> str:
    """What our own client says of a server whose certificate has run out."""
    past = datetime.now(timezone.utc) - timedelta(days=2)
    validity = {"not_before": past - timedelta(days=1), "not_after": past}
    with serving(folder, **validity) as target:
        try:
            link = LinkSettings(target.url, folder / "token", target.authority)
            PolicyLink(link).close()
        except ContractError as error:
            return str(error)
    return ""


def page_block(found: dict[str, Any]) -> str:
    """The table of doc/serving.md."""
    rows = []
    for name, one in found.items():
        if not isinstance(one, dict) or "others" not in one:
            continue
        outcomes = one.get("outcomes", {})
        if "faults" in one:  # by protocol
            outcomes = sum((Counter(each) for each in outcomes.values()), Counter())
            outcomes = {"frames": one["frames"], **outcomes, "faults": len(one["faults"])}
        if "rate" in one:
            outcomes = {"requests": one["asked"]}
        if "ended by the server" in one:
            outcomes = {k: one[k] for k in ("connections", "ended by the server")}
        said = "; ".join(f"{what}: {count}" for what, count in outcomes.items())
        times, memory = one["others"], one["server_MiB"]
        cells = [times["chunks"], times["p50_ms"], times["p99_ms"], memory["peak"], memory["after"]]
        rows.append([name, said, *cells])
    head = "attack | what came of it | others' chunks | p50, ms | p99, ms | server's peak, MiB | after, MiB"
    line = f"An expired certificate: `{found['expired certificate']}`"
    return table(head, rows) + f"\n\n{line}"


def attack_server(frames_wanted: int, first: int, minutes: float, out: Path | None) -> int:
    """Every attack; exit code 1: there were faults, or somebody was let in."""
    about, until, few = machine(), time.monotonic() + 60 * minutes, min(400, frames_wanted)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        line = expired(folder / "expired")
        target = stack.enter_context(serving(folder / "server"))
        beside(target, partial(quiet, 5.0))  # pages and threads that the first requests need
        attacks: dict[str, Callable[[], dict[str, Any]]] = {
            "alone": partial(quiet, 30.0),
            "beside a busy process": partial(busy, 30.0),
            "fuzzed frames": partial(fuzzed, target, frames_wanted, first, until),
            "slow handshakes and frames": partial(slow, target, 50.0),
            "1 GiB announced": partial(announced, target, few),
            "wrong tokens": partial(wrong_tokens, target, few),
            "alone again": partial(quiet, 30.0),
        }
        found: dict[str, Any] = {"machine": about, "expired certificate": line}
        found["server_MiB before"] = round(target.memory, 1)
        for name, attack in attacks.items():
            found[name] = beside(target, attack)
            print(name, found[name], flush=True)
            if name == "fuzzed frames":  # some are whole requests: what those cost by themselves
                answered = sum(one.get("answered", 0) for one in found[name]["outcomes"].values())
                rate = max(1, answered) / found[name]["seconds"]
                again = partial(asking, target, 60.0, rate)
                found["a fifth robot that asks as often as fuzzed frames were answered"] = beside(
                    target, again
                )
    write(out or RESULTS / "fuzz_serving.json", found)
    print(page_block(found))
    if out is None:
        text = with_block(PAGE.read_text(encoding="utf-8"), "benchmarks/fuzz.py", page_block(found))
        PAGE.write_text(text, encoding="utf-8")
    inside = found["wrong tokens"]["outcomes"].get("let in", 0)
    inside += found["1 GiB announced"]["outcomes"].get("taken", 0)
    faults = found["fuzzed frames"]["faults"]
    return 1 if faults or inside or "expired" not in line else 0
