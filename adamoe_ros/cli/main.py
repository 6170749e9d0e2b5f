# SPDX-License-Identifier: Apache-2.0
"""``adamoe``: one command, many jobs. A command's module is imported only when it is asked for.

Every command module has ``add_arguments(parser)`` and ``run(args) -> int`` and keeps heavy imports
inside ``run``. What the user can fix is printed as the ``ContractError``'s lines, exit code 2; so is
what the system refuses (a disk that is full, a folder without permission) and a part that is not
installed (``contract.extras``). Anything else is a fault
of ours: one line that says where, exit code 70, the traceback in a file. A reader that has gone
(``adamoe doctor | head``) ends the command without a word.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from adamoe_ros import __version__
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.extras import parts_needed

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
    "serve": ("adamoe_ros.cli.serve", "a policy on a port, for robots and benchmarks elsewhere"),
    "train": ("adamoe_ros.cli.train", "train or fine-tune a policy"),
    "console": ("adamoe_ros.cli.console", "a page in the browser to lead a running robot from"),
    "record": ("adamoe_ros.cli.record", "episodes of a running robot, one bag each"),
    "replay": ("adamoe_ros.cli.replay", "recorded bags through a policy, with numbers"),
    "dataset": (
        "adamoe_ros.cli.dataset",
        "bags to LeRobot datasets and back, statistics, validation",
    ),
    "evaluate": ("adamoe_ros.cli.evaluate", "success of a policy in the simulator"),
    "benchmark": ("adamoe_ros.cli.benchmark", "success by the judges of others: LIBERO"),
    "bench": (
        "adamoe_ros.cli.bench",
        "latency by stage, beside the roofline and transformers' PI0",
    ),
    "security": ("adamoe_ros.cli.security", "the SROS 2 policy of a robot"),
}
# extras that a command needs whatever it is given; some options need another one
NEEDS: dict[str, tuple[str, ...]] = {
    "demo": ("policy", "sim", "data"),
    "convert": ("policy",),
    "upcycle": ("policy",),
    "infer": ("policy",),
    "serve": ("policy", "serve", "data"),
    "train": ("policy", "data"),
    "console": ("console", "serve", "data"),
    "record": ("data",),
    "replay": ("policy", "data"),
    "dataset": ("data",),
    "evaluate": ("policy", "sim", "data"),
    "benchmark": ("policy", "sim", "data", "serve"),
    "bench": ("policy",),
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
        Exit code: 0 done, 1 failed, 2 something the user gave does not fit, 3 done in part, 70 a fault
        of ours, 130 interrupted, 141 nobody reads the output any more.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _reported(arguments)
        sys.stdout.flush()  # a reader that has gone is noticed here, not at the interpreter's end
    except BrokenPipeError:
        return _nobody_reads()
    return code


def _reported(arguments: Sequence[str]) -> int:
    """Run one command; whatever stops it becomes lines and an exit code."""
    name = f"adamoe {arguments[0]}" if arguments and arguments[0] in COMMANDS else "adamoe"
    try:
        with parts_needed(*NEEDS.get(name.removeprefix("adamoe "), ())):
            return _run(arguments)
    except ContractError as error:
        return _failed(name, error.problems, 2)
    except KeyboardInterrupt:
        return _failed(name, ["interrupted"], 130)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is None:
            return _unforeseen(name, error)
        line = problem(str(error.filename), "a path to use", error.strerror, "choose another")
        return _failed(name, [line], 2)
    except Exception as error:
        return _unforeseen(name, error)


def _run(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"adamoe_ros {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        return _failed("adamoe", [f"expected one of {known}, got {name!r}; try 'adamoe --help'"], 2)
    module_name, text = COMMANDS[name]
    module = importlib.import_module(module_name)
    parser = argparse.ArgumentParser(prog=f"adamoe {name}", description=module.__doc__ or text)
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(rest)))


# of more lines than _MANY only the first ones are shown: one cause has many nearly always
_MANY, _SHOWN = 12, 10


def _failed(name: str, lines: Sequence[str], code: int) -> int:
    more = len(lines) - _SHOWN
    for line in lines if len(lines) <= _MANY else [*lines[:_SHOWN], f"and {more} more"]:
        print(f"{name}: {line}", file=sys.stderr)
    return code


def _nobody_reads() -> int:
    """End as a program does that SIGPIPE ends; what is still buffered has nowhere to go."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, ValueError):  # closed, or not of the system
            continue
    os.close(nowhere)
    return 141


def _unforeseen(name: str, error: Exception) -> int:
    """Say where a fault of ours is, and put its traceback into a file."""
    trace = "".join(traceback.format_exception(error))
    words = " ".join(name.split()).replace(" ", "_")
    descriptor, path = tempfile.mkstemp(prefix=f"{words}_", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(f"adamoe_ros {__version__}, Python {sys.version}\n{sys.argv}\n\n{trace}")
    what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    line = f"unforeseen: {what} at {_place(error)}; please report it with {path}"
    return _failed(name, [line], 70)


def _place(error: Exception) -> str:
    """The innermost line of this package, as ``data/bag_conversion.py:12``."""
    package = Path(__file__).parents[1]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [item for item in frames if package in Path(item.filename).parents]
    last = (ours or frames)[-1]
    path = Path(last.filename)
    place = path.relative_to(package) if package in path.parents else path.name
    return f"{place}:{last.lineno}"


if __name__ == "__main__":
    sys.exit(main())
