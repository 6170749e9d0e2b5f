# SPDX-License-Identifier: Apache-2.0
"""Gemma blocks, used twice: the prefix (image and prompt tokens) and the action expert.

Each has its own weights; the expert's tokens attend to the prefix's keys and values as well as to
their own, which is pi0's joint attention: the prefix never sees the expert's tokens. In pi0.5 the
flow time modulates the expert's norms (``AdaRMSNorm``); every other norm is plain.
Shapes: B batch, T tokens, S keys, D width, K key heads, G query heads per key head, C head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adamoe_ros.model.config import MoEConfig, PrefixConfig
from adamoe_ros.model.layers import Linear
from adamoe_ros.model.moe import FeedForward, MoEFeedForward, Routing

KeysValues = tuple[Tensor, Tensor]  # each (B, K, S, C); keys are rotated already
Rotation = tuple[Tensor, Tensor]  # cos and sin, each (B or 1, 1, T, C / 2) float32
_ROPE_BASE = 10_000.0


class RMSNorm(nn.Module):
    """x / rms(x) * (1 + w) in float32; w = 0 is the identity, as Gemma stores it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """x (..., D) -> (..., D) in the dtype of x; there is no gate."""
        return (unit_rms(x) * (1 + self.weight.float())).to(x.dtype), None


class AdaRMSNorm(nn.Module):
    """x / rms(x) * (1 + scale) + shift in float32, and a gate for what is added to x.

    Scale, shift and gate are linear in the condition; all are 0 at first, which makes the block the
    identity.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = Linear(width, 3 * width)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """x (B, T, D), condition (B, 1 or T, D) -> normed x and gate, in the dtype of x."""
        assert condition is not None
        modulation = self.modulation(condition.to(self.modulation.weight.dtype)).float()
        scale, shift, gate = modulation.chunk(3, -1)
        return (unit_rms(x) * (1 + scale) + shift).to(x.dtype), gate.to(x.dtype)


def unit_rms(x: Tensor) -> Tensor:
    """x / rms(x) over the last axis, float32."""
    y = x.float()
    return y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)


def make_norm(width: int, adaptive: bool) -> RMSNorm | AdaRMSNorm:
    """A norm of the prefix or pi0's expert, or - ``adaptive`` - of pi0.5's expert."""
    return AdaRMSNorm(width) if adaptive else RMSNorm(width)


def plus(x: Tensor, branch: Tensor, gate: Tensor | None) -> Tensor:
    """The residual sum, gated where the norm before the branch gave a gate."""
    return x + branch if gate is None else x + gate * branch


def rotation(positions: Tensor, head_dim: int) -> Rotation:
    """Cosines and sines of rotary embedding for positions (B or 1, T)."""
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    frequencies = _ROPE_BASE ** (-exponents / head_dim)
    angles = positions.float()[:, None, :, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, table: Rotation) -> Tensor:
    """Apply rotary embedding to x (B, heads, T, C); the halves of C form the pairs."""
    (cos, sin), (a, b) = table, x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


def blocked(valid: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive mask of a boolean one. Finite, so that a query without any key stays finite."""
    zeros = torch.zeros_like(valid, dtype=dtype)
    return zeros.masked_fill(~valid, torch.finfo(dtype).min)


class Attention(nn.Module):
    """Grouped-query attention without biases (pi0: eight query heads share one key head)."""

    def __init__(self, width: int, config: PrefixConfig) -> None:
        super().__init__()
        self.kv_heads, self.head_dim = config.kv_heads, config.head_dim
        inner, shared = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q = Linear(width, inner, bias=False)
        self.k = Linear(width, shared, bias=False)
        self.v = Linear(width, shared, bias=False)
        self.o = Linear(inner, width, bias=False)

    def keys_values(self, x: Tensor, table: Rotation) -> KeysValues:
        """Keys and values of tokens x (B, T, D)."""
        keys = self.k(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        values = self.v(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        return rotate(keys, table), values

    def forward(self, x: Tensor, table: Rotation, seen: KeysValues, mask: Tensor | None) -> Tensor:
        """Attend from x (B, T, D) to ``seen`` (S keys).

        The G query heads of one key head are laid end to end as G * T query rows.

        Args: mask: additive, (B or 1, 1, 1 or T, S), or None: everything is visible.
        """
        batch, length, _ = x.shape
        query = rotate(self.q(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2), table)
        query = query.reshape(batch, self.kv_heads, -1, self.head_dim)  # (B, K, G * T, C)
        if mask is not None and mask.shape[2] > 1:
            mask = mask.repeat(1, 1, query.shape[2] // length, 1)
        mixed = F.scaled_dot_product_attention(query, *seen, attn_mask=mask)
        mixed = mixed.reshape(batch, -1, length, self.head_dim).transpose(1, 2)
        return self.o(mixed.flatten(2))


class GemmaLayer(nn.Module):
    """x + Attention(norm(x)), then x + FeedForward(norm(x)); both sums gated where ``adaptive``."""

    def __init__(
        self, width: int, mlp: int, heads: PrefixConfig, moe: MoEConfig, adaptive: bool = False
    ) -> None:
        super().__init__()
        self.attn_norm, self.ffn_norm = make_norm(width, adaptive), make_norm(width, adaptive)
        self.attn = Attention(width, heads)
        self.ffn: FeedForward | MoEFeedForward = (
            FeedForward(width, mlp) if moe.variant == "dense" else MoEFeedForward(width, mlp, moe)
        )

    def attention_inputs(
        self, x: Tensor, table: Rotation, past: KeysValues | None, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, KeysValues]:
        """Normed x, its gate, and the keys and values it attends to: ``past``, then its own."""
        h, gate = self.attn_norm(x, condition)
        keys, values = self.attn.keys_values(h, table)
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        return h, gate, (keys, values)

    def forward(
        self,
        x: Tensor,
        table: Rotation,
        past: KeysValues | None,
        mask: Tensor | None,
        trace: list[Routing] | None = None,
        condition: Tensor | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """x (B, T, D) -> (B, T, D), and what later tokens can see."""
        h, gate, seen = self.attention_inputs(x, table, past, condition)
        x = plus(x, self.attn(h, table, seen, mask), gate)
        h, gate = self.ffn_norm(x, condition)
        return plus(x, self.ffn(h, trace), gate), seen


class GemmaStack(nn.Module):
    """Layers and final norm of one expert; ``adaptive``: every norm is modulated."""

    def __init__(
        self, width: int, mlp: int, heads: PrefixConfig, moe: MoEConfig, adaptive: bool = False
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            GemmaLayer(width, mlp, heads, moe, adaptive) for _ in range(heads.depth)
        )
        self.norm = make_norm(width, adaptive)

    def forward(
        self,
        x: Tensor,
        table: Rotation,
        past: list[KeysValues] | None = None,
        mask: Tensor | None = None,
        trace: list[Routing] | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        """Run tokens x (B, T, D) that see ``past`` and each other where ``mask`` allows.

        Args: condition: (B, 1 or T, D) of the norms where they are adaptive.

        Returns: (B, T, D) after the final norm, whose gate is for nothing.
        """
        for layer, before in self._with_past(past):
            x, _ = layer(x, table, before, mask, trace, condition)
        return self.norm(x, condition)[0]

    def keys_values(
        self,
        x: Tensor,
        table: Rotation,
        past: list[KeysValues] | None = None,
        mask: Tensor | None = None,
    ) -> list[KeysValues]:
        """Per layer, what later tokens can see of ``past`` and x together.

        Of the last layer nothing but keys and values is ever read, so the rest is not computed.
        """
        cache: list[KeysValues] = []
        *inner, last = self._with_past(past)
        for layer, before in inner:
            x, seen = layer(x, table, before, mask)
            cache.append(seen)
        layer, before = last
        return [*cache, layer.attention_inputs(x, table, before)[2]]

    def _with_past(
        self, past: list[KeysValues] | None
    ) -> Iterator[tuple[GemmaLayer, KeysValues | None]]:
        for number, layer in enumerate(self.layers):
            yield cast(GemmaLayer, layer), past[number] if past is not None else None
