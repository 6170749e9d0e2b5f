# SPDX-License-Identifier: Apache-2.0
"""Convolutional image stem, prompt reader and object-position head of small policies.

They are trained from scratch. Patches of a few thousand demonstrations do not teach a transformer
where things are; expected coordinates of feature maps (spatial softmax) do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adamoe_ros.model.config import ModelConfig, VisionConfig
from adamoe_ros.model.layers import Conv2d, Linear

_NEVER = -1e4  # logit of padding; finite, so that an empty prompt is no NaN


class ConvStem(nn.Module):
    """Image -> a coarse grid of tokens, and one token that carries the key points' coordinates.

    Convolutions are shared by the views, key points are not. Strides: 2, 4, 4 (key points), 8, 24.
    The maps of prompted key points are made of the prompt: "red" has to choose where to look, not
    what to keep of what was found everywhere.
    """

    def __init__(self, config: VisionConfig, num_views: int, prompt_width: int) -> None:
        super().__init__()
        a, b, c, d = config.stem_channels
        self.conv1 = Conv2d(3, a, 5, stride=2, padding=2)
        self.conv2 = Conv2d(a, b, 3, stride=2, padding=1)
        self.conv3 = Conv2d(b, c, 3, padding=1)
        self.conv4 = Conv2d(c, d, 3, stride=2, padding=1)
        self.grid = Conv2d(d, config.width, 3, stride=3)
        self.view_embed = nn.Parameter(torch.zeros(num_views, config.width))
        self.keypoints = config.keypoints
        if self.keypoints:
            self.keypoint_maps = nn.Parameter(torch.zeros(num_views, self.keypoints, c))
            self.keypoint_token = Linear(2 * config.all_keypoints, config.width)
        self.prompted = config.prompted_keypoints
        if self.prompted:
            self.prompted_maps = Linear(prompt_width, num_views * self.prompted * c)

    def forward(
        self, images: Tensor, views: Tensor, prompt: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Encode images.

        Args:
            images: (N, 3, H, W). views: (N,) camera slots.
            prompt: (N, prompt width) of ``PromptReader``; needed for prompted key points.

        Returns:
            Tokens (N, T, width), key points (N, P, 2) or None: (x, y) in [-1, 1], left to right
            and top to bottom, the prompted ones last.
        """
        x = images.to(self.conv1.weight.dtype, memory_format=torch.channels_last)
        fine = F.relu(self.conv3(F.relu(self.conv2(F.relu(self.conv1(x))))))
        grid = self.grid(F.relu(self.conv4(fine))).flatten(2).transpose(1, 2)
        points = None
        if self.keypoints:
            points = self._locate(fine, self._maps(views, prompt))
            token = self.keypoint_token(points.flatten(1)).unsqueeze(1)
            grid = torch.cat([token, grid], 1)
        return grid + self.view_embed[views].unsqueeze(1), points

    def _maps(self, views: Tensor, prompt: Tensor | None) -> Tensor:
        """(N, P, C) weights of the feature channels, one map per key point."""
        maps = self.keypoint_maps[views]
        if not self.prompted:
            return maps
        assert prompt is not None
        asked = self.prompted_maps(prompt.to(maps.dtype))
        asked = asked.unflatten(1, (-1, self.prompted, maps.shape[2]))
        return torch.cat([maps, asked[torch.arange(len(views), device=views.device), views]], 1)

    @staticmethod
    def _locate(features: Tensor, maps: Tensor) -> Tensor:
        """Expected coordinates of softmax maps: (N, C, h, w), (N, P, C) -> (N, P, 2)."""
        height, width = features.shape[-2:]
        weights = (maps @ features.flatten(2)).float().softmax(-1).unflatten(-1, (height, width))
        across = torch.linspace(-1, 1, width, device=features.device)
        down = torch.linspace(-1, 1, height, device=features.device)
        x, y = weights.sum(-2) @ across, weights.sum(-1) @ down
        return torch.stack([x, y], -1).to(features.dtype)


class PromptReader(nn.Module):
    """The prompt as one vector that keeps the words' order: "red on blue" is not "blue on red".

    Each word, marked with its place, goes through one layer; four learned queries pool them.
    """

    _QUERIES = 4

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(length, width))
        self.inner = Linear(width, width)
        self.queries = nn.Parameter(torch.zeros(self._QUERIES, width))
        self.out = Linear(self._QUERIES * width, width)

    def forward(self, words: Tensor, valid: Tensor) -> Tensor:
        """words (B, L, width), valid (B, L) bool: not padding -> (B, width)."""
        h = F.gelu(self.inner(words + self.places[: words.shape[1]]))
        there = valid.unsqueeze(-1)
        weights = (h @ self.queries.T).masked_fill(~there, _NEVER).softmax(1)
        weights = weights * there  # of an empty prompt nothing, whatever its padding is
        return self.out((weights.transpose(1, 2) @ h).flatten(1))


class PromptMean(nn.Module):
    """The prompt as the mean of its words: enough where sentences differ by words, not by order."""

    def forward(self, words: Tensor, valid: Tensor) -> Tensor:
        """As ``PromptReader``."""
        weights = valid.unsqueeze(-1).to(words)
        return (words * weights).sum(1) / weights.sum(1).clamp(min=1)


class ObjectHead(nn.Module):
    """Object positions from key points, prompt and (pi0) state, and a prefix token made of them.

    The prompt scales the hidden units, so that words can choose whose position it is. The token
    is made of the detached prediction: only the position loss teaches where the objects are.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.state_dim = 0 if config.pi05 else config.state_dim  # pi0.5 reads it in the prompt
        seen = config.num_views * config.vision.all_keypoints * 2 + self.state_dim
        width, hidden = config.prefix.width, 2 * config.prefix.width
        self.inner = Linear(seen, hidden)
        self.prompt = Linear(width, hidden)
        self.inner2 = Linear(hidden, hidden)
        self.positions = Linear(hidden, 3 * config.aux_positions)
        self.token_in = Linear(3 * config.aux_positions, width)
        self.token_out = Linear(width, width)

    def forward(self, points: Tensor, state: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Predict positions.

        Args:
            points: (B, V * P * 2) key points, 0 for an absent view.
            state: (B, S); not read in pi0.5.
            prompt: (B, prefix width): of the reader, or the mean of the prompt's embeddings.

        Returns:
            (B, 3 * aux_positions) float32 normalised positions, (B, 1, prefix width) token.
        """
        dtype = self.inner.weight.dtype
        h = F.gelu(
            self.inner(torch.cat([points.to(dtype), state[:, : self.state_dim].to(dtype)], -1))
        )
        h = F.gelu(self.inner2(h * (1 + self.prompt(prompt.to(dtype)))))
        found = self.positions(h)
        token = self.token_out(F.silu(self.token_in(found.detach())))
        return found.float(), token.unsqueeze(1)
