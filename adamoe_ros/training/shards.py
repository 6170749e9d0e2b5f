# SPDX-License-Identifier: Apache-2.0
"""Demonstrations on disk as ``.npz`` shards of whole episodes, written by ``training.generate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.training.demonstration_set import DataLayout, Demonstration, DemonstrationSet
from adamoe_ros.training.run_state import write_file

FORMAT = "adamoe_demonstrations/3"
IMAGES = "images"
_ARRAYS = (IMAGES, "steps", "state", "actions", "objects", "led")


def write_shard(path: Path, episodes: Sequence[Demonstration], layout: DataLayout) -> None:
    """Write whole episodes; the file appears only when it is complete.

    Raises:
        ContractError: the disk is full.
    """
    header = {
        "format": FORMAT,
        "layout": asdict(layout),
        "episodes": [
            {"instructions": e.instructions, "tasks": e.tasks, "seed": e.seed} for e in episodes
        ],
    }
    arrays: dict[str, Any] = {"header": json.dumps(header)}
    for number, episode in enumerate(episodes):
        for name in _ARRAYS:
            values = getattr(episode, name)
            if values is not None:
                arrays[f"{number}/{name}"] = np.ascontiguousarray(values)
    write_file(path, lambda stream: np.savez(stream, **arrays))


def read_shards(folder: Path, rows: int, most: int | None = None) -> DemonstrationSet:
    """Every episode of a folder's shards in name order.

    Args:
        rows: H, rows of a chunk.
        most: first so many episodes; None: all.

    Raises:
        ContractError: no shards, another format, or shards that do not go together.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise ContractError(
            problem(
                str(folder), "demonstration shards (*.npz)", "none", "set data.generate or the path"
            )
        )
    episodes: list[Demonstration] = []
    common: DataLayout | None = None
    for path in paths:
        try:
            found, shown = _read_shard(path)
        except (BadZipFile, ValueError, KeyError, EOFError) as error:
            do = "delete it; it is made anew"
            raise ContractError(problem(str(path), "a whole file", error, do)) from error
        common = common or found
        if found != common:
            raise ContractError(problem(str(path), f"{common}", found, "keep them in two folders"))
        episodes += shown
    assert common is not None
    return DemonstrationSet(episodes[:most], common, rows)


def _read_shard(path: Path) -> tuple[DataLayout, list[Demonstration]]:
    with np.load(path, allow_pickle=False) as document:
        header = _header(path, document)
        file = np.memmap(path, np.uint8, "r")
        episodes = [
            Demonstration(
                **{name: document.get(f"{number}/{name}") for name in _ARRAYS if name != IMAGES},
                images=_mapped(file, document.zip.getinfo(f"{number}/{IMAGES}.npy")),
                instructions=tuple(episode["instructions"]),
                tasks=tuple(episode["tasks"]),
                seed=episode["seed"],
            )
            for number, episode in enumerate(header["episodes"])
        ]
    return _layout(header["layout"]), episodes


def _mapped(file: NDArray[np.uint8], member: ZipInfo) -> NDArray[np.uint8]:
    """Pictures as they lie in the file: every process of a machine has the same memory of them."""
    if member.compress_type != ZIP_STORED:
        raise ValueError("compressed pictures")
    names = file[member.header_offset + 26 : member.header_offset + 30].view("<u2")
    stream = BytesIO(file[member.header_offset + 30 + int(names.sum()) :][:4096].tobytes())
    np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    begin = member.header_offset + 30 + int(names.sum()) + stream.tell()
    found = file[begin : begin + member.file_size - stream.tell()].view(dtype)
    return found.reshape(shape)


def _layout(values: dict[str, Any]) -> DataLayout:
    """JSON has lists where a layout has tuples."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return DataLayout(**fields)


def _header(path: Path, document: Any) -> dict[str, Any]:
    header = json.loads(str(document["header"])) if "header" in document else {}
    if header.get("format") != FORMAT:
        raise ContractError(
            problem(str(path), f"format {FORMAT}", header.get("format"), "generate it anew")
        )
    return dict(header)
