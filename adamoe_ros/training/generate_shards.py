# SPDX-License-Identifier: Apache-2.0
"""A folder of demonstrations, made by one process per core; a stopped run goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.workers import UnitWork, Workers
from adamoe_ros.training.generate_demonstrations import Generator
from adamoe_ros.training.run_state import write_file
from adamoe_ros.training.shards import write_shard
from adamoe_ros.training.training_config import GenerateConfig
from adamoe_ros.training.training_log import Counter

SETTINGS_FILE = "generated.json"
SHARD = 10  # episodes a file: what a kill may cost


def shard_path(folder: Path, first: int) -> Path:
    """File of the episodes from number ``first`` on."""
    return folder / f"episodes_{first:06d}.npz"


def generate_missing(
    settings: GenerateConfig, size: tuple[int, int], folder: Path, shard: int = SHARD
) -> int:
    """Complete a folder of demonstrations.

    Args:
        settings: what to show.
        size: (height, width) of the policy's images.
        folder: gets the shards and the settings they were made with.
        shard: episodes a file.

    Returns:
        Episodes that were run now.

    Raises:
        ContractError: the folder was made with other settings, or the disk is full.
    """
    _claim(settings, size, folder)
    starts = [n for n in range(0, settings.episodes, shard) if not shard_path(folder, n).exists()]
    if not starts:
        return 0
    jobs = [(settings, size, folder, n, min(n + shard, settings.episodes)) for n in starts]
    total = sum(job[4] - job[3] for job in jobs)
    counter = Counter(f"demonstrations of {settings.task}", total)
    for count in _run(jobs):
        counter.add(count)
    return total


def _run(jobs: list[tuple[GenerateConfig, tuple[int, int], Path, int, int]]) -> Iterator[int]:
    work = UnitWork(_make_shard, jobs, begin=_one_thread)
    for _, done in Workers(len(os.sched_getaffinity(0))).run(work):
        yield done.result()


def _one_thread() -> None:
    """A process per core leaves no core for threads."""
    import torch

    torch.set_num_threads(1)


def _make_shard(
    settings: GenerateConfig, size: tuple[int, int], folder: Path, first: int, end: int
) -> int:
    generator = Generator(settings, size)
    try:
        shown = [generator.episode(number) for number in range(first, end)]
    finally:
        generator.close()
    episodes = [episode for episode in shown if episode is not None]
    write_shard(shard_path(folder, first), episodes, generator.layout)
    return end - first


def _claim(settings: GenerateConfig, size: tuple[int, int], folder: Path) -> None:
    """Note the settings in a new folder; refuse one that was made with others."""
    wanted: dict[str, Any] = settings.model_dump(mode="json", exclude={"episodes", "name"})
    wanted["image_size"] = list(size)
    path = folder / SETTINGS_FILE
    if not path.is_file():
        text = json.dumps(wanted, indent=1).encode()
        write_file(path, lambda stream: stream.write(text))
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    different = {key: found.get(key) for key in wanted if found.get(key) != wanted[key]}
    if different:
        expected = {key: wanted[key] for key in different}
        raise ContractError(
            problem(
                str(path), f"{expected}", different, "delete the folder or set another data.folder"
            )
        )
