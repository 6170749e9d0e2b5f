# SPDX-License-Identifier: Apache-2.0
"""A robot's bag and datasets of it, small enough to train on within seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from bag_support import motion, simulated_robot, write_mcap
from training_sizes import SMALL_CHANGES

from adamoe_ros.cli.main import main
from adamoe_ros.data.bag_conversion import ConvertSettings
from adamoe_ros.data.bag_conversion_many import ConversionJob, convert_bags
from adamoe_ros.data.lerobot.dataset_schema import OURS, Version
from adamoe_ros.data.units import units_for

PROFILE = simulated_robot(type="compressed")
ROLES = [f"{side}_{joint}" for side in ("left", "right") for joint in (*range(6), "gripper")]
NETWORK = {
    **SMALL_CHANGES,
    **{"aux_positions": 0, "num_views": 3, "state_dim": 14, "action_dim": 14},
}
DENSE = {"moe.variant": "dense", "moe.num_experts": 0, "moe.top_k": 0}


def write_profile(path: Path) -> Path:
    """The simulated robot with small compressed pictures, as a file of the user's own."""
    path.write_text(yaml.safe_dump(PROFILE.model_dump(mode="json")), encoding="utf-8")
    return path


def write_bag(folder: Path, seconds: float = 1.0) -> Path:
    """One episode of the robot."""
    return write_mcap(folder, motion(PROFILE, seconds))


def write_dataset(folder: Path, version: Version = "v3.0", lossless: bool = True) -> Path:
    """A dataset of one bag, with everything that ours say of themselves."""
    bag = write_bag(folder.with_name(f"{folder.name}_bag"))
    settings = ConvertSettings(fps=25, lossless=lossless)
    units = units_for(PROFILE, None, "1_open")
    convert_bags(ConversionJob([bag], folder, PROFILE, units, settings, version), lambda *_: None)
    return folder


def as_others_make_it(folder: Path) -> Path:
    """Take away what only our datasets have."""
    (folder / OURS).unlink()
    path = folder / "meta" / "info.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    del info["features"]["stamps_ns"]
    path.write_text(json.dumps(info), encoding="utf-8")
    return folder


def change_rows(folder: Path, change: Callable[[dict[str, list[Any]]], None]) -> None:
    """Change the columns of the first data file."""
    path = next((folder / "data").rglob("*.parquet"))
    table = pq.read_table(path)
    columns = table.to_pydict()
    change(columns)
    pq.write_table(pa.table(columns, schema=table.schema), path)


def train_command(out: Path, *options: str, **settings: Any) -> int:
    """``adamoe train`` on two steps of the small network; settings by dotted key."""
    given = {
        "steps": 2,
        "batch_size": 4,
        "threads": 1,
        "tensorboard": False,
        "data.cache": str(out.parent / "cache"),
        **settings,
    }
    if "model.checkpoint" not in given:
        given = {"model.changes": NETWORK, **given}
    words = [f"--set={key}={json.dumps(value)}" for key, value in given.items()]
    return main(["train", "--out", str(out), *options, *words])
