# SPDX-License-Identifier: Apache-2.0
"""Child processes of tests: their lines as events, and an end that always comes.

A child is a process group of its own. At the end it gets SIGINT, and SIGKILL for the whole group when
that does not help in time: a wedged rclpy process ignores SIGTERM. Shared-memory files that it had open
are removed then, since a killed Fast DDS leaves them behind.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

Message = TypeVar("Message")
SHARED_MEMORY = "/dev/shm/fastdds_"


class Child:
    """A running process; a context manager.

    Args:
        command: words.
        environment: complete environment; None: this process's.
        cwd: working directory.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment if environment is not None else os.environ),
            cwd=cwd,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def wait_for_line(self, pattern: str, timeout: float = 30.0) -> str:
        """The first line so far or from now on in which the pattern is found.

        Raises:
            AssertionError: not within ``timeout`` s, or the process ended without it.
        """
        deadline = time.monotonic() + timeout
        seen = 0
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    if re.search(pattern, line):
                        return line
                seen = len(self.lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "ended" if self._ended else f"not within {timeout} s"
                    raise AssertionError(f"{pattern!r}: {why}; output:\n" + "\n".join(self.lines))
                self._changed.wait(left)

    def wait(self, timeout: float = 30.0) -> int:
        """Exit code, once the process has ended and its output has been read."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code

    def stop(self, number: int = signal.SIGINT, timeout: float = 10.0) -> int:
        """Signal, wait, kill the group; the exit code. May be called again."""
        shared = _shared_memory(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # grandchildren that stayed, or all of it
        self.process.wait(5.0)
        self._reader.join(5.0)
        for path in shared:
            Path(path).unlink(missing_ok=True)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def wait_for_message(
    node: Node,
    kind: type[Message],
    topic: str,
    qos: QoSProfile | int,
    accept: Callable[[Message], bool] = lambda message: True,
    timeout: float = 30.0,
) -> Message:
    """Spin a node until a message on a topic is accepted.

    Raises:
        AssertionError: not within ``timeout`` s.
    """
    found: list[Message] = []

    def note(message: Any) -> None:
        if not found and accept(message):
            found.append(message)

    subscription = node.create_subscription(kind, topic, note, qos)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline = time.monotonic() + timeout
    try:
        while not found and rclpy.ok(context=node.context):
            left = deadline - time.monotonic()
            assert left > 0, f"{topic}: no such {kind.__name__} within {timeout} s"
            executor.spin_once(timeout_sec=left)
    finally:
        executor.remove_node(node)
        node.destroy_subscription(subscription)
    return found[0]


def _shared_memory(pid: int) -> set[str]:
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return set()
    # ports are shared by all participants of the domain; segments belong to one process
    return {
        word
        for word in maps.split()
        if word.startswith(SHARED_MEMORY) and not word.startswith(f"{SHARED_MEMORY}port")
    }
