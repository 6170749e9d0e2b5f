# SPDX-License-Identifier: Apache-2.0
"""Where this package's own files are: beside the source tree, in an overlay, or under the prefix."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from adamoe_ros.contract.errors import ContractError


def share_dir() -> Path:
    """The folder that holds ``config`` and ``launch``.

    Looked for in this order: the source tree this module stands in, ``share/adamoe_ros`` of every
    prefix in AMENT_PREFIX_PATH, ``share/adamoe_ros`` of the Python prefix.

    Raises:
        ContractError: none of them has ``config/robots``.
    """
    source = Path(__file__).resolve().parents[2]
    prefixes = [path for path in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if path]
    shares = [Path(prefix) / "share" / "adamoe_ros" for prefix in (*prefixes, sys.prefix)]
    for folder in (source, *shares):
        if (folder / "config" / "robots").is_dir():
            return folder
    raise ContractError(
        "adamoe_ros: expected config/robots beside the package or under share/adamoe_ros, "
        "found neither; source install/setup.bash or run from the source tree"
    )


def robots_dir() -> Path:
    """Folder of the robot profiles."""
    return share_dir() / "config" / "robots"
