# SPDX-License-Identifier: Apache-2.0
"""Which form each weight of a network takes on a device, decided in one place.

Weights become products, mixture layers one of their forms. With ``consume``
the network gives its tensors away layer by layer, so that the weights exist once; the network is
then of no further use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from adamoe_ros.model.moe import FeedForward, MoEFeedForward
from adamoe_ros.policy.engines.feed_forward import (
    ChunkedGated,
    Dense,
    FusedGated,
    GroupedMixture,
    Mixture,
    SparseMixture,
    SplitGated,
    WideMixture,
    stacked,
)
from adamoe_ros.policy.engines.linears import (
    FusedLinear,
    PlainLinear,
    int8_linear,
    mkl_is_at_home,
    packed_linear,
)
from adamoe_ros.policy.engines.routing import make_router
from adamoe_ros.policy.engines.triton_moe import TritonDense, TritonMixture, triton_weights

MixtureForm = Literal["sparse", "wide", "grouped", "triton"]

_CHUNKED_ROWS = 256  # with fewer, reading the weights is what counts and packed ones read faster
_CHUNK = 2048  # hidden values: 6.7 MB of float32 at the 816 rows of a full prefix


@dataclass(frozen=True)
class WeightForms:
    """Choices.

    Attributes:
        packed: oneDNN's layout where it works (CPU), and gate and up apart.
        mixture: form of the mixture layers.
        int8: 8-bit weights in the feed-forward layers of the action expert.
        consume: free each tensor of the network once it is taken over.
    """

    packed: bool = False
    mixture: MixtureForm = "wide"
    int8: bool = False
    consume: bool = False

    def linear(self, weights: Sequence[nn.Linear], rows: int) -> FusedLinear:
        """Linear layers of one input as one product, outputs end to end.

        Args:
            rows: of the input, as far as it is known.
        """
        biases = [layer.bias for layer in weights if layer.bias is not None]
        bias = joined(biases) if biases else None
        return self.linear_of([layer.weight for layer in weights], rows, bias)

    def linear_of(
        self, weights: Sequence[Tensor], rows: int, bias: Tensor | None = None
    ) -> FusedLinear:
        """The same of bare weights, each (O, I)."""
        weight = joined(weights)
        if self.packed:
            return packed_linear(weight, bias, rows, fixed=True)
        return PlainLinear(weight, bias)

    def mixture_of(self, layer: FeedForward | MoEFeedForward, rows: int) -> Mixture:
        """A feed-forward layer of the action expert."""
        if isinstance(layer, FeedForward):
            parts = (layer.gate.weight, layer.up.weight, layer.down.weight)
            if self.mixture == "triton":
                one = [weight.detach().unsqueeze(0) for weight in parts]
                return Dense(TritonDense(triton_weights(one[0], one[1], one[2], self.int8)))
            gate, up, down = parts
            if self._chunked(gate, rows):
                return Dense(ChunkedGated.of(gate.detach(), up.detach(), down.detach(), _CHUNK))
            return Dense(self._gated(*parts, rows=rows))
        if self.mixture == "sparse":
            return self._sparse(layer, rows)
        if self.mixture == "triton":
            return TritonMixture.of(layer, make_router(layer), self.int8)
        share = layer.config.shared_weight
        if self.mixture == "grouped":
            gate, up, down = stacked(layer, shared_first=False)
            return GroupedMixture(make_router(layer), torch.cat([gate, up], 1), down, share)
        gate, up, down = stacked(layer, shared_first=True)
        both = torch.cat([gate.flatten(0, 1), up.flatten(0, 1)])
        beside = down.permute(1, 0, 2).flatten(1).contiguous()
        return WideMixture(
            make_router(layer), self._weighted(both, rows), self._weighted(beside, rows), share
        )

    def _sparse(self, layer: MoEFeedForward, rows: int) -> SparseMixture:
        share, experts = layer.config.shared_weight, layer.experts
        shared = layer.shared
        each = max(1, rows * layer.config.top_k // len(experts.gate))
        return SparseMixture(
            make_router(layer),
            self._split(
                shared.gate.weight, shared.up.weight, shared.down.weight * share, rows, fixed=True
            ),
            tuple(
                self._split(experts.gate[e], experts.up[e], experts.down[e] * (1 - share), each)
                for e in range(len(experts.gate))
            ),
        )

    def _chunked(self, gate: Tensor, rows: int) -> bool:
        """Whether MKL's products, chunk by chunk, beat packed ones for a dense layer."""
        many = rows >= _CHUNKED_ROWS and len(gate) >= 2 * _CHUNK
        single = self.packed and not self.int8 and gate.dtype == torch.float32
        return many and single and gate.device.type == "cpu" and mkl_is_at_home()

    def _gated(self, gate: Tensor, up: Tensor, down: Tensor, rows: int) -> SplitGated | FusedGated:
        if self.packed:
            return self._split(gate, up, down, rows, fixed=True)
        return FusedGated(self._weighted(joined([gate, up]), rows), self._weighted(down, rows))

    def _split(
        self, gate: Tensor, up: Tensor, down: Tensor, rows: int, fixed: bool = False
    ) -> SplitGated:
        """Args: fixed: all rows always come, as they do not to a routed expert."""
        return SplitGated(
            self._weighted(gate, rows),  # its GELU is to be fused
            self._weighted(up, rows, fixed),
            self._weighted(down, rows, fixed),
        )

    def _weighted(self, weight: Tensor, rows: int, fixed: bool = False) -> FusedLinear:
        weight = weight.detach()
        if self.int8:
            return int8_linear(weight)
        return packed_linear(weight, None, rows, fixed) if self.packed else PlainLinear(weight)

    def taken(self, module: nn.Module) -> None:
        """Free the tensors of a module that was taken over, where ``consume`` is set."""
        if self.consume:
            for parameter in module.parameters():
                parameter.data = parameter.data.new_empty(0)


def joined(weights: Sequence[Tensor]) -> Tensor:
    """Tensors end to end; a single one is not copied."""
    parts = [weight.detach() for weight in weights]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
