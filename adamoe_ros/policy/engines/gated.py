# SPDX-License-Identifier: Apache-2.0
"""Gemma's gated feed-forward layer in the forms that devices are fast with."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from adamoe_ros.policy.engines.linears import Product


class FeedForward(Protocol):
    """What follows the second norm of a block."""

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        """Normed x (N, D) -> residual (N, D) + the layer's output."""


class SplitGated(NamedTuple):
    """Gate, with its GELU, and up apart: best for oneDNN."""

    gate: Product
    up: Product
    down: Product

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        """See ``FeedForward``."""
        return self.down.plus(self.hidden(x), residual)

    def hidden(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, F)."""
        # in place: new memory costs more than the product
        return self.gate.gelu(x).mul_(self.up(x))


class FusedGated(NamedTuple):
    """Gate and up as one product, one kernel: best for a GPU."""

    gate_up: Product
    down: Product

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        """See ``FeedForward``."""
        return self.down.plus(self.hidden(x), residual)

    def hidden(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, F)."""
        gate, up = self.gate_up(x).chunk(2, -1)
        return F.gelu(gate, approximate="tanh") * up


class ChunkedGated(NamedTuple):
    """Several narrow layers whose outputs add up to the wide one's.

    Best for MKL with many rows: the hidden values of a chunk stay in the cache between its products
    and are never written anywhere else.
    """

    parts: tuple[tuple[Tensor, Tensor, Tensor], ...]
    """Gate (f, D), up (f, D) and down (D, f) of some f of the hidden values."""

    @classmethod
    def of(cls, gate: Tensor, up: Tensor, down: Tensor, wanted: int) -> ChunkedGated:
        """Cut a layer into chunks of about ``wanted`` hidden values; copies ``down`` only.

        Args:
            gate, up: (F, D). down: (D, F).
        """
        count = max(1, round(len(gate) / wanted))
        downs = [part.contiguous() for part in down.chunk(count, 1)]
        return cls(tuple(zip(gate.chunk(count), up.chunk(count), downs, strict=True)))

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        """See ``FeedForward``."""
        out = residual.clone()
        for gate, up, down in self.parts:
            hidden = torch.ops.aten.gelu_(F.linear(x, gate), approximate="tanh")
            out.addmm_(hidden.mul_(F.linear(x, up)), down.t())
        return out
