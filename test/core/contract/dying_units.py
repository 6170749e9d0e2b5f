# SPDX-License-Identifier: Apache-2.0
"""Units of work that take their process along."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from pathlib import Path


def doubled(number: int, deaths: int, folder: Path) -> int:
    """Twice the number, after so many deaths of its process; a byte an attempt in ``folder``."""
    with (folder / str(number)).open("ab", buffering=0) as tries:
        tries.write(b".")
        if tries.tell() <= deaths:
            os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def stay(folder: Path, number: int) -> None:
    """Hold a lock for ever."""
    with (folder / f"{number}.new").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (folder / f"{number}.new").rename(folder / str(number))
        threading.Event().wait()
