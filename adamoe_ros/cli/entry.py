# SPDX-License-Identifier: Apache-2.0
"""The ``adamoe`` command as it is installed: completes the environment, then runs ``cli.main``."""

from __future__ import annotations

import sys

from adamoe_ros.cli import ros_env
from adamoe_ros.cli.main import main as run

_NO_ENVIRONMENT = {"-h", "--help", "help", "--version"}


def main() -> int:
    """Exit code of the command."""
    arguments = sys.argv[1:]
    if arguments and not _NO_ENVIRONMENT & set(arguments):
        ros_env.enter("adamoe_ros.cli.entry", arguments)
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
