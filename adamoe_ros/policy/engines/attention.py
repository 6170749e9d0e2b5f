# SPDX-License-Identifier: Apache-2.0
"""Attention, of many query rows to one shared key head or of many heads, as is fast where it runs.

torch's fused kernel everywhere, except in bfloat16 on a CPU: there two products and a softmax
take less time, because it does not use the processor's bfloat16 dot products (half of its time on an
EPYC, a fifth less on a Xeon); scores are then rounded to bfloat16, as in transformers' eager form.
Shapes: B batch, K key heads, R query rows, S keys, C head width; N pictures, H heads, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
