# SPDX-License-Identifier: Apache-2.0
"""A command whose output is read as it comes, so that something can be killed half-way."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ADAMOE = (sys.executable, "-m", "adamoe_ros.cli.main")
ROOT = Path(__file__).resolve().parents[2]
AGAIN = "its process died; it runs again"


def run(
    command: Sequence[object],
    on: Callable[[str], bool] = lambda line: False,
    do: Callable[[int], object] = lambda pid: None,
) -> str:
    """Everything that a command says; ``do`` is called once with its process, at the line ``on``."""
    words = [str(word) for word in command]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as child:
        assert child.stdout is not None
        lines, waiting = [], True
        try:
            for line in child.stdout:
                lines.append(line)
                if waiting and on(line):
                    waiting = False
                    do(child.pid)
            code = child.wait(60)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    said = "".join(lines)
    assert code in (0, 3), said[-3000:]
    return said


def children(pid: int, word: str) -> list[int]:
    """Processes below a process whose command line has a word."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            if word in Path(f"/proc/{child}/cmdline").read_text():
                found.append(child)
            found += children(child, word)
    return found


def kill_one(word: str) -> Callable[[int], None]:
    """Kills the first process of a command that has a word."""

    def kill(pid: int) -> None:
        os.kill(children(pid, word)[0], signal.SIGKILL)

    return kill


def digests(folder: Path) -> dict[str, str]:
    """Path -> hash of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
