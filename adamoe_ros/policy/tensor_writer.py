# SPDX-License-Identifier: Apache-2.0
"""A safetensors file written tensor by tensor, so that its size is no matter of memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

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
