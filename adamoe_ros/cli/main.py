# SPDX-License-Identifier: Apache-2.0
"""``adamoe``: one command, many jobs. A command's module is imported only when it is asked for.

Every command module has ``add_arguments(parser)`` and ``run(args) -> int`` and keeps heavy imports
inside ``run``. What the user can fix is printed as the ``ContractError``'s lines, exit code 2.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from adamoe_ros import __version__
from adamoe_ros.contract.errors import ContractError

# name -> (module, one line of help); the order is the order a newcomer needs them in
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "adamoe_ros.cli.demo",
        "two simulated arms do what the sentence says; writes a report",
    ),
    "doctor": (
        "adamoe_ros.cli.doctor",
        "check machine, robot profile, checkpoint and the running robot",
    ),
    "convert": ("adamoe_ros.cli.convert", "bring a checkpoint from another layout, or back"),
    "upcycle": ("adamoe_ros.cli.upcycle", "turn a dense checkpoint into AdaMoE"),
    "infer": ("adamoe_ros.cli.infer", "one deterministic action chunk from given inputs"),
    "train": ("adamoe_ros.cli.train", "train or fine-tune a policy"),
    "record": ("adamoe_ros.cli.record", "episodes of a running robot, one bag each"),
    "replay": ("adamoe_ros.cli.replay", "recorded bags through a policy, with numbers"),
    "dataset": (
        "adamoe_ros.cli.dataset",
        "bags to LeRobot datasets and back, statistics, validation",
    ),
    "evaluate": ("adamoe_ros.cli.evaluate", "success of a policy in the simulator"),
    "bench": (
        "adamoe_ros.cli.bench",
        "latency by stage, beside the roofline and transformers' PI0",
    ),
    "security": ("adamoe_ros.cli.security", "the SROS 2 policy of a robot"),
}


def overview() -> str:
    """The text of ``adamoe --help``."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: adamoe COMMAND [OPTIONS]",
            "",
            "AdaMoE policies on two-arm robots with ROS 2.",
            "",
            "commands:",
            *lines,
            "",
            "'adamoe COMMAND --help' explains one. 'adamoe --version' prints the version.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit code: 0 done, 1 failed, 2 something the user gave does not fit, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"adamoe_ros {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(
            f"adamoe: expected one of {known}, got {name!r}; try 'adamoe --help'", file=sys.stderr
        )
        return 2
    module_name, text = COMMANDS[name]
    module = importlib.import_module(module_name)
    parser = argparse.ArgumentParser(prog=f"adamoe {name}", description=module.__doc__ or text)
    module.add_arguments(parser)
    options = parser.parse_args(rest)
    try:
        return int(module.run(options))
    except ContractError as error:
        for line in error.problems:
            print(f"adamoe {name}: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"adamoe {name}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
