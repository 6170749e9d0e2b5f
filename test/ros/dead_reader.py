# SPDX-License-Identifier: Apache-2.0
"""What a process leaves behind that is killed while it holds the lock of its shared-memory port.

The kill has to fall into some microseconds, so tests do not wait for it: they lock the port as the dead
process would have left it, and whoever sends to it waits. The layout is that of Fast DDS 3
(``SharedMemGlobal::PortNode`` on x86-64), and is checked.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from adamoe_ros.ros import shared_memory

_TIMEOUTS = struct.pack("<II", 1000, 333)  # ms, after port number and listeners
_MUTEX = 20572  # bytes from the port number to the lock, a pthread_mutex_t
_KIND, _SHARED = 16, 128  # bytes from the lock to its kind; between processes
_STATUS, _IN_USE = (
    40,
    1,
)  # bytes from the lock to the first reader's status; neither waits nor reads


def ports(pid: int) -> list[Path]:
    """Files of the shared-memory ports that a process reads; empty: it reads none."""
    return [
        shared_memory.FOLDER / f"fastdds_port{number}" for number in shared_memory.ports_read(pid)
    ]


def lock(path: Path) -> None:
    """Lock a port for good."""
    with path.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as data:
        struct.pack_into("<i", data, _mutex(data), 1)


def leave_between(path: Path) -> None:
    """Have the port's reader look as if it had died neither waiting nor reading, which nobody notices."""
    with path.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as data:
        status = _mutex(data) + _STATUS
        assert data[status] & _IN_USE, f"{path}: expected a reader, found none"
        data[status] = _IN_USE


def _mutex(data: mmap.mmap) -> int:
    """Place of the port's lock.

    Raises:
        AssertionError: the file is laid out in another way.
    """
    mutex = data.find(_TIMEOUTS) - 8 + _MUTEX
    (kind,) = struct.unpack_from("<i", data, mutex + _KIND)
    assert kind == _SHARED, f"expected the ports of Fast DDS 3, found a lock of kind {kind}"
    return mutex
