# SPDX-License-Identifier: Apache-2.0
"""Converts in a process of its own and prints by how many bytes its memory grew at most.

    python convert_memory.py SMALL OUT SOURCE OUT OPTION ...

The small source comes first, so that libraries and their caches do not count.
"""

from __future__ import annotations

import sys
from pathlib import Path

from adamoe_ros.cli.main import main

small, small_out, *arguments = sys.argv[1:]
options = arguments[2:]


def resident(key: str) -> int:
    """Bytes: VmRSS now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no {key}")


assert main(["convert", small, small_out, *options]) == 0
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = resident("VmRSS")
assert main(["convert", *arguments]) == 0
print(resident("VmHWM") - before)
