# SPDX-License-Identifier: Apache-2.0
"""Node processes of a session: their environment, started together, ended together, nothing left.

Linux: uses process groups, ``PR_SET_PDEATHSIG`` and ``/proc``. rclpy is not imported here: the
environment has to be complete first.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.ros import shared_memory
from adamoe_ros.ros.runner import require_overlay

_PR_SET_PDEATHSIG = 1
_DOMAINS = range(1, 102)  # what every platform's port range allows
_PARTICIPANTS = 10  # of a domain that are looked for: its first processes may have ended
_POLITE = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = ((signal.SIGINT, 6.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 2.0))


def prepare_environment(domain: int) -> dict[str, str]:
    """Complete this process's environment for ROS and return a copy for its children.

    Chooses the transports and the domain, and keeps discovery on this machine. Must run before
    rclpy is initialised.

    Raises:
        ContractError: rclpy or this package's interfaces cannot be imported.
    """
    os.environ.update(
        {
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "PYTHONUNBUFFERED": "1",
            "ROS_DOMAIN_ID": str(domain),
        }
    )
    require_overlay()
    return dict(os.environ)


def free_domain() -> int:
    """A ROS domain that nobody on this machine uses now."""
    for domain in random.sample(_DOMAINS, len(_DOMAINS)):
        if all(_unused(7410 + 250 * domain + 2 * number) for number in range(_PARTICIPANTS)):
            return domain
    return _DOMAINS[-1]


def _unused(port: int) -> bool:
    """Whether no process listens for DDS discovery there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


@dataclass
class NodeProcess:
    """One running node: name, process and log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def last_line(self) -> str:
        """The last line that the node wrote; empty for none."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class NodeProcesses:
    """Node processes with one environment; a context manager that ends them all.

    Args:
        environment: complete environment of the processes.
        logs: folder for ``<name>.log``.
    """

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self._environment = dict(environment)
        self._logs = logs
        self._nodes: list[NodeProcess] = []
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> NodeProcesses:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, name: str, module: str, arguments: Sequence[str]) -> NodeProcess:
        """Run ``python -m module arguments`` in a group of its own.

        A group of its own, so that Ctrl-C reaches the session only, which then ends the nodes in
        order; the death signal, so that nodes do not outlive a session that was killed.
        """
        path = self._logs / f"{name}.log"
        parent = os.getpid()
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),
            )
        node = NodeProcess(name, process, path)
        self._nodes.append(node)
        return node

    def ended(self) -> NodeProcess | None:
        """A node that is not running any more; None while all run."""
        return next((node for node in self._nodes if node.process.poll() is not None), None)

    def check(self) -> None:
        """Raises ``ContractError`` with the last line of a node that ended."""
        ended = self.ended()
        if ended is not None:
            raise ContractError(ended.last_line or f"{ended.name}: ended without a word")

    def memory(self) -> dict[str, int]:
        """Resident bytes of each running node."""
        sizes = {}
        for node in self._nodes:
            try:
                pages = int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
            sizes[node.name] = pages * os.sysconf("SC_PAGE_SIZE")
        return sizes

    def stop(self) -> None:
        """End every node, politely first; may be called twice. Signals meanwhile change nothing."""
        old = {number: signal.signal(number, signal.SIG_IGN) for number in _POLITE}
        try:
            for number, patience in _PATIENCE:
                for node in self._nodes:
                    _signal_group(node.process, number)
                self._wait(patience)
            shared_memory.remove_leftovers()  # of a node that had to be killed
            self._nodes.clear()
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for node in self._nodes:
            try:
                node.process.wait(max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                continue


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
