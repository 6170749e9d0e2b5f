# SPDX-License-Identifier: Apache-2.0
"""A folder of many small bags, and a conversion of it that says how much memory it takes."""

from __future__ import annotations

import resource
import shutil
import sys
from pathlib import Path

from bag_support import motion, simulated_robot, write_mcap

PROFILE = simulated_robot(width=32, height=24)
SECONDS, KINDS = 0.2, 5


def make_bags(folder: Path, count: int) -> None:
    """Bags ``b0000 ...``, sentence ``task 0 ... 4`` in turn; number 7 is no bag."""
    for number in range(count):
        path = folder / f"b{number:04d}"
        if number == 7:
            path.mkdir(parents=True)
            (path / f"{path.name}.mcap").write_bytes(b"no bag")
        elif number < KINDS:
            write_mcap(path, motion(PROFILE, SECONDS, instruction=f"task {number}"))
        else:
            shutil.copytree(folder / f"b{number % KINDS:04d}", path)


def main(arguments: list[str]) -> int:
    """``adamoe`` with a last line of the peak memory of this process and of its workers, bytes."""
    from adamoe_ros.cli.main import main as adamoe

    code = adamoe(arguments)
    peaks = [
        resource.getrusage(who).ru_maxrss * 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    print(*peaks)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
