# SPDX-License-Identifier: Apache-2.0
"""Fast DDS shared memory as this machine sees it: who uses it, what dead processes left. No ROS.

A participant with shared memory owns a segment ``fastdds_<hex>`` for what it sends and reads a port
``fastdds_port<N>``; the owner of either holds a lock on the file of that name with ``_el`` for as long
as it lives. N follows from domain and participant, so a process that is started again gets the port
number of the one that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("/dev/shm")
_PROC = Path("/proc")
_PREFIXES = ("fastdds_", "fastrtps_")
_SEGMENT = re.compile(r"(fastdds|fastrtps)_[0-9a-f]{16}")
_READ_PORT = re.compile(r"(?:fastdds|fastrtps)_port(\d+)_el$")
_LOST_PORT = re.compile(r"(?:fastdds|fastrtps)_port(\d+) \(deleted\)$", re.MULTILINE)
_YOUNG = 10.0  # s: a segment may be seen between its creation and its owner's lock


@dataclass(frozen=True)
class DeadSegment:
    """A segment whose owner is dead.

    Attributes:
        paths: of the segment and its lock.
        size: bytes of memory they take.
    """

    paths: tuple[Path, ...]
    size: int


def files_in_use(pid: int | str = "self") -> set[str]:
    """Names of the Fast DDS files in shared memory that a process has mapped or open; empty: none.

    Raises:
        OSError: the process is gone, or another user's.
    """
    names = {
        Path(line.split(maxsplit=5)[5].removesuffix(" (deleted)")).name
        for line in _maps(pid).splitlines()
        if f" {FOLDER}/" in line
    }
    names |= {Path(link).name for link in _links(pid) if link.startswith(f"{FOLDER}/")}
    return {name for name in names if name.startswith(_PREFIXES)}


def ports_read(pid: int | str = "self") -> set[int]:
    """Numbers of the ports that a process reads."""
    return {int(found[1]) for link in _links(pid) if (found := _READ_PORT.search(link))}


def lost_ports() -> set[int]:
    """Ports of which some process still has the file of a dead reader.

    What such a process sends does not arrive at the port's new reader: Fast DDS notices that a reader is
    dead only where it died waiting or reading, not where it died in between.
    """
    found: set[int] = set()
    for pid in pids():
        with contextlib.suppress(OSError):
            found |= {int(number) for number in _LOST_PORT.findall(_maps(pid))}
    return found


def leftovers() -> list[DeadSegment]:
    """Segments of this user in which nobody can send any more."""
    found = []
    for path in sorted(FOLDER.glob("fast*_*")):
        if not _SEGMENT.fullmatch(path.name):
            continue
        lock = path.with_name(f"{path.name}_el")
        with contextlib.suppress(OSError):
            status = path.stat()
            old = time.time() - status.st_mtime > _YOUNG
            if old and status.st_uid == os.geteuid() and _unlocked(lock):
                found.append(DeadSegment((path, lock), status.st_blocks * 512))
    return found


def remove_leftovers() -> int:
    """Remove them; the bytes that came free. Ports stay: who opens one again clears it under a lock."""
    freed = 0
    for leftover in leftovers():
        for path in leftover.paths:
            with contextlib.suppress(OSError):
                path.unlink()
        freed += leftover.size
    return freed


def pids() -> Iterator[int]:
    """Processes that run."""
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            yield int(entry.name)


def _unlocked(lock: Path) -> bool:
    """Whether the owner's lock is free; a missing one says nothing."""
    try:
        with lock.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False


def _maps(pid: int | str) -> str:
    return (_PROC / str(pid) / "maps").read_text(errors="replace")


def _links(pid: int | str) -> list[str]:
    links = []
    for entry in (_PROC / str(pid) / "fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(os.readlink(entry))
    return links
