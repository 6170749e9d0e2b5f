# SPDX-License-Identifier: Apache-2.0
"""What the machine must have before anything is installed; each lack is one line.

Standard library only.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

MIN_FREE = 4 << 30  # bytes: environment 2.5 GB with the CPU torch, build folder, pip's temporaries
_NETWORK = (
    "Temporary failure in name resolution",
    "Name or service not known",
    "Network is unreachable",
    "Connection refused",
    "ConnectTimeoutError",
    "NewConnectionError",
    "ProxyError",
    "Read timed out",
)


def lacks(folder: Path, min_free: int = MIN_FREE) -> list[str]:
    """Everything that is missing, as lines in the standard form; empty: all there.

    Args:
        folder: where the environment will be made.
        min_free: bytes that must be free there.
    """
    lines = []
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        lines.append(
            "machine: expected Linux on x86_64 (ROS 2 wheels exist for no other), "
            f"got {platform.system()} on {platform.machine()}; "
            "install ROS 2 and source it before make setup"
        )
        if os.environ.get("ROS_DISTRO"):
            lines.clear()
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        lines.append(
            f"compiler: expected {compiler} on PATH, found none; install one "
            "(Debian, Ubuntu: apt-get install g++) or set CC and CXX"
        )
    if shutil.which(os.environ.get("CC", "cc")) is None:
        lines.append(
            f"compiler: expected {os.environ.get('CC', 'cc')} on PATH, found none; install one "
            "(Debian, Ubuntu: apt-get install gcc) or set CC and CXX"
        )
    if shutil.which("make") is None:
        lines.append("make: expected it on PATH, found none; apt-get install make")
    free = shutil.disk_usage(folder).free
    if free < min_free:
        lines.append(
            f"disk: expected {min_free / 2**30:.0f} GB free in {folder}, "
            f"got {free / 2**30:.1f} GB; make room there"
        )
    return lines


def diagnose_pip(output: str) -> str | None:
    """The line for a person behind pip's output; None where it is not one of the usual reasons."""
    if "No space left on device" in output:
        return (
            "disk: pip found no space left; make room (or set TMPDIR and PIP_CACHE_DIR elsewhere)"
        )
    if any(text in output for text in _NETWORK):
        return (
            "network: the package index could not be reached; check the connection, "
            "or set PIP_INDEX_URL, PIP_FIND_LINKS or a proxy"
        )
    if "No matching distribution found" in output:
        last = [line for line in output.splitlines() if "No matching distribution" in line][-1]
        return f"package index: {last.removeprefix('ERROR: ')}; is it a complete mirror of PyPI?"
    return None


def diagnose_build(output: str) -> str | None:
    """The line for a person behind colcon's output; None where it is not a usual reason."""
    if "No space left on device" in output:
        return "disk: the compiler found no space left; make room"
    if "ModuleNotFoundError: No module named 'em'" in output or "catkin_pkg" in output:
        return (
            "build: the ROS that is sourced lacks python3-empy or python3-catkin-pkg; install them"
        )
    return None
