# SPDX-License-Identifier: Apache-2.0
"""A numpy ``.npz`` of flat names, each array read along its first axis."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamoe_ros.policy.checkpoint_formats.safetensors_source import fill
from adamoe_ros.policy.checkpoint_formats.sources import SourceTensor, damaged, first_line, whole

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
