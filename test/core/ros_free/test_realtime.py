# SPDX-License-Identifier: Apache-2.0
"""Real-time scheduling that the system refuses is one line that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import os, resource
if os.geteuid() == 0:
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
    os.setresuid(65534, 65534, 65534)
print(use_fifo(10))
print(lock_memory())
"""


def test_what_is_refused_is_said_and_names_the_remedy() -> None:
    """In a child without privileges: this process keeps its own."""
    code = f"from adamoe_ros.ros.control.realtime import lock_memory, use_fifo\n{SCRIPT}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    fifo, memory = done.stdout.splitlines()
    allowed = os.geteuid() != 0  # an ordinary user may have been given these rights on purpose
    assert "rtprio 10" in fifo or (allowed and fifo == "None")
    assert "memlock unlimited" in memory or (allowed and memory == "None")
