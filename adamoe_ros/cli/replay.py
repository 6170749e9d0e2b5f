# SPDX-License-Identifier: Apache-2.0
"""Replay bags through a policy, deterministically, and say in numbers how well it does.

Writes results.json and report.html. Exit code 0: everything was read; 3: a part could not be read, or
a bag was skipped (by name); 2: nothing could be done with what was given.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamoe_ros.cli.dataset import PARTIAL
from adamoe_ros.cli.options import add_options, declared_values
from adamoe_ros.contract.files import replace_text
from adamoe_ros.contract.parameters import same_as
from adamoe_ros.control.policy_settings import PolicySettings

if TYPE_CHECKING:
    from adamoe_ros.contract.profile import RobotProfile
    from adamoe_ros.evaluation.replay.run import BagRecord, ReplaySettings
    from adamoe_ros.policy.actor import PolicyActor


_DECLARED = "strategy flow_steps seed device execution_horizon rtc_jacobian rtc_max_weight"


@dataclass(frozen=True)
class _Policy(PolicySettings):
    seed: int = same_as(PolicySettings, "seed", default=0)  # two replays are to be the same


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe replay``."""
    parser.add_argument("bags", type=Path, nargs="+", help="bags or folders of bags")
    parser.add_argument("--robot", required=True, help="profile of the robot that recorded them")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        action="append",
        default=[],
        help="policy; give two to compare them; none: look at the inputs only",
    )
    parser.add_argument("--out", type=Path, default=Path("out/replay"), help="folder of the report")
    parser.add_argument(
        "--stride",
        type=float,
        default=0.5,
        help="s between inferences, 0: at every observation; rtc and rtc_trained, whose chunks go on "
        "from each other, infer when policy_node would",
    )
    parser.add_argument(
        "--truth",
        choices=("auto", "command", "next_state"),
        default="auto",
        help="compared with: recorded commands, or the state one row later",
    )
    parser.add_argument("--latency", type=float, default=0.1, help="s from observation to chunk")
    add_options(parser, _Policy, _DECLARED, flow_steps="steps")
    parser.add_argument("--namespace", default="", help="of the robot's topics in the bags")
    parser.add_argument("--instruction", default="", help="sentence instead of the bag's")
    parser.add_argument(
        "--clock",
        choices=("auto", "log", "clock", "stamps"),
        default="auto",
        help="what stamps are compared with: the recorder's clock, /clock, or nothing",
    )
    parser.add_argument(
        "--prediction-bag", type=Path, metavar="DIR", help="write bags with the predictions there"
    )
    parser.add_argument("--no-video", action="store_true", help="no video in the report")
    parser.add_argument(
        "--live", action="store_true", help="publish one bag on its topics with /clock instead"
    )
    parser.add_argument("--rate", type=float, default=1.0, help="--live: speed")
    parser.add_argument("--loop", action="store_true", help="--live: begin again at the end")


def run(options: argparse.Namespace) -> int:
    """Replay.

    Raises:
        ContractError: options, bags, profile and checkpoints do not fit.
    """
    from adamoe_ros.contract.profile_io import load_profile, profile_path
    from adamoe_ros.contract.resources import robots_dir
    from adamoe_ros.data.bag.bag_files import bags_below

    _check(options)
    profile = load_profile(profile_path(options.robot, robots_dir()))
    bags = [bag for path in options.bags for bag in bags_below(path)]
    if options.live:
        return _live(bags, profile, options)
    settings = _settings(options)
    policies = _policies(options, profile)
    return _Replay(options, profile, settings, policies).run(bags)


def _check(options: argparse.Namespace) -> None:
    from adamoe_ros.contract.errors import Problems

    problems = Problems()
    if not 0 <= options.stride <= 3600:
        problems.add("--stride", "0 ... 3600 s", options.stride, "choose one inside")
    if not 0 <= options.latency <= 10:
        problems.add("--latency", "0 ... 10 s", options.latency, "choose one inside")
    if not 0.01 <= options.rate <= 1000:
        problems.add("--rate", "0.01 ... 1000", options.rate, "choose one inside")
    problems.raise_if_any()


def _settings(options: argparse.Namespace) -> ReplaySettings:
    from adamoe_ros.data.observations import StreamOptions
    from adamoe_ros.evaluation.replay.run import ReplaySettings

    stream = StreamOptions(options.namespace, None, options.instruction, options.clock)
    return ReplaySettings(options.stride, options.truth, options.latency, stream)


def _policies(options: argparse.Namespace, profile: RobotProfile) -> dict[str, PolicyActor]:
    from adamoe_ros.contract.errors import ContractError, Problems

    if not options.checkpoint:  # only the inputs are looked at: nothing of torch is loaded
        return {}
    from adamoe_ros.policy.actor import PolicyActor
    from adamoe_ros.policy.checkpoint import read_checkpoint

    settings = _Policy(**declared_values(options, _Policy))
    problems, found = Problems(), {}
    for folder, name in zip(options.checkpoint, _labels(options), strict=True):
        try:
            found[name] = PolicyActor(profile, read_checkpoint(folder), settings)
        except ContractError as error:
            problems.extend(error.problems)
    problems.raise_if_any()
    for actor in found.values():
        actor.warm_up()
    return found


def _labels(options: argparse.Namespace) -> list[str]:
    """Short names that differ: the folder's, or its parent's where that says nothing."""
    paths = [path.resolve() for path in options.checkpoint]
    names = [path.parent.name if path.name == "checkpoint" else path.name for path in paths]
    if len(set(names)) < len(names):
        names = [f"{name} ({number + 1})" for number, name in enumerate(names)]
    return names


class _Replay:
    """Bags one after the other, and the report."""

    def __init__(
        self,
        options: argparse.Namespace,
        profile: RobotProfile,
        settings: ReplaySettings,
        policies: dict[str, PolicyActor],
    ) -> None:
        self._options, self._profile = options, profile
        self._settings, self._policies = settings, policies
        self._records: list[BagRecord] = []
        self._skipped: dict[str, list[str]] = {}
        self._videos: dict[str, tuple[bytes, list[float]]] = {}

    def run(self, bags: list[Path]) -> int:
        from adamoe_ros.contract.errors import ContractError

        for path in bags:
            try:
                self._one(path)
            except ContractError as error:
                self._skipped[path.name] = list(error.problems)
                print(f"{path.name}: skipped: {'; '.join(error.problems)}")
        if not self._records:
            raise ContractError([line for lines in self._skipped.values() for line in lines])
        self._write()
        if not any(record.observations for record in self._records):
            raise ContractError([line for item in self._records for line in item.notes])
        partial = [record.path.name for record in self._records if record.state == "partial"]
        if partial:
            print(f"{len(partial)} bags read in part: {', '.join(partial)}")
        return PARTIAL if partial or self._skipped else 0

    def _one(self, path: Path) -> None:
        from adamoe_ros.cli.progress import Steps
        from adamoe_ros.data.bag.reader import Bag
        from adamoe_ros.evaluation.replay.bag_pictures import ReplayVideo
        from adamoe_ros.evaluation.replay.prediction_bag import PredictionBag
        from adamoe_ros.evaluation.replay.run import BagReplay, Listeners

        video = ReplayVideo()
        wanted = self._options.prediction_bag
        target = None if wanted is None else wanted / path.name
        kept = (
            None
            if target is None
            else PredictionBag(self._profile, self._policies, self._settings.latency_s)
        )
        with Bag(path) as bag, Steps(f"{path.name}, s", _length(bag), " s") as steps:
            done = 0.0

            def progress(seconds: float) -> None:
                nonlocal done
                if seconds - done >= 1.0:
                    steps.done("", seconds - done)
                    done = seconds

            def observed(observation: Any) -> None:
                if not self._options.no_video:
                    start = replay.record.start_ns
                    video.add((observation.stamp_ns - start) / 1e9, observation.images)

            listeners = Listeners(
                progress,
                observed,
                kept.predicted if kept else lambda *_: None,
                kept.commanded if kept else None,
            )
            replay = BagReplay(bag, self._profile, self._policies, self._settings, listeners)
            record = replay.run()
            if kept is not None and target is not None:
                print(f"{target}: {kept.write(bag, target)} messages")
        self._records.append(record)
        self._write_video(video, path.name)
        for line in (*record.problems, *record.notes):
            print(f"  {line}")
        speed = record.duration_s / record.wall_s if record.wall_s else 0.0
        print(
            f"{path.name}: {record.duration_s:.1f} s in {record.wall_s:.1f} s "
            f"({speed:.1f}x), {record.observations} observations"
        )

    def _write_video(self, video: Any, name: str) -> None:
        if video.times:
            self._options.out.mkdir(parents=True, exist_ok=True)
            path = self._options.out / f".{name}.mp4"
            data = video.write(path)
            path.unlink(missing_ok=True)
            self._videos[name] = (data, video.times)

    def _write(self) -> None:
        from adamoe_ros import __version__
        from adamoe_ros.evaluation.replay.page import report_page
        from adamoe_ros.evaluation.replay.replay_results import results

        options, out = self._options, self._options.out
        facts = {
            "version": __version__,
            "robot": self._profile.name,
            "stride_s": options.stride,
            "strategy": options.strategy,
            "latency_s": options.latency,
            "policies": {name: actor.describe() for name, actor in self._policies.items()},
        }
        names = self._profile.joint_ids
        document = results(self._records, names, facts, self._skipped)
        out.mkdir(parents=True, exist_ok=True)
        replace_text(out / "results.json", json.dumps(document, indent=1) + "\n")
        replace_text(out / "report.html", report_page(self._records, names, document, self._videos))
        for name, entry in document["policies"].items():
            open_loop = entry["open_loop"]
            if open_loop["joints_mean_abs"] is None:
                print(f"{name}: no observation to compare with")
                continue
            print(
                f"{name}: mean joint error {open_loop['joints_mean_abs']} rad, "
                f"normalised {open_loop['normalized_mean_abs']}, "
                f"grippers right {open_loop['gripper_accuracy']}"
            )
            human = entry.get("open_loop_interventions")
            if human is not None:
                print(
                    f"{name}: where a human led: mean joint error {human['joints_mean_abs']} rad, "
                    f"normalised {human['normalized_mean_abs']}"
                )
        print(f"{out / 'report.html'}")


def _length(bag: Any) -> float:
    """s of a bag by its metadata; 0 where nobody knows."""
    duration = bag.files.metadata.get("duration")
    nanoseconds = duration.get("nanoseconds") if isinstance(duration, dict) else None
    return nanoseconds / 1e9 if isinstance(nanoseconds, (int, float)) else 0.0


def _live(bags: list[Path], profile: RobotProfile, options: argparse.Namespace) -> int:
    from adamoe_ros.contract.errors import ContractError, problem
    from adamoe_ros.ros.runner import require_overlay

    if len(bags) != 1:
        raise ContractError(problem("--live", "one bag", f"{len(bags)}", "name one"))
    require_overlay()
    from adamoe_ros.ros.sim.bag_player import play

    return play(bags[0], profile, options.rate, options.loop, options.namespace)
