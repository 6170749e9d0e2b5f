# SPDX-License-Identifier: Apache-2.0
"""The image encoder with fused weights, all pictures in one batch.

Shapes: N pictures, T tokens per picture, W width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adamoe_ros.model.siglip import VisionBlock, VisionEncoder
from adamoe_ros.model.stem import ConvStem
from adamoe_ros.policy.engines.attention import attend_heads
from adamoe_ros.policy.engines.linears import FusedLinear
from adamoe_ros.policy.engines.weight_forms import WeightForms


class Norm(NamedTuple):
    """Layer norm."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(..., W) -> (..., W)."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-6)


class EncoderBlock(NamedTuple):
    """Weights of one block."""

    norm1: Norm
    qkv: FusedLinear
    out: FusedLinear
    norm2: Norm
    fc1: FusedLinear
    fc2: FusedLinear
    heads: int

    def __call__(self, x: Tensor) -> Tensor:
        """(N, T, W) -> (N, T, W)."""
        parts = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        x = self.out.plus(attend_heads(query, key, value).flatten(2), x)
        return self.fc2.plus(self.fc1.gelu(self.norm2(x)), x)


class Encoder(NamedTuple):
    """Weights of the encoder."""

    patches: FusedLinear | None
    """The patch embedding as a product of unfolded patches, or None with a ``stem``."""
    edge: int
    stem: ConvStem | None
    position: Tensor
    blocks: tuple[EncoderBlock, ...]
    norm: Norm
    head: FusedLinear
    dtype: torch.dtype

    def __call__(
        self, images: Tensor, slots: Tensor, prompt: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens (N, T, prefix width) and key points.

        Args:
            images: (N, 3, H, W) in [-1, 1]. slots: (N,).
            prompt: (N, prefix width) of the prompt reader, for prompted key points.
        """
        points = None
        if self.stem is not None:
            x, points = self.stem(images, slots, prompt)
        else:
            assert self.patches is not None
            x = self.patches(unfold(images, self.edge).to(self.dtype))
        x = (x + self.position).to(self.dtype)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)), points


def unfold(images: Tensor, edge: int) -> Tensor:
    """(N, 3, H, W) -> (N, H / edge * W / edge, 3 * edge * edge), patches row by row."""
    parts = images.unflatten(3, (-1, edge)).unflatten(2, (-1, edge))
    return parts.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def make_encoder(vision: VisionEncoder, forms: WeightForms, pictures: int) -> Encoder:
    """Take over the encoder of a network.

    Args:
        pictures: that it will be run for at once, as far as it is known.
    """
    rows = pictures * len(vision.pos_embed)
    dtype = vision.head.weight.dtype
    patches, edge, stem = None, 0, None
    if hasattr(vision, "patch_embed"):
        conv = vision.patch_embed
        edge = conv.kernel_size[0]
        flat = nn.Linear(1, 1)
        flat.weight = nn.Parameter(conv.weight.detach().flatten(1).to(dtype), requires_grad=False)
        assert conv.bias is not None
        flat.bias = nn.Parameter(conv.bias.detach().to(dtype), requires_grad=False)
        patches = forms.linear([flat], rows)
    else:
        stem = vision.stem
    blocks = []
    for block in vision.blocks:
        assert isinstance(block, VisionBlock)
        blocks.append(_make_block(block, forms, rows))
    norm, head = _norm(vision.norm), forms.linear([vision.head], rows)
    return Encoder(patches, edge, stem, vision.pos_embed.detach(), tuple(blocks), norm, head, dtype)


def _make_block(block: VisionBlock, forms: WeightForms, rows: int) -> EncoderBlock:
    attn, mlp = block.attn, block.mlp
    made = EncoderBlock(
        _norm(block.norm1),
        forms.linear([attn.q, attn.k, attn.v], rows),
        forms.linear([attn.out], rows),
        _norm(block.norm2),
        forms.linear([mlp.fc1], rows),
        forms.linear([mlp.fc2], rows),
        attn.heads,
    )
    forms.taken(block)
    return made


def _norm(norm: nn.LayerNorm) -> Norm:
    return Norm(norm.weight.detach(), norm.bias.detach())
