# SPDX-License-Identifier: Apache-2.0
"""A safetensors file, read by memory map or written tensor by tensor."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, problem

_BLOCK = 1 << 23  # bytes


class TensorFile(Mapping[str, Tensor]):
    """Tensors by name, in the order of the file's data; use it in a ``with`` block.

    Tensors stay valid after the block: they hold the mapping themselves.

    Args:
        path: a ``.safetensors`` file.

    Raises:
        ContractError: missing, cut off, or another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(str(path), "pt")
        except (OSError, SafetensorError) as error:
            line = str(error).splitlines()[0]
            raise ContractError(
                problem(str(path), "a whole safetensors file", line, "copy it again")
            ) from error
        self._names = tuple(self._file.offset_keys())
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read_ahead, name="read-ahead", daemon=True)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __enter__(self) -> TensorFile:
        self._reader.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._reader.join()

    def _read_ahead(self) -> None:
        """Bring the file into the page cache."""
        with self.path.open("rb", buffering=0) as stream, open(os.devnull, "wb") as nowhere:
            try:  # Linux moves the pages without copying them, which a second core can spare
                start = 0
                while not self._stop.is_set():
                    moved = os.sendfile(nowhere.fileno(), stream.fileno(), start, _BLOCK)
                    if not moved:
                        return
                    start += moved
            except (OSError, AttributeError):
                self._read_and_forget(stream)

    def _read_and_forget(self, stream: RawIOBase) -> None:
        buffer = bytearray(_BLOCK)
        while not self._stop.is_set() and stream.readinto(buffer):
            pass


_CODES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int8: "I8",
    torch.uint8: "U8",
}
_ALIGN = 8  # bytes; header and data are padded to it


@dataclass(frozen=True)
class TensorSpec:
    """Shape and dtype of a tensor that is to come."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Size in the file."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def specs_of(tensors: Mapping[str, Tensor]) -> dict[str, TensorSpec]:
    """Specifications of tensors that are there already."""
    return {name: TensorSpec(tuple(t.shape), t.dtype) for name, t in tensors.items()}


def write_tensors(
    path: Path, specs: Mapping[str, TensorSpec], tensors: Iterable[tuple[str, Tensor]]
) -> None:
    """Write a whole file and flush it to disk.

    Args:
        specs: of every tensor, in the order of the data.
        tensors: name and values in the same order; on any device.

    Raises:
        ValueError: a tensor is missing, surplus, out of order, or not as specified.
        OSError: the disk is full or not writable; what was written is left to the caller.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, spec in specs.items():
        entry = {"dtype": _CODES[spec.dtype], "shape": list(spec.shape)}
        header[name] = {**entry, "data_offsets": [offset, offset + spec.nbytes]}
        offset += spec.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGN)
    wanted = iter(specs.items())
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors:
            got, expected = (
                (name, TensorSpec(tuple(tensor.shape), tensor.dtype)),
                next(wanted, None),
            )
            if got != expected:
                raise ValueError(f"expected {expected}, got {got}")
            stream.write(_buffer(tensor))
        left = next(wanted, None)
        if left is not None:
            raise ValueError(f"expected {left[0]}, got no further tensor")
        stream.flush()
        os.fsync(stream.fileno())


def _buffer(tensor: Tensor) -> memoryview:
    """Bytes of a tensor without a copy where it lies in host memory."""
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data
