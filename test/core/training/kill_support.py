# SPDX-License-Identifier: Apache-2.0
"""A run in a process of its own, which tells when it saves, so that it can be killed there."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

from adamoe_ros.training.training_config import load_config
from adamoe_ros.training.training_run import train


def run_and_tell(settings: Path, folder: Path, told: Connection) -> None:
    """Begin or continue a run; a word before each checkpoint and state is written."""

    def roll_out(checkpoint: Path) -> dict[str, float]:
        told.send(checkpoint.name)
        return {"success": 0.0}

    train(load_config(settings), folder, "if-any", roll_out)
    told.send("end")
