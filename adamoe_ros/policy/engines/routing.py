# SPDX-License-Identifier: Apache-2.0
"""Router and scale adapter as one product, and the top-k without a sort.

The rank of an expert is the number of those more probable, or equally probable with a lower
number: the same choice as a stable sort, made of element-wise operations that a compiler fuses.
Shapes: N tokens, D width, E experts, k chosen. May import: torch, model.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adamoe_ros.model.moe import MoEFeedForward, Routing

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Router(NamedTuple):
    """Decides for N tokens at once."""

    weight: Tensor
    """(E or 2 E, D): router, then the scale adapter's columns for x."""
    cross: Tensor | None
    """(E, E) the scale adapter's columns for the probabilities (csmoe), or None."""
    experts: int
    top_k: int
    variant: str

    def __call__(self, x: Tensor) -> tuple[Routing, Tensor]:
        """x (N, D) -> decisions, and the weight of every expert (N, E), 0 where not chosen."""
        logits, probabilities, scales, rank = self._decide(x)
        selected = rank.argsort(1)[:, : self.top_k] if self.top_k > 1 else first(rank)
        routing = Routing(logits, probabilities, selected, scales.gather(1, selected))
        return routing, torch.where(rank < self.top_k, scales, 0.0)

    def weights(self, x: Tensor) -> Tensor:
        """The second result alone, with fewer operations."""
        _, _, scales, rank = self._decide(x)
        return torch.where(rank < self.top_k, scales, 0.0)

    def _decide(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits, probabilities, scales and ranks, each (N, E)."""
        both = F.linear(x.to(self.weight.dtype), self.weight)
        logits = both[:, : self.experts]
        probabilities = logits.softmax(-1)
        scales = self._scales(probabilities, both[:, self.experts :])
        return logits, probabilities, scales, ranks(probabilities)

    def _scales(self, probabilities: Tensor, adapted: Tensor) -> Tensor:
        """(N, E) weight that each expert would have."""
        if self.variant == "vanilla":
            return probabilities
        if self.cross is not None:
            return (adapted + F.linear(probabilities, self.cross)).softmax(-1)
        return probabilities + adapted


def ranks(probabilities: Tensor) -> Tensor:
    """(N, E) -> int64 place of each expert, 0 the most probable, ties to the lower number."""
    mine, other = probabilities.unsqueeze(2), probabilities.unsqueeze(1)
    numbers = torch.arange(probabilities.shape[1], device=probabilities.device)
    before = numbers.unsqueeze(0) < numbers.unsqueeze(1)
    return ((other > mine) | ((other == mine) & before)).sum(2)


def first(rank: Tensor) -> Tensor:
    """(N, E) -> (N, 1) int64 number of the expert with rank 0."""
    numbers = torch.arange(rank.shape[1], device=rank.device)
    return ((rank == 0) * numbers).sum(1, keepdim=True)


def make_router(layer: MoEFeedForward) -> Router:
    """The router of a layer, in the router's own type."""
    config, dtype = layer.config, _DTYPES[layer.config.router_dtype]
    parts, cross = [layer.router.weight.detach()], None
    if config.variant != "vanilla":
        adapter = layer.scale_adapter.weight.detach()
        width = parts[0].shape[1]
        parts.append(adapter[:, :width])
        if config.variant == "csmoe":
            cross = adapter[:, width:].to(dtype).contiguous()
    weight = torch.cat(parts).to(dtype)
    return Router(weight, cross, config.num_experts, config.top_k, config.variant)
