# SPDX-License-Identifier: Apache-2.0
"""A policy on a port: for clients of openpi, vla-eval and XPolicyLab, and for policy_node on a computer without a GPU.

Loopback alone, unless a token file and a certificate are given (or --insecure). /healthz, /metrics
(Prometheus) are pages of the same port. Ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from adamoe_ros.cli.options import add_options, declared_values

if TYPE_CHECKING:
    import asyncio

    from rich.console import Console, Group

    from adamoe_ros.serving.door import Door
    from adamoe_ros.serving.server import PolicyServer
    from adamoe_ros.serving.service import PolicyService

_OPTIONS = (
    "interface prompt execution_horizon device engine flow_steps seed threads rtc_jacobian max_batch max_clients "
    "max_rate max_frame"
)
_REFRESH = 1.0  # s between pictures of the terminal view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe serve``."""
    from adamoe_ros.serving.service import ServeSettings

    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="checkpoint folder")
    add("--host", default="", help="address to listen on (default: this computer alone)")
    add("--port", type=int, default=8000, help="0: a free one (default 8000)")
    add("--token-file", type=Path, metavar="FILE", help="token that clients have to send")
    add("--certificate", type=Path, metavar="PEM", help="TLS certificate (chain)")
    add("--key", type=Path, metavar="PEM", help="its key")
    add("--insecure", action="store_true", help="let anybody in who can reach --host")
    add("--plain", action="store_true", help="log lines instead of the terminal view")
    add_options(parser, ServeSettings, _OPTIONS, flow_steps="steps")


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted.

    Raises:
        ContractError: checkpoint, interface, address or files do not fit.
    """
    import asyncio
    import logging
    import sys

    from adamoe_ros.contract.errors import ContractError, problem
    from adamoe_ros.serving.door import make_door
    from adamoe_ros.serving.service import PolicyService, ServeSettings

    if not 0 <= options.port <= 65535:
        raise ContractError(problem("--port", "0 ... 65535", options.port, "correct it"))
    door = make_door(
        options.host or "127.0.0.1",
        options.port,
        options.token_file,
        options.certificate,
        options.key,
        options.insecure,
    )
    console = None
    if sys.stdout.isatty() and not options.plain:
        from rich.console import Console
        from rich.logging import RichHandler

        console = Console()  # the view's: lines of the log stand above it
        handler = RichHandler(
            console=console,
            log_time_format="%X",
            show_path=False,
            show_level=False,
            omit_repeated_times=False,
        )
        logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    print(f"loading {options.checkpoint} and measuring batches ...", file=sys.stderr, flush=True)
    service = PolicyService(
        options.checkpoint, ServeSettings(**declared_values(options, ServeSettings))
    )
    asyncio.run(_serve(service, door, console))
    return 0


async def _serve(service: PolicyService, door: Door, console: Console | None) -> None:
    import asyncio
    import signal

    from adamoe_ros.serving.server import PolicyServer

    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    service.start()
    try:
        async with PolicyServer(service, door) as server:
            print(_headline(service, door, server), flush=True)
            if console is not None:
                await _show(service, ended, console)
            await ended.wait()
    finally:
        service.stop()


def _headline(service: PolicyService, door: Door, server: PolicyServer) -> str:
    scheme = "ws" if door.tls is None else "wss"
    rates = ", ".join(f"{size}: {rate:.1f}/s" for size, rate in service.rates.items())
    host = f"[{door.host}]" if ":" in door.host else door.host
    return (
        f"serving {service.announced['checkpoint']} on {scheme}://{host}:{server.port} "
        f"({service.actor.device}, batches of up to {service.batch}; measured {rates})"
    )


async def _show(service: PolicyService, ended: asyncio.Event, console: Console) -> None:
    """The terminal view: one line a client, below what went wrong."""
    import asyncio

    from rich.live import Live

    with Live(_view(service), console=console, auto_refresh=False) as live:
        while not ended.is_set():
            live.update(_view(service), refresh=True)
            try:
                await asyncio.wait_for(ended.wait(), _REFRESH)
            except asyncio.TimeoutError:
                continue


def _view(service: PolicyService) -> Group:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    metrics = service.metrics
    batches, clients = list(metrics.batches), list(metrics.clients.values())
    mean = sum(batches) / len(batches) if batches else 0.0
    figures = f"{len(clients)} clients, {service.queued} waiting, {mean:.1f} in a batch"
    table = Table(box=box.SIMPLE_HEAD)
    for head in ("client", "protocol", "chunks", "p50 ms", "p99 ms"):
        text = head in ("client", "protocol")
        table.add_column(head, justify="left" if text else "right", no_wrap=True)
    for one in clients:
        times = [1e3 * one.percentile(share) for share in (50, 99)]
        shown = [f"{value:.0f}" if one.latency else "" for value in times]
        table.add_row(one.name, one.protocol, str(one.requests), *shown)
    return Group(figures, table)
