# SPDX-License-Identifier: Apache-2.0
"""Router and scale adapter as one product, and the top-k without a sort.

The rank of an expert is the number of those more probable, or equally probable with a lower
number: the same choice as a stable sort, made of element-wise operations that a compiler fuses.
Shapes: N tokens, D width, E experts, k chosen.
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
        logits, probabilities, scales = self._decide(x)
        selected, chosen = self._choose(probabilities, scales)
        return Routing(logits, probabilities, selected, chosen), spread(selected, chosen, scales)

    def weights(self, x: Tensor) -> Tensor:
        """The second result alone, with fewer operations."""
        _, probabilities, scales = self._decide(x)
        if self.top_k == 1:
            return spread(*self._choose(probabilities, scales), scales)
        return torch.where(ranks(probabilities) < self.top_k, scales, 0.0)

    def _decide(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, probabilities and scales, each (N, E)."""
        both = F.linear(x.to(self.weight.dtype), self.weight)
        logits = both[:, : self.experts]
        probabilities = logits.softmax(-1)
        return logits, probabilities, self._scales(probabilities, both[:, self.experts :])

    def _choose(self, probabilities: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
        """(N, k) int64 chosen experts, most probable first, and their scales."""
        if self.top_k == 1:  # the first of equal ones, as torch documents it
            selected = probabilities.argmax(1, keepdim=True)
        else:
            selected = ranks(probabilities).argsort(1)[:, : self.top_k]
        return selected, scales.gather(1, selected)

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


def spread(selected: Tensor, chosen: Tensor, like: Tensor) -> Tensor:
    """(N, k) numbers and scales -> (N, E), 0 where not chosen."""
    return torch.zeros_like(like).scatter(1, selected, chosen)


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
