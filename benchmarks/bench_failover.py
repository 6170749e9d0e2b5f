# SPDX-License-Identifier: Apache-2.0
"""nginx in front of two policy servers, one of them killed under load: how long each client waits.

Needs ``nginx`` on PATH; the configuration is that of ``doc/serving.md``, without TLS, on free ports.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from bench_serving import server
from common import RESULTS, machine, write

from adamoe_ros.contract.errors import PolicyUnavailable
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.control.scheduling import free_plan
from adamoe_ros.serving.link import LinkSettings
from adamoe_ros.serving.remote_actor import RemoteActor

NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream policies {{
        least_conn;
        {servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://policies; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
            proxy_connect_timeout 1s; proxy_read_timeout 1h; client_max_body_size 0; proxy_buffering off;
        }}
    }}
}}
"""


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0, help="before and after the kill")
    parser.add_argument("--out", type=Path, default=RESULTS / "serving_failover.json")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        children: list[subprocess.Popen[bytes]] = []
        urls = [stack.enter_context(server(4, children)) for _ in range(2)]
        address = nginx(stack, folder, urls)
        gaps, refused = killed_under_load(address, children[0], options.clients, options.seconds)
    version = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip()
    found = {
        "machine": machine(),
        "nginx": version.rpartition(" ")[2],
        "clients": options.clients,
        "clients that lost their server": sum(count > 0 for count in refused),
        "longest time without a chunk (s)": [round(gap, 2) for gap in gaps],
    }
    print(found)
    write(options.out, found)
    return 0


def nginx(stack: ExitStack, folder: Path, urls: list[str]) -> str:
    """Its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    servers = " ".join(
        f"server {url.removeprefix('ws://')} max_fails=1 fail_timeout=5s;" for url in urls
    )
    text = NGINX.format(folder=folder, servers=servers, port=port)
    (folder / "nginx.conf").write_text(text)
    child = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])
    stack.callback(child.wait, 10)
    stack.callback(child.terminate)
    until = time.monotonic() + 10
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert time.monotonic() < until
        time.sleep(0.1)
    return f"ws://127.0.0.1:{port}"


def killed_under_load(
    address: str, victim: subprocess.Popen[bytes], clients: int, seconds: float
) -> tuple[list[float], list[int]]:
    """Of each client: s between chunks at the most, times that it was told of a lost link."""
    gaps, refused, end = [0.0] * clients, [0] * clients, threading.Event()

    def robot(number: int, actor: Any) -> None:
        session, last, stamp = actor.session(), time.monotonic(), 0
        seen = actor.warm_up_observation()
        while not end.wait(0.25):
            stamp += 1
            try:
                session.infer(seen, free_plan(stamp, actor.horizon))
            except PolicyUnavailable:
                refused[number] += 1
                continue
            gaps[number] = max(gaps[number], time.monotonic() - last)
            last = time.monotonic()
        gaps[number] = max(gaps[number], time.monotonic() - last)

    settings = PolicySettings(seed=1)
    actors = [RemoteActor(None, LinkSettings(address), settings) for _ in range(clients)]
    threads = [threading.Thread(target=robot, args=pair) for pair in enumerate(actors)]
    for thread in threads:
        thread.start()
    end.wait(seconds)
    victim.kill()
    end.wait(seconds)
    end.set()
    for thread, actor in zip(threads, actors, strict=True):
        thread.join()
        actor.close()
    assert np.isfinite(gaps).all()
    return gaps, refused


if __name__ == "__main__":
    raise SystemExit(main())
