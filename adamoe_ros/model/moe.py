# SPDX-License-Identifier: Apache-2.0
"""AdaMoE's feed-forward layer: a router selects experts, a scale adapter weighs them.

    z = x Wg    p = softmax(z)    T = top-k of p    s = p + x Ws
    y = w FFN_shared(x) + (1 - w) sum over e in T of s_e FFN_e(x),   w = 0.5

Shapes: N tokens, D width, F hidden, E routed experts, k chosen per token.
Source: arXiv 2510.14300 and the authors' code as of 15 Nov 2025.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adamoe_ros.model.config import MoEConfig
from adamoe_ros.model.layers import Linear

_ROUTER_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def geglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Gated GELU (tanh form): x (..., D), gate and up (F, D), down (D, F) -> (..., D)."""
    hidden = F.gelu(F.linear(x, gate), approximate="tanh") * F.linear(x, up)
    return F.linear(hidden, down)


class FeedForward(nn.Module):
    """Gemma's dense feed-forward layer; also the shared expert."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = Linear(width, hidden, bias=False)
        self.up = Linear(width, hidden, bias=False)
        self.down = Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, trace: list[Routing] | None = None) -> Tensor:
        """x (..., D) -> (..., D); a dense layer leaves no trace."""
        return geglu(x, self.gate.weight, self.up.weight, self.down.weight)


@dataclass(frozen=True)
class Routing:
    """Decisions of one layer for N tokens.

    Attributes:
        logits: (N, E) z in the router's dtype.
        probabilities: (N, E) p.
        selected: (N, k) int64 expert numbers, most probable first, ties to the lower number.
        scales: (N, k) weights of the selected experts, neither normalised nor bounded.
    """

    logits: Tensor
    probabilities: Tensor
    selected: Tensor
    scales: Tensor


class RoutingTrace:
    """Receives the layers' decisions as a list would. Of a list with tensors FSDP makes copies."""

    def __init__(self) -> None:
        self.layers: list[Routing] = []

    def append(self, routing: Routing) -> None:
        """Add a layer's."""
        self.layers.append(routing)


class Experts(nn.Module):
    """E routed feed-forward networks: gate and up (E, F, D), down (E, D, F)."""

    def __init__(self, num_experts: int, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.empty(num_experts, hidden, width))
        self.up = nn.Parameter(torch.empty(num_experts, hidden, width))
        self.down = nn.Parameter(torch.empty(num_experts, width, hidden))

    def forward(self, x: Tensor, selected: Tensor, scales: Tensor) -> Tensor:
        """Weighted sum of the selected experts; an expert computes only the tokens sent to it.

        The counts of tokens per expert are read on the host, once per call.

        Args:    x: (N, D). selected: (N, k) int64. scales: (N, k).
        Returns: (N, D).
        """
        order = selected.flatten().argsort(stable=True)
        tokens = order // selected.shape[1]
        counts = torch.bincount(selected.flatten(), minlength=len(self.gate)).tolist()
        parts = [
            geglu(rows, self.gate[e], self.up[e], self.down[e])
            for e, rows in enumerate(x[tokens].split(counts))
            if counts[e]
        ]
        weighted = torch.cat(parts) * scales.flatten()[order].unsqueeze(1).to(x.dtype)
        return torch.zeros_like(x).index_add(0, tokens, weighted)

    def forward_static(self, x: Tensor, selected: Tensor, scales: Tensor) -> Tensor:
        """The same by computing every expert for every token: shapes never depend on the data.

        For captured graphs, which may not read counts on the host; same arguments and result.
        """
        weights = x.new_zeros(len(x), len(self.gate)).scatter(1, selected, scales.to(x.dtype))
        hidden = F.gelu(x @ self.gate.mT, approximate="tanh") * (x @ self.up.mT)  # (E, N, F)
        return torch.einsum("end,ne->nd", hidden @ self.down.mT, weights)


class MoEFeedForward(nn.Module):
    """Shared expert, routed experts, router and scale adapter of one layer.

    Attributes:
        static_shapes: compute every expert for every token (``Experts.forward_static``).
    """

    def __init__(self, width: int, hidden: int, config: MoEConfig) -> None:
        super().__init__()
        self.config = config
        self.static_shapes = False
        self.shared = FeedForward(width, hidden)
        self.experts = Experts(config.num_experts, width, hidden)
        self.router = Linear(width, config.num_experts, bias=False)
        if config.variant != "vanilla":
            seen = width + (config.num_experts if config.variant == "csmoe" else 0)
            self.scale_adapter = Linear(seen, config.num_experts, bias=False)

    def route(self, x: Tensor) -> Routing:
        """Select and weigh experts for tokens x (N, D), in the router's dtype despite autocast."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(_ROUTER_DTYPES[self.config.router_dtype])
            logits = F.linear(x, self.router.weight.to(x.dtype))
            probabilities = logits.softmax(-1)
            ranked = probabilities.sort(dim=-1, descending=True, stable=True).indices
            selected = ranked[:, : self.config.top_k]
            scales = self._scales(x, probabilities).gather(1, selected)
        return Routing(logits, probabilities, selected, scales)

    def _scales(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """(N, E) weight that each expert would have."""
        if self.config.variant == "vanilla":
            return probabilities
        weight = self.scale_adapter.weight.to(x.dtype)
        if self.config.variant == "csmoe":
            return F.linear(torch.cat([x, probabilities], -1), weight).softmax(-1)
        return probabilities + F.linear(x, weight)

    def routed(self, x: Tensor, trace: list[Routing] | None = None) -> Tensor:
        """Sum of the selected experts without the shared one; x (N, D) -> (N, D)."""
        routing = self.route(x)
        if trace is not None:
            trace.append(routing)
        run = self.experts.forward_static if self.static_shapes else self.experts
        return run(x, routing.selected, routing.scales)

    def forward(self, x: Tensor, trace: list[Routing] | None = None) -> Tensor:
        """x (B, T, D), RMS-normed -> (B, T, D); the layer's routing is appended to ``trace``."""
        share = self.config.shared_weight
        routed = self.routed(x.flatten(0, -2), trace).view_as(x)
        return share * self.shared(x) + (1 - share) * routed
