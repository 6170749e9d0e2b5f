# SPDX-License-Identifier: Apache-2.0
"""Gemma blocks with fused weights: keys and values go into buffers, the mask is data.

Everything that differs between two calls is a tensor of fixed shape, so a graph can be captured; what
modulates pi0.5's norms is one of them. Shapes: B batch, T tokens, S keys, D width, K key heads, G query heads per key head, C head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adamoe_ros.model.gemma import AdaRMSNorm, GemmaLayer, RMSNorm
from adamoe_ros.model.moe import Routing
from adamoe_ros.policy.engines.attention import Heads, Table, attend
from adamoe_ros.policy.engines.feed_forward import Mixture
from adamoe_ros.policy.engines.linears import FusedLinear
from adamoe_ros.policy.engines.weight_forms import WeightForms


class Block(NamedTuple):
    """Weights of one layer."""

    attn_norm: Tensor | None
    """(D,) float32, 1 + w; None: modulated at each call."""
    qkv: FusedLinear
    """Queries, keys, values; of the last prefix layer keys and values only."""
    o: FusedLinear | None
    ffn_norm: Tensor | None
    ffn: Mixture | None
    heads: Heads

    def __call__(
        self,
        x: Tensor,
        table: Table,
        keys: Tensor,
        values: Tensor,
        at: int,
        mask: Tensor | None,
        trace: list[Routing] | None = None,
        modulation: Tensor | None = None,
    ) -> Tensor:
        """Run tokens x (B, T, D) whose keys and values go into the buffers from place ``at`` on.

        Args:
            keys, values: (B, K, S, C) with what x sees before itself; places ``at`` to ``at`` + T
                are written.
            mask: additive, (B or 1, 1, 1 or G T, at + T), or None: everything is visible.
            modulation: (B or 1, T or 1, 2, 3, D) float32 of the two norms, where they are
                modulated: 1 + scale, shift, gate.

        Returns: (B, T, D).
        """
        assert self.o is not None and self.ffn is not None
        length = x.shape[1]
        first, second = (None, None) if modulation is None else modulation.unbind(2)
        normed = normalise(x, self.attn_norm, first)
        query, key, value = self.heads.split(self.qkv(normed), table)
        keys[:, :, at : at + length] = key
        values[:, :, at : at + length] = value
        seen = (keys[:, :, : at + length], values[:, :, : at + length])
        mixed = self.heads.join(attend(query, *seen, mask), length)
        x = self.o.plus(mixed, x) if first is None else gated(x, self.o(mixed), first)
        rows = normalise(x, self.ffn_norm, second).flatten(0, 1)
        if second is None:
            return self.ffn(rows, x.flatten(0, 1), trace).view_as(x)
        branch = self.ffn(rows, torch.zeros_like(rows), trace)
        return gated(x, branch.view_as(x), second)

    def write_keys_values(
        self, x: Tensor, table: Table, keys: Tensor, values: Tensor, at: int
    ) -> None:
        """Write the keys and values of x and compute nothing else: a prefix's last layer."""
        mixed = self.qkv(normalise(x, self.attn_norm))
        needed = mixed[..., -2 * self.heads.key_heads * self.heads.width :]
        _, key, value = self.heads.split(needed, table)
        keys[:, :, at : at + x.shape[1]] = key
        values[:, :, at : at + x.shape[1]] = value


BlockRunner = Callable[..., Tensor]


def run_block(block: Block, *arguments: Any) -> Tensor:
    """A layer as a plain function, which is what a compiler wraps."""
    return block(*arguments)


def block_runner(compiled: bool) -> BlockRunner:
    """``run_block``, with its element-wise operations fused by torch's compiler where asked for.

    All layers of one shape share one compiled function: their weights are its arguments.
    """
    return torch.compile(run_block, dynamic=False) if compiled else run_block


def rms_norm(x: Tensor, weight: Tensor, shift: Tensor | None = None) -> Tensor:
    """x / rms(x) * weight + shift in float32; x (..., D), weight 1 + w -> the type of x."""
    y = x.float()
    length = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
    scale = torch.rsqrt(length * length / x.shape[-1] + 1e-6)
    scaled = y * scale if y is x else y.mul_(scale)
    scaled = scaled.mul_(weight)
    return (scaled if shift is None else scaled.add_(shift)).to(x.dtype)


def normalise(x: Tensor, weight: Tensor | None, modulation: Tensor | None = None) -> Tensor:
    """``rms_norm`` by a weight of its own, or by a modulation (B or 1, T or 1, 3, D)."""
    if weight is not None:
        return rms_norm(x, weight)
    assert modulation is not None
    return rms_norm(x, modulation[:, :, 0], modulation[:, :, 1])


def gated(x: Tensor, branch: Tensor, modulation: Tensor) -> Tensor:
    """x (B, T, D) + gate * branch."""
    return torch.addcmul(x, branch, modulation[:, :, 2].to(x.dtype))


def norm_weight(norm: RMSNorm | AdaRMSNorm) -> Tensor | None:
    """(D,) float32, what the normed values are multiplied by; None: modulated."""
    return 1 + norm.weight.detach().float() if isinstance(norm, RMSNorm) else None


def make_block(layer: GemmaLayer, forms: WeightForms, rows: int, heads: Heads) -> Block:
    """A layer with all its parts.

    Args:
        rows: of the tokens that it will be run for, as far as it is known.
    """
    attn = layer.attn
    block = Block(
        norm_weight(layer.attn_norm),
        forms.linear_of(
            [heads.laid(attn.q.weight), heads.laid(attn.k.weight), attn.v.weight], rows
        ),
        forms.linear([attn.o], rows),
        norm_weight(layer.ffn_norm),
        forms.mixture_of(layer.ffn, rows),
        heads,
    )
    forms.taken(layer)
    return block


def make_last_block(layer: GemmaLayer, forms: WeightForms, rows: int, heads: Heads) -> Block:
    """A layer of which keys and values alone are read."""
    product = forms.linear_of([heads.laid(layer.attn.k.weight), layer.attn.v.weight], rows)
    block = Block(
        norm_weight(layer.attn_norm), product, None, norm_weight(layer.ffn_norm), None, heads
    )
    forms.taken(layer)
    return block
