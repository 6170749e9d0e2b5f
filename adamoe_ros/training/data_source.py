# SPDX-License-Identifier: Apache-2.0
"""The demonstrations that the settings ask for: LeRobot datasets, bags, or the simulator's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.workers import Workers
from adamoe_ros.data.bag.bag_files import bags_below
from adamoe_ros.data.bag_conversion import ConvertSettings
from adamoe_ros.data.bag_conversion_many import ConversionJob, convert_bags
from adamoe_ros.data.observations import StreamOptions
from adamoe_ros.data.units import units_for
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.demonstration_store import read_demonstrations
from adamoe_ros.training.lerobot_source import Reading, load_episodes
from adamoe_ros.training.training_config import BagsConfig, DataConfig


def read_data(
    config: DataConfig, sizes: ModelConfig, manifest: CheckpointManifest | None
) -> DemonstrationSet:
    """Read the data set; what is to be made of bags or in the simulator is made first.

    Args:
        sizes: of the network.
        manifest: of the checkpoint whose meaning the data must have; None: their own.

    Raises:
        ContractError: settings that exclude each other, or data that cannot be read.
    """
    _check(config)
    if config.dataset is None:
        return read_demonstrations(config, sizes.vision.image_size, sizes.horizon)
    if config.bags is not None and not config.dataset.exists():
        convert(config.bags, config.dataset, manifest)
    cameras = config.cameras
    if cameras is None and manifest is not None:
        cameras = {slot: slot for slot in manifest.camera_slots}
    reading = Reading(
        sizes.vision.image_size, config.cache, cameras, config.meaning, config.episodes
    )
    episodes, layout = load_episodes(config.dataset, reading)
    return DemonstrationSet(episodes, layout, sizes.horizon)


def _check(config: DataConfig) -> None:
    lines = []
    if config.dataset is None and not config.generate:
        do = "name a dataset's folder, or a task of the simulator"
        lines.append(problem("data", "data.dataset or data.generate", "none", do))
    if config.dataset is not None and config.generate:
        got, do = "data.generate, too", "leave one of them out"
        lines.append(problem("data", "one source of demonstrations: data.dataset", got, do))
    for name in ("bags", "cameras", "meaning"):
        if config.dataset is None and getattr(config, name) is not None:
            do = "name the dataset's folder"
            lines.append(problem(f"data.{name}", "data.dataset with it", "none", do))
    if lines:
        raise ContractError(lines)


def convert(config: BagsConfig, target: Path, manifest: CheckpointManifest | None) -> None:
    """Make a dataset of bags, in a checkpoint's units and cameras if there is one.

    Raises:
        ContractError: no bags, a robot that does not fit, or not one bag that can be used.
    """
    profile = load_profile(profile_path(config.robot, robots_dir()))
    units = units_for(profile, manifest, config.gripper)
    slots = tuple(manifest.camera_slots) if manifest else None
    fps = config.fps or min(camera.rate for camera in profile.present_cameras.values())
    settings = ConvertSettings(
        fps=fps,
        action=config.action,
        stream=StreamOptions(config.namespace, slots, config.instruction),
    )
    bags = [bag for path in config.paths for bag in bags_below(path)]
    job = ConversionJob(
        bags, target, profile, units, settings, workers=Workers(os.cpu_count() or 1)
    )
    done: list[Path] = []

    def report(bag: Path, facts: dict[str, Any] | None, lines: list[str]) -> None:
        done.append(bag)
        what = f"skipped: {'; '.join(lines)}" if facts is None else f"{facts['length']} frames"
        print(f"bags: {len(done)}/{len(bags)} {bag.name}: {what}", file=sys.stderr)

    convert_bags(job, report)
