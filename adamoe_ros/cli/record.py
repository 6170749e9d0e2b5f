# SPDX-License-Identifier: Apache-2.0
"""Record episodes of a running robot, one bag each, led by keys (or by lines without a terminal).

Everything the profile names is recorded raw, with this package's own topics, the profile, the
checkpoint's hash and the nodes' parameters. Needs ROS.
"""

from __future__ import annotations

import argparse

from adamoe_ros.cli.options import add_options, declared_values
from adamoe_ros.ros.recorder.recorder_parameters import RecorderParameters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe record``."""
    parser.add_argument("--robot", required=True, help="profile: shipped name or .yaml file")
    parser.add_argument("--instruction", default="", help="sentence; empty: the one that is heard")
    parser.add_argument("--duration", type=float, default=0.0, help="s: one episode, then end")
    parser.add_argument("--namespace", default="", help="namespace of the robot")
    parser.add_argument("--use-sim-time", action="store_true", help="arrival times by /clock")
    names = "checkpoint folder extra_topics min_free compress"
    add_options(parser, RecorderParameters, names, folder="out", extra_topics="topics")


def run(options: argparse.Namespace) -> int:
    """Record.

    Raises:
        ContractError: options or profile do not fit, or ROS is not there.
    """
    from adamoe_ros.contract.errors import ContractError, problem
    from adamoe_ros.contract.profile_io import load_profile, profile_path
    from adamoe_ros.contract.resources import robots_dir
    from adamoe_ros.ros.runner import require_overlay

    profile = load_profile(profile_path(options.robot, robots_dir()))
    if not 0 <= options.duration <= 86400:
        line = problem("--duration", "0 ... 86400 s", options.duration, "choose one inside")
        raise ContractError(line)
    require_overlay()
    from adamoe_ros.ros.recorder.record_session import record

    given = RecorderParameters.from_values(declared_values(options, RecorderParameters))
    parameters = given.changes()
    if options.use_sim_time or profile.use_sim_time:
        parameters["use_sim_time"] = True
    return record(parameters, options.instruction, options.duration, options.namespace)
