# SPDX-License-Identifier: Apache-2.0
"""Opt-in real-time scheduling and memory locking of this process.

Nothing is swapped in silently: what the system refuses is returned as a line for the log, and the
node goes on without it.
"""

from __future__ import annotations

import ctypes
import gc
import os

from adamoe_ros.contract.errors import problem

_MCL_CURRENT, _MCL_FUTURE = 1, 2


def use_fifo(priority: int) -> str | None:
    """Schedule the calling thread with SCHED_FIFO.

    Args:
        priority: 1 ... 99.

    Returns:
        None when it works, else one line that says what to do.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError as error:
        return problem(
            "realtime_priority",
            f"SCHED_FIFO {priority} to be allowed",
            error.strerror,
            f"add 'rtprio {priority}' for the user to /etc/security/limits.d, or CAP_SYS_NICE",
        )
    return None


def lock_memory() -> str | None:
    """Keep present and future pages of the process in memory.

    Returns:
        None when it works, else one line that says what to do.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.mlockall(_MCL_CURRENT | _MCL_FUTURE) == 0:
        return None
    return problem(
        "lock_memory",
        "mlockall to be allowed",
        os.strerror(ctypes.get_errno()),
        "add 'memlock unlimited' for the user to /etc/security/limits.d, or CAP_IPC_LOCK",
    )


def quiet_garbage_collector() -> None:
    """Take everything that exists now out of later collections: a full one costs milliseconds."""
    gc.collect()
    gc.freeze()
