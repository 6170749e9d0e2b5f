# SPDX-License-Identifier: Apache-2.0
"""The operator's page of a running robot, in a browser without the internet.

Loopback alone, unless token files and a certificate are given (or --insecure): --token-file lets in to
operate, --view-token-file to look and to stop. Ends with Ctrl-C; the robot goes on without it. Needs ROS.
"""

from __future__ import annotations

import argparse

from adamoe_ros.cli.options import add_options, declared_values
from adamoe_ros.ros.console.console_parameters import ConsoleParameters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe console``."""
    parser.add_argument("--namespace", default="", help="namespace of the robot")
    add_options(parser, ConsoleParameters, foxglove_port="foxglove")


def run(options: argparse.Namespace) -> int:
    """Serve the page until interrupted.

    Raises:
        ContractError: options, profile, files or address do not fit, or ROS is not there.
    """
    from adamoe_ros.ros.runner import require_overlay, ros_arguments, run_node

    given = ConsoleParameters.from_values(declared_values(options, ConsoleParameters))
    require_overlay()
    from adamoe_ros.ros.console.console_node import ConsoleNode

    return run_node(ConsoleNode, ros_arguments(given.changes(), options.namespace))
