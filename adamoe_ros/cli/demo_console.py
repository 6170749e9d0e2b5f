# SPDX-License-Identifier: Apache-2.0
"""``adamoe demo --console``: the demo's robot with the operator's page, led from there until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from adamoe_ros.cli.demo_run import DemoRun
from adamoe_ros.cli.demo_view import make_view
from adamoe_ros.contract.manifest import check_checkpoint_files
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.data.recording import Episode
from adamoe_ros.ros.sim.node_processes import free_domain, prepare_environment

if TYPE_CHECKING:
    from adamoe_ros.ros.sim.session import SimSession


def run_demo_console(options: argparse.Namespace, task: str) -> int:
    """Bring everything up and wait; the exit code.

    Args:
        task: of the first scene.

    Raises:
        ContractError: profile, checkpoint or ROS do not fit, or a node ended.
    """
    profile = load_profile(profile_path(options.robot, robots_dir()))
    check_checkpoint_files(options.checkpoint)
    domain = free_domain() if options.domain is None else options.domain
    environment = prepare_environment(domain)
    from adamoe_ros.ros.sim.director import SessionFailed
    from adamoe_ros.ros.sim.session import sim_session

    options.out.mkdir(parents=True, exist_ok=True)
    options.video = False  # nobody waits for one
    view = make_view()
    view.step(f"ROS_DOMAIN_ID={domain}, logs in {options.out / 'log'}")
    episode = Episode(0, options.seed, task, options.instruction or "")
    run = DemoRun(options, profile, [(episode, None)], view)
    try:
        with sim_session(profile, environment, options.out / "log", *run.parameters()) as session:
            _start_page(session, options)
            run.wait_until_ready(session)
            session.begin_episode(episode)
            view.step(f"the page: http://127.0.0.1:{options.console}/ (Ctrl-C ends everything)")
            while True:
                session.director.turn()
    except SessionFailed as failure:
        print(f"adamoe demo: {failure}", file=sys.stderr)
        return 1


def _start_page(session: SimSession, options: argparse.Namespace) -> None:
    """console_node and recorder_node beside the other nodes."""
    from adamoe_ros.ros.runner import ros_arguments
    from adamoe_ros.sim.tasks import TASKS

    common = {"robot": options.robot, "checkpoint": str(options.checkpoint)}
    recorder = {"use_sim_time": True, "folder": str(options.out / "recordings"), **common}
    console = {"port": options.console, "tasks": tuple(TASKS), **common}
    for name, values in (("recorder", recorder), ("console", console)):
        module = f"adamoe_ros.ros.{name}.{name}_node"
        session.nodes.start(f"{name}_node", module, ros_arguments(values))
