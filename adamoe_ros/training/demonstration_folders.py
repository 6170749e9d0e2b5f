# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of one or several tasks: made where missing, one folder a task, read as one set."""

from __future__ import annotations

from pathlib import Path

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.generate_shards import generate_missing
from adamoe_ros.training.shards import read_shards
from adamoe_ros.training.training_config import DataConfig, GenerateConfig


def task_folder(data: DataConfig, made: GenerateConfig) -> Path:
    """Where demonstrations are kept."""
    return data.folder / (made.name or made.task)


def read_demonstrations(
    data: DataConfig, image_size: tuple[int, int], rows: int
) -> DemonstrationSet:
    """Every task's demonstrations, made first where they are missing.

    Args:
        data: ``generate`` names the tasks; none: the shards of ``folder`` itself.
        image_size: (height, width) of the policy's images.
        rows: H, rows of a chunk.

    Raises:
        ContractError: shards made with other settings, damaged, or that do not go together.
    """
    if not data.generate:
        return read_shards(data.folder, rows, data.episodes)
    parts = []
    for made in data.generate:
        folder = task_folder(data, made)
        generate_missing(made, image_size, folder)
        parts.append(read_shards(folder, rows, data.episodes or made.episodes))
    return _joined(parts, data.folder, rows)


def _joined(parts: list[DemonstrationSet], folder: Path, rows: int) -> DemonstrationSet:
    first = parts[0].layout
    for part in parts[1:]:
        if part.layout != first:
            do = "generate every task with the same robot"
            raise ContractError(problem(str(folder), f"{first}", f"{part.layout}", do))
    return DemonstrationSet([e for part in parts for e in part.episodes], first, rows)
