# SPDX-License-Identifier: Apache-2.0
"""Bags to LeRobot datasets and back; scripted demonstrations; statistics; what is wrong with a dataset.

Exit code 0: everything was read and is in order; 3: a part could not be read, or there are errors in
the dataset (every one is named); 2: nothing could be done with what was given.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamoe_ros.cli.options import add_workers, workers

if TYPE_CHECKING:
    from adamoe_ros.contract.profile import RobotProfile
    from adamoe_ros.data.units import Units
    from adamoe_ros.training.suite_dataset import SuiteJob

PARTIAL = 3
_GRIPPERS = ("driver", "1_open", "0_open")
_UNITS = "units of the grippers, where the dataset does not say"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe dataset``."""
    jobs = parser.add_subparsers(dest="job", required=True, metavar="JOB", help="what to do")
    _convert_arguments(jobs.add_parser("convert", help="bags, or folders of them, to a dataset"))
    check = jobs.add_parser("validate", help="ranges, gaps, frozen cameras, joint order")
    check.add_argument("dataset", type=Path, help="folder of the dataset")
    check.add_argument("--robot", help="profile, for joint order and limits")
    check.add_argument("--gripper", choices=_GRIPPERS, default="", help=_UNITS)
    check.add_argument("--no-pictures", action="store_true", help="do not decode the pictures")
    back = jobs.add_parser("to-bag", help="an episode as a bag with a robot's topics")
    back.add_argument("dataset", type=Path, help="folder of the dataset")
    back.add_argument("--robot", required=True, help="profile whose topics the bag gets")
    back.add_argument("--out", type=Path, required=True, help="folder of the new bag")
    back.add_argument("--episode", type=int, default=0, help="number of the episode")
    back.add_argument("--gripper", choices=_GRIPPERS, default="", help=_UNITS)
    _generate_arguments(
        jobs.add_parser("generate", help="scripted demonstrations in the simulator")
    )
    look = jobs.add_parser("info", help="what is in a bag or a dataset")
    look.add_argument("path", type=Path, help="bag or dataset")


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bags", type=Path, nargs="+", help="bags or folders of bags")
    parser.add_argument("--robot", required=True, help="profile of the robot that recorded them")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new dataset")
    parser.add_argument("--checkpoint", type=Path, help="take order, cameras and units from it")
    parser.add_argument(
        "--gripper",
        choices=("driver", "1_open", "0_open"),
        default="",
        help="without --checkpoint: grippers 0 ... 1, or everything as the driver has it",
    )
    parser.add_argument("--fps", type=float, help="of the dataset (default: the slowest camera's)")
    parser.add_argument(
        "--action",
        choices=("command", "next_state"),
        default="command",
        help="what the arms were told, or where they were one frame later",
    )
    parser.add_argument(
        "--format", choices=("v3.0", "v2.1"), default="v3.0", help="version of the LeRobot format"
    )
    parser.add_argument(
        "--images", choices=("video", "png"), default="video", help="png loses nothing"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "float64"),
        default="float32",
        help="of state and action; float64 loses nothing",
    )
    parser.add_argument("--crf", type=int, default=23, help="video quality, less is better")
    parser.add_argument(
        "--max-gap",
        type=float,
        default=0.5,
        metavar="S",
        help="s without a complete observation that end an episode (default %(default)s)",
    )
    parser.add_argument("--instruction", default="", help="sentence, where the bags have none")
    parser.add_argument("--namespace", default="", help="of the robot's topics in the bags")
    parser.add_argument(
        "--clock",
        choices=("auto", "log", "clock", "stamps"),
        default="auto",
        help="what stamps are compared with: the recorder's clock, /clock, or nothing",
    )
    add_workers(parser)


def _generate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the new dataset")
    parser.add_argument(
        "--suite",
        choices=("bimanual", "libero_object", "libero_spatial"),
        default="bimanual",
        help="of ours, or of LIBERO; its simulator gets an environment of its own on first use",
    )
    parser.add_argument("--tasks", nargs="+", help="names, or LIBERO's numbers (default: all)")
    parser.add_argument("--episodes", type=int, default=100, help="per task (default %(default)s)")
    parser.add_argument("--seed", type=int, default=200_000, help="of each task's first episode")
    parser.add_argument("--fps", type=int, default=25, help="frames kept, a divisor of 50")
    parser.add_argument("--width", type=int, default=640, help="of the pictures, px")
    parser.add_argument("--height", type=int, default=480, help="of the pictures, px")
    parser.add_argument(
        "--noise",
        type=float,
        nargs="+",
        default=None,
        help="disturbance of the execution in turn over the episodes, actions stay clean: rad "
        "(default 0 0.008); of LIBERO, share of the largest step (default 0 0.15)",
    )
    parser.add_argument(
        "--usual-phrasing", action="store_true", help="one way to say a thing instead of several"
    )
    parser.add_argument(
        "--random-look", action="store_true", help="lights and cameras vary over the episodes"
    )
    parser.add_argument(
        "--format", choices=("v3.0", "v2.1"), default="v3.0", help="version of the LeRobot format"
    )
    parser.add_argument("--images", choices=("video", "png"), default="video")
    parser.add_argument("--gripper", choices=("driver", "1_open", "0_open"), default="1_open")
    add_workers(parser)


def run(options: argparse.Namespace) -> int:
    """Do the job.

    Raises:
        ContractError: options, bags or dataset do not fit.
    """
    jobs = {
        "convert": _convert,
        "validate": _validate,
        "to-bag": _to_bag,
        "generate": _generate,
        "info": _info,
    }
    return jobs[options.job](options)


def _profile(name: str) -> RobotProfile:
    from adamoe_ros.contract.profile_io import load_profile, profile_path
    from adamoe_ros.contract.resources import robots_dir

    return load_profile(profile_path(name, robots_dir()))


# --- convert ------------------------------------------------------------------------------------


def _convert(options: argparse.Namespace) -> int:
    from adamoe_ros.cli.progress import Steps
    from adamoe_ros.contract.manifest import load_manifest
    from adamoe_ros.data.bag.bag_files import bags_below
    from adamoe_ros.data.bag_conversion import ConvertSettings
    from adamoe_ros.data.bag_conversion_many import ConversionJob, convert_bags
    from adamoe_ros.data.observations import StreamOptions
    from adamoe_ros.data.units import units_for

    profile = _profile(options.robot)
    manifest = load_manifest(options.checkpoint / "manifest.json") if options.checkpoint else None
    units: Units = units_for(profile, manifest, options.gripper)
    bags = [bag for path in options.bags for bag in bags_below(path.absolute())]
    slots = tuple(manifest.camera_slots) if manifest else None
    job = ConversionJob(
        bags,
        options.out.absolute(),  # another machine's folder of work is another one
        profile,
        units,
        ConvertSettings(
            fps=_fps(options, profile),
            action=options.action,
            stream=StreamOptions(options.namespace, slots, options.instruction, options.clock),
            precision=options.precision,
            lossless=options.images == "png",
            crf=options.crf,
            gap_s=options.max_gap,
        ),
        options.format,
        workers(options),
    )
    with Steps("bags", len(bags)) as steps:

        def report(bag: Path, facts: dict[str, Any] | None, lines: list[str]) -> None:
            steps.done(_bag_line(bag, facts, lines))

        outcome = convert_bags(job, report)
    totals = outcome.totals
    assert totals is not None
    print(f"{options.out}: {totals.episodes} episodes, {totals.frames} frames, {options.format}")
    if outcome.reused:
        print(f"{outcome.reused} episodes taken from an earlier run")
    if outcome.failed:
        print(f"{len(outcome.failed)} bags skipped: {', '.join(outcome.failed)}")
    if outcome.partial:
        print(f"{len(outcome.partial)} bags read in part: {', '.join(outcome.partial)}")
    return PARTIAL if outcome.failed or outcome.partial else 0


def _bag_line(bag: Path, facts: dict[str, Any] | None, lines: list[str]) -> str:
    if facts is None:
        return f"{bag.name}: skipped: {'; '.join(lines)}"
    lines = [*facts.get("problems", []), *facts.get("notes", [])]
    return "\n".join([f"{bag.name}: {facts['length']} frames", *(f"  {line}" for line in lines)])


def _fps(options: argparse.Namespace, profile: RobotProfile) -> float:
    from adamoe_ros.contract.errors import ContractError, problem

    fps = options.fps
    if fps is None:
        fps = min(camera.rate for camera in profile.present_cameras.values())
    if not 1 <= fps <= 1000:
        raise ContractError(problem("--fps", "1 ... 1000", fps, "choose one inside"))
    return float(fps)


# --- generate -----------------------------------------------------------------------------------


def _generate(options: argparse.Namespace) -> int:
    from adamoe_ros.sim.randomisation import VARIED, RandomisationSettings
    from adamoe_ros.sim.tasks import TASKS
    from adamoe_ros.training.suite_dataset import SuiteJob, SuiteSettings

    if options.suite != "bimanual":
        return _generated(options, _libero_job(options))
    job = SuiteJob(
        options.out.absolute(),
        tuple(options.tasks or TASKS),
        options.episodes,
        options.seed,
        SuiteSettings(
            fps=options.fps,
            size=(options.height, options.width),
            noise=tuple(options.noise or (0.0, 0.008)),
            all_phrasings=not options.usual_phrasing,
            randomisation=VARIED if options.random_look else RandomisationSettings(),
            gripper=options.gripper,
            lossless=options.images == "png",
        ),
        options.format,
        workers(options),
    )
    return _generated(options, job)


def _libero_job(options: argparse.Namespace) -> SuiteJob:
    from adamoe_ros.sim.libero.process import libero_python
    from adamoe_ros.training.libero_dataset import LiberoDemonstrations, LiberoJob

    python = libero_python(lambda line: print(line, file=sys.stderr, flush=True))
    return LiberoJob(
        options.out.absolute(),
        tuple(f"{options.suite}-{number}" for number in options.tasks or range(10)),
        options.episodes,
        options.seed,
        LiberoDemonstrations(
            noise=tuple(options.noise or (0.0, 0.15)), lossless=options.images == "png"
        ),
        options.format,
        workers(options),
        python=python,
    )


def _generated(options: argparse.Namespace, job: SuiteJob) -> int:
    from adamoe_ros.cli.progress import Steps
    from adamoe_ros.training.suite_dataset import generate_dataset

    job.check()
    with Steps("episodes", len(job.tasks) * job.episodes) as steps:
        outcome = generate_dataset(
            job, lambda task, count: steps.done(f"{task}: {count} more" if count else "", count)
        )
    totals = outcome.totals
    assert totals is not None
    print(f"{options.out}: {totals.episodes} episodes, {totals.frames} frames, {options.format}")
    if outcome.reused:
        print(f"{outcome.reused} episodes taken from an earlier run")
    for task, seeds in outcome.failed.items():
        if seeds:
            print(f"{task}: left out {len(seeds)} in which the expert failed: seeds {seeds}")
    return 0


# --- the others ---------------------------------------------------------------------------------


def _validate(options: argparse.Namespace) -> int:
    from adamoe_ros.cli.progress import Steps
    from adamoe_ros.data.lerobot.dataset_reader import Dataset
    from adamoe_ros.data.validate import validate

    dataset = Dataset(options.dataset)
    profile = _profile(options.robot) if options.robot else None
    with Steps("episodes", len(dataset.episodes)) as steps:
        findings = validate(
            dataset,
            profile,
            options.gripper,
            not options.no_pictures,
            lambda episode: steps.done(""),
        )
    for finding in findings:
        print(f"{finding.level}: {finding.line}")
    errors, warnings = (
        sum(finding.level == level for finding in findings) for level in ("error", "warning")
    )
    frames = sum(entry.length for entry in dataset.episodes)
    print(
        f"{options.dataset}: {len(dataset.episodes)} episodes, {frames} frames: "
        f"{errors} errors, {warnings} warnings"
    )
    return PARTIAL if errors else 0


def _to_bag(options: argparse.Namespace) -> int:
    from adamoe_ros.contract.errors import ContractError, problem
    from adamoe_ros.data.lerobot.dataset_reader import Dataset
    from adamoe_ros.data.to_bag import episode_to_bag
    from adamoe_ros.data.validate import dataset_units

    dataset, profile = Dataset(options.dataset), _profile(options.robot)
    known = {entry.index: entry for entry in dataset.episodes}
    if options.episode not in known:
        raise ContractError(
            problem(
                "--episode", f"one of {', '.join(map(str, known))}"[:200], options.episode, "choose"
            )
        )
    units = dataset_units(dataset, profile, options.gripper)
    count = episode_to_bag(dataset, known[options.episode], options.out, profile, units)
    print(f"{options.out}: {count} messages of episode {options.episode}")
    return 0


def _info(options: argparse.Namespace) -> int:
    if (options.path / "meta").exists():
        return _dataset_info(options.path)
    from adamoe_ros.data.bag.reader import Bag
    from adamoe_ros.data.episode_info import read_info

    with Bag(options.path) as bag:
        for name, entry in sorted(bag.topics.items()):
            flag = "" if entry.count else "  <- no message"
            print(f"{entry.count:>9}  {name}  {entry.type or 'no type'}{flag}")
        info = read_info(options.path, bag.files.custom, bag.note)
        if info is not None:
            judged = {True: "success", False: "failed", None: "not judged"}[info.success]
            print(f"episode: {info.sentence!r}, {info.robot}, {judged}, ended: {info.end or '?'}")
        for line in bag.problems:
            print(line)
        return PARTIAL if bag.state == "partial" else 0


def _dataset_info(path: Path) -> int:
    from adamoe_ros.data.lerobot.dataset_reader import Dataset

    dataset = Dataset(path)
    frames = sum(entry.length for entry in dataset.episodes)
    print(f"{path}: {dataset.version}, {len(dataset.episodes)} episodes, {frames} frames")
    cameras = ", ".join(dataset.cameras) or "none"
    print(f"{dataset.fps:g} Hz; cameras {cameras}; robot {dataset.robot or 'not named'}")
    if dataset.depth_cameras:
        print(f"depth maps, which no policy looks at: {', '.join(dataset.depth_cameras)}")
    for number, task in dataset.tasks.items():
        print(f"task {number}: {task}")
    return 0
