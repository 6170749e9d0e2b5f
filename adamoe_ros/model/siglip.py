# SPDX-License-Identifier: Apache-2.0
"""SigLIP image encoder and the projection of its tokens into the prefix's width.

Shapes: N images, T tokens per image, W encoder width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adamoe_ros.model.config import VisionConfig
from adamoe_ros.model.layers import Conv2d, Linear
from adamoe_ros.model.stem import ConvStem


class VisionAttention(nn.Module):
    """Full self-attention with biases; no mask, no rotary embedding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k = Linear(width, width), Linear(width, width)
        self.v, self.out = Linear(width, width), Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, T, W) -> (N, T, W)."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q, self.k, self.v)
        )
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class VisionMLP(nn.Module):
    """Two layers with tanh-approximated GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = Linear(width, hidden), Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, T, W) -> (N, T, W)."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class VisionBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = VisionAttention(config.width, config.heads)
        self.mlp = VisionMLP(config.width, config.mlp)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, T, W) -> (N, T, W)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionEncoder(nn.Module):
    """Images to prefix tokens: stem, position embedding, blocks, norm, linear head.

    Args:
        config: sizes.
        num_views: camera slots; only the ``conv`` stem tells them apart.
        out_width: width of the prefix.
    """

    def __init__(self, config: VisionConfig, num_views: int, out_width: int) -> None:
        super().__init__()
        if config.stem == "patch":
            self.patch_embed = Conv2d(3, config.width, config.patch, stride=config.patch)
        else:
            self.stem = ConvStem(config, num_views, out_width)
        self.pos_embed = nn.Parameter(torch.zeros(config.tokens, config.width))
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.head = Linear(config.width, out_width)

    def forward(
        self, images: Tensor, views: Tensor, prompt: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Encode images.

        Args:
            images: (N, 3, H, W) in [-1, 1].
            views: (N,) int64 camera slot of each image.
            prompt: (N, prefix width) of the prompt reader, for prompted key points.

        Returns:
            (N, T, prefix width) tokens, and the key points (N, P, 2) of a ``conv`` stem.
        """
        points = None
        if hasattr(self, "patch_embed"):
            x = self.patch_embed(images.to(self.patch_embed.weight.dtype))
            x = x.flatten(2).transpose(1, 2)
        else:
            x, points = self.stem(images, views, prompt)
        x = (x + self.pos_embed).to(self.head.weight.dtype)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)), points
