# SPDX-License-Identifier: Apache-2.0
"""The demo's node processes: started together, ended together, nothing left behind.

Linux: uses process groups, ``PR_SET_PDEATHSIG`` and ``/proc``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from adamoe_ros.ros import shared_memory

_PR_SET_PDEATHSIG = 1
_PATIENCE = ((signal.SIGINT, 6.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 2.0))


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

        A group of its own, so that Ctrl-C reaches the demo only, which then ends the nodes in
        order; the death signal, so that nodes do not outlive a demo that was killed.
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


_POLITE = (signal.SIGINT, signal.SIGTERM)


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
