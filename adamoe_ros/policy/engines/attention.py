# SPDX-License-Identifier: Apache-2.0
"""Attention: rotated heads from a layer's joint product, and softmax attention as is fast where it runs.

Rotary pairs come in one of two forms:

    halves   the halves of a head form the pairs, as the weights come: element-wise operations that
             a compiler fuses
    paired   (CPU) rows of the weights are reordered so that the numbers of a pair are neighbours,
             and rotating is one complex product. Queries and keys are reordered alike, which
             leaves their scores as they are; keys in the buffers are then in this order

Softmax attention is torch's fused kernel, except in bfloat16 on a CPU: there two products and a
softmax take less time, because it does not use the processor's bfloat16 dot products (half of its
time on an EPYC, a fifth less on a Xeon); scores are then rounded to bfloat16, as in transformers'
eager form.
Shapes: B batch, T tokens, K key heads, G query heads per key head, R query rows, S keys, C head
width; N pictures, H heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adamoe_ros.model.gemma import Rotation, rotation

Table = Rotation | Tensor
"""Cosines and sines (B or 1, 1, T, C), or paired: complex (B or 1, T, 1, C / 2)."""


class Heads(NamedTuple):
    """Geometry of the attention."""

    key_heads: int
    groups: int
    width: int
    paired: bool = False

    def table(self, positions: Tensor) -> Table:
        """Rotary table of positions (B or 1, T)."""
        if not self.paired:
            return full_rotation(positions, self.width)
        cos, sin = rotation(positions, self.width)
        return torch.complex(cos, sin).transpose(1, 2).contiguous()

    def laid(self, weight: Tensor) -> Tensor:
        """Rows (heads * C, D) of queries or keys in this form's order."""
        if not self.paired:
            return weight
        return weight.unflatten(0, (-1, 2, self.width // 2)).transpose(1, 2).flatten(0, 2)

    def split(self, mixed: Tensor, table: Table) -> tuple[Tensor, Tensor, Tensor]:
        """Output of the joint product -> queries (B, K, G T, C), keys and values (B, K, T, C).

        Args:
            mixed: (B, T, (K G + 2 K) C), or without queries (B, T, 2 K C); may be overwritten.
        """
        batch, length, size = mixed.shape
        count = size // self.width - 2 * self.key_heads
        value = mixed[..., -self.key_heads * self.width :]
        turned = self._turned(mixed[..., : -self.key_heads * self.width], table)
        query = mixed.new_empty(batch, count, length, self.width)
        query.copy_(turned[:, :count])
        queries = query.view(batch, self.key_heads, -1, self.width)
        return queries, turned[:, count:], value.unflatten(-1, (-1, self.width)).transpose(1, 2)

    def _turned(self, mixed: Tensor, table: Table) -> Tensor:
        """(B, T, heads * C) -> rotated (B, heads, T, C), float32 where that saves a copy."""
        if not isinstance(table, Tensor):
            return rotate(mixed.unflatten(-1, (-1, self.width)).transpose(1, 2), table)
        pairs = mixed.float().unflatten(-1, (-1, self.width // 2, 2))
        turned = torch.view_as_real(torch.view_as_complex(pairs).mul_(table))
        return turned.flatten(-2).transpose(1, 2)

    def join(self, mixed: Tensor, length: int) -> Tensor:
        """Attention's output (B, K, G T, C) -> (B, T, K G C)."""
        parts = mixed.reshape(len(mixed), -1, length, self.width)
        return parts.transpose(1, 2).flatten(2)


def full_rotation(positions: Tensor, width: int) -> Rotation:
    """Rotary tables over the whole head: cosines twice, and sines with the first half negated."""
    cos, sin = rotation(positions, width)
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def rotate(x: Tensor, table: Rotation) -> Tensor:
    """Rotary embedding of x (B, heads, T, C) by ``full_rotation``; the halves form the pairs."""
    y = x.float()
    first, second = y.chunk(2, -1)
    return torch.addcmul(y * table[0], torch.cat([second, first], -1), table[1]).to(x.dtype)


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention with scale C ** -0.5.

    Args:
        query: (B, K, R, C). keys, values: (B, K, S, C).
        mask: additive (B or 1, 1, 1, S), or None.

    Returns: (B, K, R, C).
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        return _by_products(query, keys, values, mask)
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)


def _by_products(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    scaled = query * query.shape[-1] ** -0.5
    out = torch.empty_like(scaled)
    for b in range(len(query)):  # mm per head: torch's batched product is slower here
        for h in range(query.shape[1]):
            scores = torch.mm(scaled[b, h], keys[b, h].T)
            if mask is not None:
                scores += mask[b if len(mask) > 1 else 0, 0]
            torch.softmax(scores, -1, out=scores)  # in the cache, where they are
            torch.mm(scores, values[b, h], out=out[b, h])
    return out


def attend_heads(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Softmax attention of many heads with their own keys, everything visible.

    Args: query, keys, values: (N, H, T, C).

    Returns: (N, T, H, C).
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, keys, values).transpose(1, 2)
    out = query.new_empty(query.transpose(1, 2).shape)
    scale, nothing = query.shape[-1] ** -0.5, query.new_empty(())
    for place, q, k, v in zip(out, query, keys, values, strict=True):
        scores = torch.baddbmm(nothing, q, k.mT, beta=0, alpha=scale)
        place.copy_(torch.bmm(scores.softmax(-1), v).transpose(0, 1))
    return out
