# SPDX-License-Identifier: Apache-2.0
"""Gemma's gated feed-forward layer as two or three products. May import: torch, policy.engines."""

from __future__ import annotations

from typing import NamedTuple, Protocol

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
