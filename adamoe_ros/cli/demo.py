# SPDX-License-Identifier: Apache-2.0
"""Two simulated arms do what the instruction says: simulator, policy and control run as real ROS 2
nodes. Writes report.html, demo.mp4 and results.json."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from adamoe_ros.cli.options import add_options
from adamoe_ros.contract.parameters import Parameters, same_as
from adamoe_ros.data.recording import CHANGE_AFTER_S, Change, Episode
from adamoe_ros.evaluation.evaluation_settings import EvaluationSettings
from adamoe_ros.ros.policy.policy_parameters import PolicyParameters
from adamoe_ros.ros.sim.sim_parameters import SimParameters

# (task, instruction, another that replaces it) without --task and --instruction: as far as the policy
# was trained on the task
TOUR: tuple[tuple[str, str, str | None], ...] = (
    ("lift_bar", "lift the yellow bar with both arms", None),
    (
        "pick_cube",
        "pick up the red cube with the left arm",
        "pick up the blue cube with the right arm",
    ),
    ("push_to_line", "push the blue cube to the line", None),
    ("pick_two", "pick up the red cube and the blue cube with both arms", None),
)
Plan = tuple[Episode, Change | None]


@dataclass(frozen=True)
class _Declared(Parameters):
    robot: str = same_as(EvaluationSettings, "robot")
    strategy: str = same_as(EvaluationSettings, "strategy")
    smoothing: float = same_as(EvaluationSettings, "smoothing_s")
    real_time_factor: float = same_as(SimParameters, "real_time_factor")
    inject_latency: float = same_as(PolicyParameters, "inject_latency")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``adamoe demo``."""
    add = parser.add_argument
    shown = "(default: %(default)s)"

    def number(option: str, default: float, unit: str, text: str) -> None:
        add(option, type=type(default), default=default, metavar=unit, help=f"{text} {shown}")

    add("--task", help="scene of the simulator (default: the instruction's; without both, a tour)")
    add("--instruction", help="sentence for the policy (default: the task's own)")
    add("--change-to", metavar="SENTENCE", help="give this instruction while the arms move")
    number("--change-after", CHANGE_AFTER_S, "S", "seconds until then")
    number("--seed", 0, "N", "of the first episode; the next ones count up")
    number("--episodes", 1, "N", "how many of each scene")
    add("--checkpoint", type=Path, help="checkpoint folder (default: the one that is shipped)")
    number("--max-duration", 20.0, "S", "simulated seconds until an episode counts as failed")
    add("--out", type=Path, default="out/demo", help=f"folder for the results {shown}")
    add(
        "--console",
        type=int,
        nargs="?",
        const=8088,
        metavar="PORT",
        help="serve the operator's page instead of a tour; lead the arms from there until Ctrl-C",
    )
    add("--no-video", "--headless", dest="video", action="store_false", help="make no video")
    add_options(parser, _Declared)
    add("--domain", type=int, help="ROS_DOMAIN_ID, to look on with ros2 (default: a free one)")


def run(options: argparse.Namespace) -> int:
    """Run it; 0 when every episode went through to its end, whatever the judgement.

    Raises:
        ContractError: everything about the options, the profile or the checkpoint that does not fit.
    """
    from adamoe_ros.cli.demo_run import run_demo
    from adamoe_ros.contract.resources import share_dir

    check_numbers(options)
    options.checkpoint = options.checkpoint or share_dir() / "checkpoints" / "demo"
    if options.console is not None:
        from adamoe_ros.cli.demo_console import run_demo_console

        known = find_task(options.instruction) if options.instruction else TOUR[0][0]
        return run_demo_console(options, options.task or known)
    return run_demo(options, planned_episodes(options, trained_instructions(options.checkpoint)))


def check_numbers(options: argparse.Namespace) -> None:
    """Raises ``ContractError`` with every number that is out of its range."""
    from adamoe_ros.contract.errors import Problems

    problems = Problems()
    for option, expected, fits in (
        ("--episodes", "1 or more", options.episodes >= 1),
        ("--seed", "0 or more", options.seed >= 0),
        ("--change-after", "more than 0 s", options.change_after > 0),
        ("--max-duration", "more than 0 s", options.max_duration > 0),
    ):
        if not fits:
            got = getattr(options, option[2:].replace("-", "_"))
            problems.add(option, expected, got, "correct the number")
    problems.raise_if_any()


def planned_episodes(
    options: argparse.Namespace, trained: Collection[str] = ()
) -> tuple[Plan, ...]:
    """The episodes that the arguments ask for, each with the change of its instruction.

    Args:
        trained: instructions that the policy was trained on; empty: unknown.

    Raises:
        ContractError: an instruction or task that the simulator does not know, or one that does not
            belong to the other.
    """
    rows = _rows(options, trained)
    wanted = [(row, number) for number in range(options.episodes) for row in rows]
    return tuple(
        (
            Episode(index, options.seed + number, task, instruction or ""),
            None if change is None else Change(change, options.change_after),
        )
        for index, ((task, instruction, change), number) in enumerate(wanted)
    )


def _rows(
    options: argparse.Namespace, trained: Collection[str]
) -> tuple[tuple[str, str | None, str | None], ...]:
    from adamoe_ros.contract.errors import ContractError, Problems, problem

    task, instruction, change = options.task, options.instruction, options.change_to
    problems = Problems()
    for option, text in (("--instruction", instruction), ("--change-to", change)):
        if text is not None and not text.strip():
            problems.add(option, "a sentence", "an empty one", "write one, or leave the option out")
    problems.raise_if_any()
    if task is None and instruction is None:
        if change is None:
            return tour(trained)
        do = "add --instruction with the sentence to begin with"
        raise ContractError(problem("--change-to", "a sentence to change", "none", do))
    name = task or find_task(str(instruction))
    if change is not None:
        _check_change(name, change)
    return ((name, instruction, change),)


def tour(trained: Collection[str]) -> tuple[tuple[str, str, str | None], ...]:
    """The rows of ``TOUR`` whose task has an instruction that was trained; at least the first one."""
    from adamoe_ros.sim.tasks import tasks_of

    known = tasks_of(trained)
    return tuple(row for row in TOUR if row[0] in known or not trained) or TOUR[:1]


def find_task(instruction: str) -> str:
    """The task whose scene allows what an instruction asks for.

    Raises:
        ContractError: none does.
    """
    from adamoe_ros.contract.errors import ContractError, problem
    from adamoe_ros.sim.tasks import TASKS, task_of

    found = task_of(instruction)
    if found is not None:
        return found[0]
    usual = " | ".join(kind.language.phrasings[0] for kind in TASKS.values())
    do = "or name the scene with --task"
    raise ContractError(problem("--instruction", usual, repr(instruction), do))


def _check_change(task: str, instruction: str) -> None:
    """The second instruction is judged in the same scene."""
    from adamoe_ros.contract.errors import ContractError, problem
    from adamoe_ros.sim.tasks import make_task

    language = make_task(task).language
    if language.meaning_of(instruction) is None:
        usual = " | ".join(language.phrasings)
        do = f"choose one of {task}'s sentences"
        raise ContractError(problem("--change-to", usual, repr(instruction), do))


def trained_instructions(checkpoint: Path) -> tuple[str, ...]:
    """Instructions that a policy was trained on; none where its manifest cannot be read.

    What is wrong with a checkpoint is reported by ``check_checkpoint_files``.
    """
    from adamoe_ros.contract.errors import ContractError
    from adamoe_ros.contract.manifest import load_manifest

    try:
        return load_manifest(checkpoint / "manifest.json").instructions
    except ContractError:
        return ()
