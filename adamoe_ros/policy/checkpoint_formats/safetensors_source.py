# SPDX-License-Identifier: Apache-2.0
"""Safetensors files, whole or in shards, read with plain reads.

Not memory-mapped: pages of a map count as this process's memory until it ends, so a conversion
would seem to need the whole file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.policy.checkpoint_formats.sources import SourceTensor, damaged, first_line

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def open_safetensors(path: Path) -> dict[str, SourceTensor]:
    """Tensors of a file, or of a folder with ``model.safetensors`` or its shards.

    Raises:
        ContractError: missing, cut off, or another format; every bad shard is named.
    """
    if path.is_file():
        return _read_header(path)
    if (path / WEIGHTS).is_file():
        return _read_header(path / WEIGHTS)
    if not (path / INDEX).is_file():
        got = "neither" if path.is_dir() else "no such folder"
        raise ContractError(
            problem(str(path), f"{WEIGHTS} or {INDEX}", got, "name the folder that holds it")
        )
    return _read_shards(path)


def _read_shards(folder: Path) -> dict[str, SourceTensor]:
    try:
        places: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
        files = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(str(folder / INDEX), "a map of weights to files", first_line(error)) from None
    found: dict[str, SourceTensor] = {}
    problems = Problems()
    for file in files:
        try:
            found |= _read_header(folder / file)
        except ContractError as error:
            problems.extend(error.problems)
    for name in sorted(places.keys() - found.keys()) if not problems.lines else ():
        problems.add(f"{folder / INDEX}: {name}", "a tensor in its shard", "none", "copy it again")
    problems.raise_if_any()
    return found


def _read_header(path: Path) -> dict[str, SourceTensor]:
    where, expected = str(path), "a whole safetensors file"
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            total = path.stat().st_size
            if size <= 1 or size > total - 8:
                raise damaged(where, expected, f"{total} bytes with a header of {size}")
            header: dict[str, Any] = json.loads(stream.read(size))
        header.pop("__metadata__", None)
        end = 8 + size + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if end != total:
            raise damaged(where, f"{end} bytes as its header says", f"{total} bytes")
        return {name: _tensor(path, 8 + size, entry) for name, entry in header.items()}
    except OSError as error:
        do = "check the path"
        raise ContractError(problem(where, expected, first_line(error), do)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(where, expected, f"a header that is none ({first_line(error)})") from error


def _tensor(path: Path, base: int, entry: dict[str, Any]) -> SourceTensor:
    shape, dtype = tuple(entry["shape"]), _DTYPES[entry["dtype"]]
    begin, end = (base + offset for offset in entry["data_offsets"])
    if torch.Size(shape).numel() * dtype.itemsize != end - begin:
        raise ValueError(f"{shape} of {entry['dtype']} in {end - begin} bytes")

    def values(of: tuple[int, ...], offset: int) -> Tensor:
        out = torch.empty(of, dtype=dtype)
        if out.numel():
            with path.open("rb", buffering=0) as stream:
                stream.seek(begin + offset)
                fill(stream, out, str(path))
        return out

    def slabs() -> Iterator[Tensor]:
        step = torch.Size(shape[1:]).numel() * dtype.itemsize
        for row in range(shape[0]):
            yield values(shape[1:], row * step)

    return SourceTensor(shape, dtype, lambda: values(shape, 0), slabs)


def fill(stream: Any, out: Tensor, where: str) -> None:
    """Read a contiguous tensor's bytes from a stream.

    Raises:
        ContractError: the stream ends before.
    """
    left = memoryview(cast(Any, out.view(-1).view(torch.uint8).numpy()))
    while left:
        count = stream.readinto(left)
        if not count:
            raise damaged(where, f"{len(left)} more bytes", "the end of the file")
        left = left[count:]
