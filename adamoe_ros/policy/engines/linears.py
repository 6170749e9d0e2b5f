# SPDX-License-Identifier: Apache-2.0
"""One matrix product with what directly follows it, in the forms that devices are fast with.

    plain    torch's own; every device
    packed   oneDNN with the weight laid out once (CPU): a plain product repacks it at every call,
             which costs as much as multiplying 50 rows
    mkl      the same by MKL, for one number of rows (float32, Intel): a tenth faster at 50 rows, but
             without fused followers
    int8     8-bit weights, one scale per output (weight-only): half of the bytes of bfloat16

The packed forms use private operators of torch; ``packing_works`` and ``mkl_packing_works`` try them,
and where they fail the next form stands in. Shapes: x (..., I), weight (O, I), bias (O,).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

_WORTH_PACKING = 1 << 17  # weights; below, the call itself costs more than the packing saves
# what torch says of a private operator that is gone, takes other arguments, or not this processor
_NO_OPERATOR = (AttributeError, RuntimeError, TypeError, NotImplementedError)
_MKL_ROWS = (16, 128)  # fewer cost as much as so many; with more, oneDNN is as fast


class FusedLinear(Protocol):
    """x -> x W^T + b, and fused followers."""

    def __call__(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""

    def gelu(self, x: Tensor) -> Tensor:
        """Tanh-approximated GELU of the product."""

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """The product plus ``other`` (..., O)."""


class PlainLinear(NamedTuple):
    """torch's product; a named tuple, so that a compiler sees tensors only."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """See ``FusedLinear``."""
        return F.linear(x, self.weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        """See ``FusedLinear``."""
        return F.gelu(F.linear(x, self.weight, self.bias), approximate="tanh")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """See ``FusedLinear``."""
        return F.linear(x, self.weight, self.bias) + other


class PackedLinear:
    """oneDNN's product with a weight in its own layout.

    Args:
        rows: of x that the layout is made for; others work, slightly slower.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)
        self._bias = None if bias is None else bias.detach().to(weight.dtype).contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """See ``FusedLinear``."""
        return self._run(x, "none", "")

    def gelu(self, x: Tensor) -> Tensor:
        """See ``FusedLinear``."""
        return self._run(x, "gelu", "tanh")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """See ``FusedLinear``."""
        run = torch.ops.mkldnn._linear_pointwise.binary
        out: Tensor = run(x, other.contiguous(), self._weight, self._bias, "add")
        return out

    def _run(self, x: Tensor, follower: str, form: str) -> Tensor:
        run = torch.ops.mkldnn._linear_pointwise
        out: Tensor = run(x, self._weight, self._bias, follower, [], form)
        return out


class MklLinear:
    """MKL's product with a weight in its own layout, which holds for one number of rows only.

    Other inputs are cut into so many rows each, the last filled up with zeros.

    Args:
        rows: of x.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int) -> None:
        self._rows = rows
        self._weight = torch.ops.mkl._mkl_reorder_linear_weight(weight.detach().contiguous(), rows)
        # the operator reads sizes here, and numbers only for another number of rows
        self._sizes = weight.new_zeros(1).detach().expand(weight.shape)
        self._bias = None if bias is None else bias.detach().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """See ``FusedLinear``."""
        flat = x.reshape(-1, x.shape[-1])
        if len(flat) != self._rows:
            parts = [self._run(filled(part, self._rows)) for part in flat.split(self._rows)]
            out = torch.cat(parts)[: len(flat)]
        else:
            out = self._run(flat)
        return out.view(*x.shape[:-1], -1)

    def gelu(self, x: Tensor) -> Tensor:
        """See ``FusedLinear``."""
        return F.gelu(self(x), approximate="tanh")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """See ``FusedLinear``."""
        return self(x).add_(other)

    def _run(self, rows: Tensor) -> Tensor:
        run = torch.ops.mkl._mkl_linear
        out: Tensor = run(rows, self._weight, self._sizes, self._bias, self._rows)
        return out


def filled(rows: Tensor, count: int) -> Tensor:
    """(N, I) -> (count, I), zeros behind."""
    return rows if len(rows) == count else F.pad(rows, (0, 0, 0, count - len(rows)))


class Int8Linear(NamedTuple):
    """Weights as 8-bit whole numbers, exact in the activations' type, and a scale per output."""

    weight: Tensor
    """(O, I) int8."""
    scale: Tensor
    """(O,) in the activations' type."""
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """See ``FusedLinear``."""
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale
        return y if self.bias is None else y + self.bias

    def gelu(self, x: Tensor) -> Tensor:
        """See ``FusedLinear``."""
        return F.gelu(self(x), approximate="tanh")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """See ``FusedLinear``."""
        return self(x) + other


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric 8 bits per output: (..., O, I) -> int8 of that shape, (..., O) float32 scales."""
    scale = weight.detach().float().abs().amax(-1).clamp(min=1e-12) / 127.0
    levels = (weight.detach().float() / scale.unsqueeze(-1)).round().clamp(-127, 127)
    return levels.to(torch.int8), scale


def int8_linear(weight: Tensor, bias: Tensor | None = None) -> Int8Linear:
    """The 8-bit form of a weight."""
    levels, scale = quantise(weight)
    return Int8Linear(levels, scale.to(weight.dtype), None if bias is None else bias.detach())


@cache
def packing_works(dtype: torch.dtype) -> bool:
    """Whether this torch and this processor run packed products of a type, and run them right.

    Tried with every follower on small numbers, once per process; no exception leaves.
    """
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    x, weight = torch.randn(5, 16).to(dtype), torch.randn(12, 16).to(dtype)
    bias, other = torch.randn(12).to(dtype), torch.randn(5, 12).to(dtype)
    plain = PlainLinear(weight, bias)
    try:
        with torch.inference_mode():
            packed = PackedLinear(weight, bias, 5)
            pairs = [
                (packed(x), plain(x)),
                (packed.gelu(x), plain.gelu(x)),
                (packed.plus(x, other), plain.plus(x, other)),
            ]
    except _NO_OPERATOR:
        return False
    close = 1e-4 if dtype == torch.float32 else 0.1
    return all(torch.allclose(a.float(), b.float(), rtol=close, atol=close) for a, b in pairs)


@cache
def mkl_is_at_home() -> bool:
    """Whether plain float32 products run by MKL on the maker's own processors.

    There they are as fast as oneDNN's packed ones at some hundred rows; on others they are not.
    """
    if not torch.backends.mkl.is_available():
        return False
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


@cache
def mkl_packing_works() -> bool:
    """Whether MKL's packed products run here and run right; tried once, no exception leaves."""
    if not mkl_is_at_home():
        return False
    x, weight, bias = torch.randn(5, 16), torch.randn(12, 16), torch.randn(12)
    try:
        with torch.inference_mode():
            found = MklLinear(weight, bias, 3)(x)
    except _NO_OPERATOR:
        return False
    return torch.allclose(found, PlainLinear(weight, bias)(x), rtol=1e-4, atol=1e-4)


def packed_linear(
    weight: Tensor, bias: Tensor | None, rows: int, fixed: bool = False
) -> FusedLinear:
    """The packed form where it works and pays, else the plain one.

    Args:
        fixed: the rows are nearly always so many, and no follower needs to be fused.
    """
    large = weight.numel() >= _WORTH_PACKING and weight.device.type == "cpu"
    few = _MKL_ROWS[0] <= rows <= _MKL_ROWS[1] and weight.dtype == torch.float32
    if large and fixed and few and mkl_packing_works():
        return MklLinear(weight, bias, rows)
    if large and packing_works(weight.dtype):
        return PackedLinear(weight, bias, rows)
    return PlainLinear(weight.detach(), None if bias is None else bias.detach())


def bytes_of(value: Any) -> int:
    """Bytes that the tensors in a product, tuple or list hold."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (tuple, list)):
        return sum(bytes_of(part) for part in value)
    return 0
