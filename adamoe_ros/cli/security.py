# SPDX-License-Identifier: Apache-2.0
"""Write the SROS 2 policy of a robot: which process may send, hear and call what.

'ros2 security create_permission' makes signed permissions of it; see doc/security.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe security``."""
    parser.add_argument("--robot", required=True, help="profile: a shipped name or a .yaml file")
    parser.add_argument("--namespace", default="/", help="namespace of the robot (default /)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")


def run(options: argparse.Namespace) -> int:
    """Write the policy.

    Raises:
        ContractError: the profile does not fit.
    """
    from adamoe_ros.contract.profile_io import load_profile, profile_path
    from adamoe_ros.contract.resources import robots_dir
    from adamoe_ros.ros.security_policy import policy_xml

    text = policy_xml(load_profile(profile_path(options.robot, robots_dir())), options.namespace)
    if options.out is None:
        print(text, end="")
    else:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
    return 0
