# SPDX-License-Identifier: Apache-2.0
"""Two simulated arms do what the sentence says: simulator, policy and control run as real ROS 2
nodes. Writes report.html, demo.mp4 and results.json."""

from __future__ import annotations

import argparse

from adamoe_ros.control.strategies import STRATEGIES
from adamoe_ros.evaluation.changes import CHANGE_AFTER_S


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``adamoe demo``."""
    add = parser.add_argument
    add("--task", help="scene of the simulator (default: the sentence's; without both, a tour)")
    add("--instruction", help="sentence for the policy (default: the task's own)")
    add("--change-to", metavar="SENTENCE", help="say this instead while the arms move")
    add(
        "--change-after",
        type=float,
        default=CHANGE_AFTER_S,
        metavar="S",
        help="seconds until then (default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="of the first episode; the next ones count up")
    add("--episodes", type=int, default=1, help="how many of each scene (default: %(default)s)")
    add("--robot", default="aloha_sim", help="profile of policy and control (default: %(default)s)")
    add("--checkpoint", help="checkpoint folder (default: the one that is shipped)")
    add(
        "--strategy",
        choices=tuple(STRATEGIES),
        default="rtc",
        help="how chunks follow each other (default: %(default)s)",
    )
    add(
        "--smoothing",
        type=float,
        default=0.3,
        metavar="S",
        help="seconds over which a chunk's rows are smoothed, 0 for not (default: %(default)s)",
    )
    add(
        "--max-duration",
        type=float,
        default=20.0,
        metavar="S",
        help="simulated seconds until an episode counts as failed (default: %(default)s)",
    )
    add(
        "--real-time-factor",
        type=float,
        default=1.0,
        metavar="X",
        help="fastest simulated seconds per second (default: %(default)s)",
    )
    add(
        "--inject-latency",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds added to every inference (default: %(default)s)",
    )
    add("--out", default="out/demo", help="folder for the results (default: %(default)s)")
    add(
        "--no-video",
        "--headless",
        dest="video",
        action="store_false",
        help="make no video",
    )
    add("--domain", type=int, help="ROS_DOMAIN_ID, to look on with ros2 (default: a free one)")


def run(options: argparse.Namespace) -> int:
    """Run it; 0 when every episode went through to its end, whatever the judgement."""
    from adamoe_ros.cli.demo_run import run_demo

    return run_demo(options)
