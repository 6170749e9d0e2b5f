# SPDX-License-Identifier: Apache-2.0
"""A command in a pseudo-terminal: keys go in as a person types them, everything shown comes out."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import termios
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from control_rig import wait_until


def _take_terminal() -> None:
    """Make the input the controlling terminal, so that Ctrl-C is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A child with a terminal of its own as input and output; a context manager.

    Args:
        words: command line.
    """

    def __init__(self, words: Sequence[str | Path]) -> None:
        self._ours, theirs = pty.openpty()
        self.child = subprocess.Popen(
            [str(word) for word in words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)
        self._data = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
        self.child.wait(10)
        self._reader.join(5)
        os.close(self._ours)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 4096)
            except OSError:  # the child has closed its side
                return
            if not data:
                return
            self._data += data

    @property
    def text(self) -> str:
        """What was shown so far."""
        return self._data.decode(errors="replace")

    def press(self, keys: str) -> None:
        """Type, all at once."""
        os.write(self._ours, keys.encode())

    def shows(self, text: str, times: int = 1, timeout: float = 60.0) -> None:
        """Wait until a text has been shown so many times."""
        wait_until(lambda: self.text.count(text) >= times, lambda: f"{text}: {self.text}", timeout)
