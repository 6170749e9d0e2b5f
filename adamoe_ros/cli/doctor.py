# SPDX-License-Identifier: Apache-2.0
"""Check this machine, a robot profile, a checkpoint and, with --live, the running robot.

Every finding that is not ok says what to change. Exit code 1 when something fails.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe doctor``."""
    parser.add_argument("--robot", help="profile: name of a shipped one or path of a .yaml file")
    parser.add_argument("--checkpoint", type=Path, help="checkpoint folder")
    parser.add_argument("--policy", metavar="URL", help="policy server, ws(s)://host:port")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="token of that server")
    parser.add_argument(
        "--authority", type=Path, metavar="PEM", help="who signed that server's certificate"
    )
    parser.add_argument("--live", action="store_true", help="listen to the running robot as well")
    parser.add_argument(
        "--use-sim-time",
        choices=("true", "false"),
        help="the clock that the nodes were launched with (default: the profile's)",
    )
    parser.add_argument("--namespace", default="", help="namespace of the robot")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to listen (default 5)")
    parser.add_argument(
        "--save-views",
        type=Path,
        metavar="DIR",
        help="write the images; with --checkpoint also as the model sees them",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings as JSON, too")


def run(options: argparse.Namespace) -> int:
    """Check and print.

    Raises:
        ContractError: the options do not fit each other.
    """
    from adamoe_ros.ros.doctor.environment import check_environment
    from adamoe_ros.ros.doctor.report import Report
    from adamoe_ros.ros.doctor.system import check_machine

    _check_options(options)
    report = Report()
    complete = check_environment(report)
    check_machine(report)
    if complete:
        _check_robot(report, options)
    print(report.text())
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(report.json(), encoding="utf-8")
    return report.exit_code


def _check_robot(report: Any, options: argparse.Namespace) -> None:
    """Profile, checkpoint, server and the running robot, as far as the options name them."""
    from adamoe_ros.ros.doctor.file_checks import check_checkpoint, check_match, check_profile
    from adamoe_ros.ros.doctor.model_checks import open_checkpoint

    profile = check_profile(report, options.robot) if options.robot else None
    manifest = check_checkpoint(report, options.checkpoint) if options.checkpoint else None
    checkpoint = open_checkpoint(report, options.checkpoint) if manifest else None
    if profile and manifest:
        check_match(report, profile, manifest)
    if options.policy:
        from adamoe_ros.ros.doctor.link_checks import check_link

        report.extend(check_link(options.policy, options.token_file, options.authority, profile))
    if options.live:
        _check_live(report, profile, checkpoint, options)


def _check_options(options: argparse.Namespace) -> None:
    from adamoe_ros.contract.errors import Problems

    problems = Problems()
    if (options.live or options.save_views) and not options.robot:
        problems.add("--live", "--robot beside it", "none", "name the profile that runs")
    if options.save_views and not options.live:
        problems.add("--save-views", "--live beside it", "none", "images come from the live robot")
    if not 0.5 <= options.seconds <= 600:
        problems.add("--seconds", "0.5 ... 600", options.seconds, "choose one inside")
    problems.raise_if_any()


def _check_live(report: Any, profile: Any, checkpoint: Any, options: argparse.Namespace) -> None:
    if profile is None:
        report.add("robot", "live", "unchecked", "the profile has to load first")
        return
    if options.use_sim_time:
        clock = {"use_sim_time": options.use_sim_time == "true"}
        profile = profile.model_copy(update=clock)
    from adamoe_ros.ros.runner import require_overlay

    require_overlay()
    from adamoe_ros.ros.doctor.live import check_live

    heard = check_live(report, profile, options.namespace, options.seconds)
    if checkpoint and not checkpoint.manifest.raw_only:
        from adamoe_ros.ros.doctor.model_checks import check_pose

        report.extend(check_pose(profile, checkpoint, heard.joints))
    if options.save_views:
        from adamoe_ros.ros.doctor.views import save_views

        size = checkpoint.config.vision.image_size if checkpoint else None
        save_views(report, profile, heard.images, options.save_views, size)
