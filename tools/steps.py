# SPDX-License-Identifier: Apache-2.0
"""Steps of the set-up: one line each with its time, a log, stamps that make a second run quick.

Standard library only; runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

_TAIL = 15  # lines of the log that a failure shows


def fail(line: str, log: Path | None = None) -> NoReturn:
    """Show the end of the log, then the one line that says what to do, and leave."""
    if log is not None and log.is_file():
        tail = log.read_text(errors="replace").splitlines()[-_TAIL:]
        print("\n".join(f"    | {text[:200]}" for text in tail), file=sys.stderr)
    print(f"setup: {line}", file=sys.stderr)
    raise SystemExit(2)


def digest(parts: Iterable[str | Path]) -> str:
    """One hash over texts and the contents of files."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        total.update(b"\0")
    return total.hexdigest()


class Steps:
    """Runs steps whose inputs changed.

    Args:
        stamps: folder of the stamps, one file per step with the hash of its inputs.
        log: where the output of all commands goes.
        total: number of steps, for the ``[2/6]`` in front of each line.
    """

    def __init__(self, stamps: Path, log: Path, total: int) -> None:
        self.log = log
        self._stamps = stamps
        self._total = total
        self._number = 0
        self.done = 0

    def step(self, name: str, title: str, key: str, work: Callable[[], None]) -> None:
        """Run ``work`` unless its inputs, ``key``, are those of the last time it succeeded."""
        self._number += 1
        stamp = self._stamps / f"{name}.stamp"
        if stamp.is_file() and stamp.read_text() == key:
            return
        stamp.unlink(missing_ok=True)
        print(f"[{self._number}/{self._total}] {title} ...", end=" ", flush=True)
        start = time.monotonic()
        try:
            work()
        except BaseException:
            print("failed", flush=True)
            raise
        print(f"{time.monotonic() - start:.0f} s", flush=True)
        self._stamps.mkdir(parents=True, exist_ok=True)
        stamp.write_text(key)
        self.done += 1

    def run(
        self,
        command: Sequence[str | Path],
        problem: str,
        environment: Mapping[str, str] | None = None,
        diagnose: Callable[[str], str | None] = lambda output: None,
    ) -> None:
        """Run a command into the log; a failure ends the set-up.

        Args:
            problem: the line for the person.
            environment: complete environment; None: this process's.
            diagnose: finds a better line in the command's output.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        words = [str(word) for word in command]
        with self.log.open("a+") as log:
            log.write(f"\n$ {' '.join(words)}\n")
            log.flush()
            start = log.tell()
            code = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environment if environment is not None else os.environ),
                check=False,
            ).returncode
            log.seek(start)
            output = log.read()
        if code != 0:
            fail(diagnose(output) or f"{problem} (exit {code}, all output in {self.log})", self.log)
