# SPDX-License-Identifier: Apache-2.0
"""Foreign files, read tensor by tensor: the interface, ``.npz`` and ``.safetensors``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, Problems, problem


@dataclass(frozen=True)
class SourceTensor:
    """One tensor of a source.

    Attributes:
        shape, dtype: known without reading it.
        read: the whole tensor, in memory of its own.
        slabs: the same along the first axis, one entry after another; the memory of an entry may
            be given up as soon as the next is asked for.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    slabs: Callable[[], Iterator[Tensor]]

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


TensorSource = Mapping[str, SourceTensor]
"""Foreign name -> tensor."""


def whole(shape: tuple[int, ...], dtype: torch.dtype, read: Callable[[], Tensor]) -> SourceTensor:
    """A tensor that can only be read as a whole."""

    def slabs() -> Iterator[Tensor]:
        yield from read()

    return SourceTensor(shape, dtype, read, slabs)


def damaged(where: str, what: str, found: object) -> ContractError:
    """A file that is not what its name or header says."""
    return ContractError(problem(where, what, found, "copy or download it again"))


def first_line(error: BaseException) -> str:
    """What a library's exception says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


DTYPES = {
    "<f8": torch.float64, "<f4": torch.float32, "<f2": torch.float16,
    "|V2": torch.bfloat16,  # how numpy stores JAX's bfloat16
    "<i8": torch.int64, "<i4": torch.int32, "|i1": torch.int8, "|u1": torch.uint8, "|b1": torch.bool,
}  # fmt: skip


def open_npz(path: Path) -> dict[str, SourceTensor]:
    """Arrays by name.

    Raises:
        ContractError: missing, cut off, or with arrays that are no numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
        return {name.removesuffix(".npy"): _array(path, name) for name in members}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise damaged(str(path), "an .npz of numbers", first_line(error)) from error


@contextmanager
def _member(path: Path, name: str) -> Iterator[tuple[Any, tuple[int, ...], bool, str]]:
    """Stream behind the header; shape, column order, dtype."""
    with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, columns, dtype = read(stream)
        yield stream, shape, columns, dtype.str


def _array(path: Path, name: str) -> SourceTensor:
    with _member(path, name) as (_, shape, columns, code):
        dtype = DTYPES.get(code)
    where = f"{path}: {name.removesuffix('.npy')}"
    if dtype is None:
        raise ValueError(f"{name} of type {code}")
    stored = shape[::-1] if columns else shape

    def read() -> Tensor:
        out = torch.empty(stored, dtype=dtype)
        with _checked(where), _member(path, name) as (stream, *_):
            fill(stream, out, where)
        return out.permute(*reversed(range(out.dim()))) if columns else out

    def slabs() -> Iterator[Tensor]:
        with _checked(where), _member(path, name) as (stream, *_):
            for _row in range(shape[0]):
                out = torch.empty(shape[1:], dtype=dtype)
                fill(stream, out, where)
                yield out

    return whole(shape, dtype, read) if columns else SourceTensor(shape, dtype, read, slabs)


@contextmanager
def _checked(where: str) -> Iterator[None]:
    """Damage that only shows when the values are read (check sums)."""
    try:
        yield
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise damaged(where, "a whole array", first_line(error)) from error


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
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
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
