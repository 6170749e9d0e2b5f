# SPDX-License-Identifier: Apache-2.0
"""What a demo was asked to do, checked before anything is started."""

from __future__ import annotations

import argparse
import os
import platform
import random
import socket
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from adamoe_ros import __version__
from adamoe_ros.cli.demo_scenes import Scene, scenes_from
from adamoe_ros.contract.errors import ContractError, Problems
from adamoe_ros.contract.manifest import load_manifest
from adamoe_ros.contract.profile import RobotProfile

_DOMAINS = range(1, 102)  # what every platform's port range allows
_PARTICIPANTS = 10  # of a domain that are looked for: its first processes may have ended


@dataclass(frozen=True)
class DemoSettings:
    """One run of the demo; the scenes, and arguments of ``adamoe demo`` by the same names."""

    scenes: tuple[Scene, ...]
    robot: str
    checkpoint: Path
    strategy: str
    smoothing: float
    max_duration: float
    real_time_factor: float
    inject_latency: float
    out: Path
    video: bool
    domain: int

    def as_shown(self) -> dict[str, Any]:
        """For results and report: settings, machine and date."""
        shown = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self).items()
        }
        shown.pop("out")
        return {
            **shown,
            "version": __version__,
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": machine(),
        }


def machine() -> str:
    """Processor, cores, memory and system in one line."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}"


def free_domain() -> int:
    """A ROS domain that nobody on this machine uses now."""
    for domain in random.sample(_DOMAINS, len(_DOMAINS)):
        if all(_unused(7410 + 250 * domain + 2 * number) for number in range(_PARTICIPANTS)):
            return domain
    return _DOMAINS[-1]


def _unused(port: int) -> bool:
    """Whether no process listens for DDS discovery there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def settings_from(options: argparse.Namespace, default_checkpoint: Path) -> DemoSettings:
    """Check the arguments.

    Raises:
        ContractError: everything that does not fit.
    """
    problems = Problems()
    if options.episodes < 1:
        problems.add("--episodes", "1 or more", options.episodes, "correct the number")
    if options.seed < 0:
        problems.add("--seed", "0 or more", options.seed, "correct the number")
    if not options.change_after > 0:
        problems.add("--change-after", "more than 0 s", options.change_after, "correct the number")
    if not options.max_duration > 0:
        problems.add("--max-duration", "more than 0 s", options.max_duration, "correct the number")
    if not 0 <= options.smoothing <= 1:
        problems.add("--smoothing", "0 to 1 s", options.smoothing, "correct the number")
    problems.raise_if_any()
    checkpoint = Path(options.checkpoint) if options.checkpoint else default_checkpoint
    return DemoSettings(
        scenes=scenes_from(options, taught_sentences(checkpoint)),
        robot=options.robot,
        checkpoint=checkpoint,
        strategy=options.strategy,
        smoothing=options.smoothing,
        max_duration=options.max_duration,
        real_time_factor=options.real_time_factor,
        inject_latency=options.inject_latency,
        out=Path(options.out),
        video=options.video,
        domain=free_domain() if options.domain is None else options.domain,
    )


def taught_sentences(checkpoint: Path) -> tuple[str, ...]:
    """Sentences that a policy was trained on; none where its manifest is missing (or unreadable).

    What is wrong with a checkpoint is reported by ``demo_environment.check_checkpoint``.
    """
    try:
        return load_manifest(checkpoint / "manifest.json").instructions
    except ContractError:
        return ()


def hardware(profile: RobotProfile) -> str:
    """The robot in one line."""
    joints = len(profile.joint_ids)
    return f"{profile.name}: {profile.description}; {joints} joints, {profile.command_rate:.0f} Hz"
