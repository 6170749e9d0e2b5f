# SPDX-License-Identifier: Apache-2.0
"""Feed-forward layers, dense and mixed, in exact forms; which is fast depends on the device.

    sparse    an expert computes only its tokens; the host reads the counts (CPU)
    wide      all experts as one feed-forward layer of hidden size (E + 1) F, tokens masked by
              block: two products, shapes independent of the data (CUDA graphs)
    grouped   tokens sorted by expert, torch's grouped product, offsets on the device (SM90)
    triton    ``triton_moe``: own kernels that skip experts without tokens

The shared expert is one more expert that every token goes to.
Shapes: N tokens, D width, F hidden, E routed experts, k chosen.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from adamoe_ros.model.moe import MoEFeedForward, Routing
from adamoe_ros.policy.engines.linears import FusedLinear
from adamoe_ros.policy.engines.routing import Router


class GatedLayer(Protocol):
    """What follows the second norm of a block."""

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        """Normed x (N, D) -> residual (N, D) + the layer's output."""


class SplitGated(NamedTuple):
    """Gate, with its GELU, and up apart: best for oneDNN."""

    gate: FusedLinear
    up: FusedLinear
    down: FusedLinear

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        """See ``GatedLayer``."""
        return self.down.plus(self.hidden(x), residual)

    def hidden(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, F)."""
        # in place: new memory costs more than the product
        return self.gate.gelu(x).mul_(self.up(x))


class FusedGated(NamedTuple):
    """Gate and up as one product, one kernel: best for a GPU."""

    gate_up: FusedLinear
    down: FusedLinear

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        """See ``GatedLayer``."""
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
        """See ``GatedLayer``."""
        out = residual.clone()
        for gate, up, down in self.parts:
            hidden = torch.ops.aten.gelu_(F.linear(x, gate), approximate="tanh")
            out.addmm_(hidden.mul_(F.linear(x, up)), down.t())
        return out


class Mixture(Protocol):
    """A mixture layer with its residual."""

    def __call__(self, x: Tensor, residual: Tensor, trace: list[Routing] | None) -> Tensor:
        """Normed x (N, D) -> residual (N, D) + the layer's output; decisions go to ``trace``."""


class Dense(NamedTuple):
    """A dense layer in a mixture's place."""

    layer: GatedLayer

    def __call__(self, x: Tensor, residual: Tensor, trace: list[Routing] | None) -> Tensor:
        """See ``Mixture``; leaves no trace."""
        return self.layer(x, residual)


class SparseMixture(NamedTuple):
    """Loop over the experts that have tokens."""

    router: Router
    shared: SplitGated
    """Its down projection is scaled by the shared weight."""
    experts: tuple[SplitGated, ...]
    """Their down projections are scaled by one minus the shared weight."""

    def __call__(self, x: Tensor, residual: Tensor, trace: list[Routing] | None) -> Tensor:
        """See ``Mixture``."""
        routing, _ = self.router(x)
        if trace is not None:
            trace.append(routing)
        out = self.shared(x, residual)
        chosen = routing.selected.flatten()
        order = chosen.argsort(stable=True)
        tokens = order if self.router.top_k == 1 else order // self.router.top_k
        counts = torch.bincount(chosen, minlength=len(self.experts)).tolist()
        rows, weights = x[tokens], routing.scales.flatten()[order].unsqueeze(1).to(x.dtype)
        parts = [
            expert.down(expert.hidden(part))
            for expert, part in zip(self.experts, rows.split(counts), strict=True)
            if len(part)
        ]
        return out.index_add_(0, tokens, torch.cat(parts).mul_(weights))


class WideMixture(NamedTuple):
    """Every expert for every token, as one layer: the hidden units carry the weights."""

    router: Router
    gate_up: FusedLinear
    """(2 (E + 1) F, D): all gates, then all ups; the shared expert first."""
    down: FusedLinear
    """(D, (E + 1) F)."""
    shared_weight: float

    def __call__(self, x: Tensor, residual: Tensor, trace: list[Routing] | None) -> Tensor:
        """See ``Mixture``."""
        if trace is None:
            weights = self.router.weights(x)
        else:
            routing, weights = self.router(x)
            trace.append(routing)
        gate, up = self.gate_up(x).chunk(2, -1)
        share = F.pad(weights * (1 - self.shared_weight), (1, 0), value=self.shared_weight)
        hidden = F.gelu(gate, approximate="tanh") * up
        hidden = hidden.unflatten(-1, (share.shape[1], -1)) * share.unsqueeze(-1).to(x.dtype)
        return self.down.plus(hidden.flatten(-2), residual)


class GroupedMixture(NamedTuple):
    """Tokens sorted by expert; one grouped product each for gate and up, and for down."""

    router: Router
    gate_up: Tensor
    """(E + 1, 2 F, D); the shared expert last."""
    down: Tensor
    """(E + 1, D, F)."""
    shared_weight: float

    def __call__(self, x: Tensor, residual: Tensor, trace: list[Routing] | None) -> Tensor:
        """See ``Mixture``."""
        routing, _ = self.router(x)
        if trace is not None:
            trace.append(routing)
        count, top_k, experts = len(x), self.router.top_k, self.router.experts
        chosen = routing.selected.flatten()
        order = chosen.argsort(stable=True)
        every = torch.arange(count, device=x.device)
        tokens = torch.cat([order // top_k, every])
        numbers = torch.arange(experts, device=x.device)
        ends = (chosen.unsqueeze(1) <= numbers).sum(0)
        ends = F.pad(ends, (0, 1), value=count * (top_k + 1)).to(torch.int32)
        gate, up = F.grouped_mm(x[tokens], self.gate_up.mT, offs=ends).chunk(2, -1)
        hidden = F.gelu(gate, approximate="tanh") * up
        out = F.grouped_mm(hidden, self.down.mT, offs=ends)
        # not index_add, whose order, and so its rounding, a GPU does not keep
        place = torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=x.device))
        scales = routing.scales.unsqueeze(-1).to(x.dtype) * (1 - self.shared_weight)
        routed = (out[place].unflatten(0, (count, top_k)) * scales).sum(1)
        return residual + routed + self.shared_weight * out[len(order) :]


def stacked(layer: MoEFeedForward, shared_first: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gates and ups (E + 1, F, D), downs (E + 1, D, F), the shared expert first or last."""
    shared, experts = layer.shared, layer.experts
    names = ("gate", "up", "down")
    out = []
    for name in names:
        one = getattr(shared, name).weight.detach().unsqueeze(0)
        many = getattr(experts, name).detach()
        out.append(torch.cat([one, many] if shared_first else [many, one]))
    return out[0], out[1], out[2]
