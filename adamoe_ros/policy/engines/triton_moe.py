# SPDX-License-Identifier: Apache-2.0
"""The mixture layer by own kernels: four launches, static grid, routing never leaves the device.

Compared with ``grouped`` it runs on every architecture, needs no sort and can read 8-bit weights.
Shapes: N tokens, D width, F hidden, E routed experts, k chosen.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.moe import MoEFeedForward, Routing
from adamoe_ros.policy.engines.linears import quantise
from adamoe_ros.policy.engines.routing import Router

BLOCK_M, BLOCK_N, BLOCK_K = 16, 64, 64


class TritonWeights(NamedTuple):
    """Experts as the kernels read them."""

    gate: Tensor
    """(E + 1, F, D), the shared expert last; so ``up``, and ``down`` (E + 1, D, F)."""
    up: Tensor
    down: Tensor
    scales: tuple[Tensor, Tensor, Tensor] | None
    """Of 8-bit weights: (E + 1, F), (E + 1, F), (E + 1, D) float32."""

    def __call__(self, x: Tensor, tokens: Tensor, block_expert: Tensor, rows: Tensor) -> Tensor:
        """x (N, D), the three outputs of ``plan`` -> (blocks * BLOCK_M, D) float32, by place."""
        from adamoe_ros.policy.engines import triton_kernels as kernels

        width, hidden_width, blocks = x.shape[1], self.gate.shape[1], len(rows)
        hidden = x.new_empty(blocks * BLOCK_M, hidden_width)
        out = x.new_empty(blocks * BLOCK_M, width, dtype=torch.float32)
        gate_scale, up_scale, down_scale = self.scales or (out, out, out)
        edges = {"BM": BLOCK_M, "BN": BLOCK_N, "BK": BLOCK_K, "INT8": self.scales is not None}
        kernels.gate_up[(-(-hidden_width // BLOCK_N), blocks)](
            x, self.gate, self.up, gate_scale, up_scale, hidden, tokens, block_expert, rows,
            width, hidden_width, **edges,
        )  # fmt: skip
        kernels.down[(-(-width // BLOCK_N), blocks)](
            hidden, self.down, down_scale, out, block_expert, rows, width, hidden_width, **edges
        )
        return out


def triton_weights(gate: Tensor, up: Tensor, down: Tensor, int8: bool) -> TritonWeights:
    """Weights (E + 1, ...) for the kernels.

    Raises:
        ContractError: triton is not installed.
    """
    check_triton()
    if not int8:
        return TritonWeights(gate, up, down, None)
    pairs = [quantise(weight) for weight in (gate, up, down)]
    scales = (pairs[0][1], pairs[1][1], pairs[2][1])
    return TritonWeights(pairs[0][0], pairs[1][0], pairs[2][0], scales)


class TritonDense(NamedTuple):
    """A dense layer; see ``feed_forward.GatedLayer``. One expert, the shared one."""

    weights: TritonWeights

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        """See ``feed_forward.GatedLayer``."""
        count = len(x)
        blocks = -(-count // BLOCK_M)
        starts = torch.arange(blocks, device=x.device, dtype=torch.int32) * BLOCK_M
        rows = (count - starts).clamp(max=BLOCK_M)
        tokens = torch.arange(blocks * BLOCK_M, device=x.device, dtype=torch.int32)
        out = self.weights(x.contiguous(), tokens, torch.zeros_like(starts), rows)
        return (residual.float() + out[:count]).to(x.dtype)


class TritonMixture(NamedTuple):
    """See ``feed_forward.Mixture``."""

    router: Router
    weights: TritonWeights
    shared_weight: float

    @classmethod
    def of(cls, layer: MoEFeedForward, router: Router, int8: bool) -> TritonMixture:
        """Take over a layer.

        Raises:
            ContractError: triton is not installed.
        """
        parts = []
        for name in ("gate", "up", "down"):
            shared = getattr(layer.shared, name).weight.detach().unsqueeze(0)
            parts.append(torch.cat([getattr(layer.experts, name).detach(), shared]))
        weights = triton_weights(parts[0], parts[1], parts[2], int8)
        return cls(router, weights, layer.config.shared_weight)

    def __call__(self, x: Tensor, residual: Tensor, trace: list[Routing] | None) -> Tensor:
        """See ``feed_forward.Mixture``."""
        routing, _ = self.router(x)
        if trace is not None:
            trace.append(routing)
        return self.run(x.contiguous(), residual, routing.selected, routing.scales)

    def run(self, x: Tensor, residual: Tensor, selected: Tensor, scales: Tensor) -> Tensor:
        """Shared and chosen experts of N tokens, added to the residual.

        Args:    x, residual: (N, D). selected, scales: (N, k).
        Returns: (N, D) in the type of x.
        """
        from adamoe_ros.policy.engines import triton_kernels as kernels

        count, width = x.shape
        top_k, experts = selected.shape[1], len(self.weights.gate) - 1
        choices = count * top_k
        routed_blocks, blocks = block_counts(count, top_k, experts)
        tokens = x.new_empty(blocks * BLOCK_M, dtype=torch.int32)
        places = x.new_empty(choices, dtype=torch.int32)
        block_expert = x.new_empty(blocks, dtype=torch.int32)
        rows = x.new_empty(blocks, dtype=torch.int32)
        kernels.plan[(1,)](
            selected.contiguous(), tokens, places, block_expert, rows, choices, count,
            K=top_k, E=experts, CHOICES=_power(choices), EXPERTS=_power(experts),
            ROUTED_BLOCKS=routed_blocks, BLOCKS=blocks, ALL_BLOCKS=_power(blocks), BM=BLOCK_M,
        )  # fmt: skip
        out = self.weights(x, tokens, block_expert, rows)
        y, edge = torch.empty_like(x), 256
        kernels.combine[(count, -(-width // edge))](
            out, residual.contiguous(), scales.contiguous(), places, y, self.shared_weight, width,
            routed_blocks * BLOCK_M, K=top_k, BD=edge,
        )  # fmt: skip
        return y


def block_counts(count: int, top_k: int, experts: int) -> tuple[int, int]:
    """Most blocks of rows that the routed experts can need for N tokens, and all of them."""
    choices = count * top_k
    partial = min(experts, choices)  # each may have one block that is not full
    full = (choices - partial) // BLOCK_M
    routed = full + partial
    return routed, routed + -(-count // BLOCK_M)


def check_triton() -> None:
    """Refuse where the kernels cannot be compiled or interpreted.

    Raises:
        ContractError: triton is not installed.
    """
    try:
        import triton  # noqa: F401
    except ImportError as error:
        got = "no package triton"
        raise ContractError(
            problem("engine mixture triton", "triton", got, "install it, or use wide")
        ) from error


def _power(count: int) -> int:
    """The next power of two, at least 2."""
    return max(2, 1 << (count - 1).bit_length())
