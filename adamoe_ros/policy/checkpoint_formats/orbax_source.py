# SPDX-License-Identifier: Apache-2.0
"""Orbax checkpoints read through tensorstore, without JAX: OCDBT, and older folders of zarr arrays.

A leaf's name is its path joined by dots; openpi puts ``params`` in front, and its training code
``value`` behind every leaf. Orbax compresses a whole shard as one chunk, often a whole stacked
parameter of gigabytes: the usual chunks (zarr 2, zstd) are therefore unpacked layer
by layer straight from the file. tensorstore itself would hold such a chunk twice; it reads
everything else.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, Problems
from adamoe_ros.contract.extras import parts_needed
from adamoe_ros.policy.checkpoint_formats.ocdbt_index import Place, ocdbt_places
from adamoe_ros.policy.checkpoint_formats.sources import (
    DTYPES,
    SourceTensor,
    damaged,
    fill,
    first_line,
)

_DTYPES = {**DTYPES, "bfloat16": torch.bfloat16}
_MANIFEST = "manifest.ocdbt"
_META = {".zarray": "zarr", "zarr.json": "zarr3"}
_CONTEXT = {
    "cache_pool": {"total_bytes_limit": 0},
    "cache_pool#ocdbt": {"total_bytes_limit": 100_000_000},
    "data_copy_concurrency": {"limit": 1},
}


def is_orbax(folder: Path) -> bool:
    """Whether this folder itself holds the arrays."""
    return (folder / _MANIFEST).is_file() or any(
        next(folder.glob(f"*/{file}"), None) for file in _META
    )


def open_orbax(folder: Path) -> dict[str, SourceTensor]:
    """Leaves by their path joined with ``/``, without ``params`` in front and ``value`` behind.

    Raises:
        ContractError: tensorstore is not installed, or the folder is damaged.
    """
    try:
        with parts_needed("convert"):
            store = _Store(folder)
    except ValueError as error:
        raise damaged(str(folder), "an Orbax folder", first_line(error)) from error
    found: dict[tuple[str, ...], SourceTensor] = {}
    problems = Problems()
    for key in sorted(store.keys):
        path, _, file = key.rpartition("/")
        if file in _META and path and "/" not in path:
            try:
                found[tuple(path.split("."))] = _leaf(store, path, file)
            except ContractError as error:
                problems.extend(error.problems)
    problems.raise_if_any()
    return _named(found)


class _Store:
    """The folder's keys and values.

    Args:
        folder: of the arrays.
    """

    def __init__(self, folder: Path) -> None:
        import tensorstore

        self.folder = folder.resolve()
        self.context = tensorstore.Context(_CONTEXT)
        files = {"driver": "file", "path": f"{self.folder}/"}
        base = tensorstore.KvStore.open(files, context=self.context).result()
        self.spec: dict[str, Any] = files
        self._kvstore, self._places = base, None
        if (folder / _MANIFEST).is_file():
            self.spec = {"driver": "ocdbt", "base": files, "cache_pool": "cache_pool#ocdbt"}
            self._kvstore = tensorstore.KvStore.open(self.spec, context=self.context).result()
        self.keys = {key.decode() for key in self._kvstore.list().result()}
        if self._kvstore is base:
            sizes = ((key, self.folder / key) for key in self.keys)
            self._places = {key: Place(path, 0, path.stat().st_size) for key, path in sizes}
        else:
            self._places = ocdbt_places(self.folder, base, self.keys)

    def open_array(self, path: str, driver: str) -> Any:
        """tensorstore's array below this key."""
        import tensorstore

        kvstore = {**self.spec, "path": f"{self.spec.get('path', '')}{path}/"}
        spec = {"driver": driver, "kvstore": kvstore, "recheck_cached_data": False}
        spec["fill_missing_data_reads"] = False
        return tensorstore.open(spec, context=self.context).result()

    def small(self, key: str) -> bytes:
        """A value that may be held in memory."""
        return bytes(self._kvstore.read(key).result().value)

    @property
    def in_pieces(self) -> bool:
        """Whether ``stream`` can be used."""
        return self._places is not None

    def stream(self, key: str, packed: bool) -> Any:
        """A value's bytes in order, unpacked if they are zstd.

        Raises:
            KeyError: no such key.
        """
        import pyarrow

        assert self._places is not None
        place = self._places[key]
        if place.file is None:
            source = pyarrow.BufferReader(place.inline)
        else:
            foreign = pyarrow.OSFile(str(place.file))
            source = pyarrow.PythonFile(_Range(foreign, place.offset, place.length), mode="r")
        return pyarrow.CompressedInputStream(source, "zstd") if packed else source


class _Range:
    """Part of an open file, as a file."""

    closed = False

    def __init__(self, file: Any, offset: int, length: int) -> None:
        file.seek(offset)
        self._file, self._left = file, length

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        count = self._left if count < 0 else min(count, self._left)
        data: bytes = self._file.read(count)
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Let go of the file."""
        self.closed = True
        self._file.close()


def _named(found: dict[tuple[str, ...], SourceTensor]) -> dict[str, SourceTensor]:
    if found and all(path[0] == "params" for path in found):
        found = {path[1:]: tensor for path, tensor in found.items()}
    if found and all(path[-1] == "value" for path in found):
        found = {path[:-1]: tensor for path, tensor in found.items()}
    return {"/".join(path): tensor for path, tensor in found.items()}


def _leaf(store: _Store, path: str, file: str) -> SourceTensor:
    where = f"{store.folder}: {path}"
    try:
        array = store.open_array(path, _META[file])
        meta = json.loads(store.small(f"{path}/{file}"))
    except ValueError as error:
        raise damaged(where, "an array", first_line(error)) from error
    shape, dtype = tuple(array.shape), _TYPES_BY_NAME.get(array.dtype.name)
    if dtype is None:
        raise damaged(where, "an array of numbers", array.dtype.name)

    def bands() -> Iterator[Tensor]:
        rows = array.chunk_layout.read_chunk.shape[0] or shape[0]
        for start in range(0, shape[0], rows):
            yield from _read(array[start : min(start + rows, shape[0])], where)

    slabs: Callable[[], Iterator[Tensor]] = bands
    if file == ".zarray" and store.in_pieces and _streamable(meta):

        def slabs() -> Iterator[Tensor]:
            return _unpack(store, path, meta, where)

    return SourceTensor(shape, dtype, lambda: _read(array, where), slabs)


_TYPES_BY_NAME = {
    "float64": torch.float64, "float32": torch.float32, "float16": torch.float16,
    "bfloat16": torch.bfloat16, "int64": torch.int64, "int32": torch.int32, "int8": torch.int8,
    "uint8": torch.uint8, "bool": torch.bool,
}  # fmt: skip


def _read(array: Any, where: str) -> Tensor:
    try:
        values = np.ascontiguousarray(array.read().result())
    except ValueError as error:
        raise damaged(where, "a whole array", first_line(error)) from error
    if values.dtype.name == "bfloat16":
        return torch.from_numpy(values.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(values)


def _streamable(meta: dict[str, Any]) -> bool:
    """Whether chunks are rows of plain numbers behind zstd or nothing."""
    packing = meta.get("compressor")
    plain = packing is None or packing.get("id") == "zstd"
    known = isinstance(meta["dtype"], str) and meta["dtype"] in _DTYPES
    return plain and known and meta["order"] == "C" and not meta.get("filters")


def _unpack(store: _Store, path: str, meta: dict[str, Any], where: str) -> Iterator[Tensor]:
    """Rows of the first axis: every chunk of a band is unpacked in step with the others."""
    (length, *shape), (rows, *edges) = meta["shape"], meta["chunks"]
    dtype, packed = _DTYPES[meta["dtype"]], meta["compressor"] is not None
    counts = [math.ceil(size / edge) for size, edge in zip(shape, edges, strict=True)]
    cells = list(itertools.product(*map(range, counts)))
    dot = meta.get("dimension_separator") or "."
    try:
        for band in range(math.ceil(length / rows)):
            names = (dot.join(map(str, (band, *cell))) for cell in cells)
            streams = [store.stream(f"{path}/{name}", packed) for name in names]
            for _ in range(min(rows, length - band * rows)):
                slab = torch.empty(shape, dtype=dtype)
                for cell, stream in zip(cells, streams, strict=True):
                    part = torch.empty(edges, dtype=dtype)  # an edge's chunk is stored in full
                    fill(stream, part, where)
                    _place(slab, part, [i * edge for i, edge in zip(cell, edges, strict=True)])
                yield slab
    except KeyError as error:
        raise damaged(where, f"chunk {error.args[0]}", "none") from error
    except OSError as error:
        raise damaged(where, "a whole array", first_line(error)) from error


def _place(slab: Tensor, part: Tensor, starts: list[int]) -> None:
    """Put a chunk where it belongs, without what sticks out."""
    if part.shape == slab.shape:
        slab.copy_(part)
        return
    room = slab[tuple(slice(s, s + e) for s, e in zip(starts, part.shape, strict=True))]
    room.copy_(part[tuple(slice(0, size) for size in room.shape)])
