# SPDX-License-Identifier: Apache-2.0
"""Random changes of images and states, independent per sample, cheap enough for a CPU.

May import: numpy, torch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from adamoe_ros.training.config import AugmentConfig

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


def shift_images(
    images: NDArray[np.uint8], share: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Move every sample's pictures by up to ``share`` of their size; edges repeat.

    Args:
        images: (B, C, H, W, 3).
    """
    height, width = images.shape[2:4]
    reach = (round(height * share), round(width * share))
    if share == 0 or max(reach) == 0:
        return images
    pads = ((0, 0), (reach[0],) * 2, (reach[1],) * 2, (0, 0))
    moved = np.empty_like(images)
    for sample, out in zip(images, moved, strict=True):
        top, left = (int(rng.integers(2 * r + 1)) for r in reach)
        padded = np.pad(sample, pads, mode="edge")
        out[...] = padded[:, top : top + height, left : left + width]
    return moved


def jitter_colours(
    images: torch.Tensor, config: AugmentConfig, rng: np.random.Generator
) -> torch.Tensor:
    """Brightness, contrast and saturation factors per sample, result clamped to the range.

    Args:
        images: (B, C, 3, H, W) float in [-1, 1]; changed in place where possible.
    """
    if not (config.brightness or config.contrast or config.saturation):
        return images
    count = images.shape[0]

    def factor(reach: float) -> torch.Tensor:
        drawn = rng.uniform(1 - reach, 1 + reach, size=(count, 1, 1, 1, 1))
        return torch.from_numpy(drawn).to(images)

    unit = images.add(1).mul_(0.5 * factor(config.brightness))
    if config.contrast:
        unit = torch.lerp(unit.mean((2, 3, 4), keepdim=True), unit, factor(config.contrast))
    if config.saturation:
        weights = torch.tensor(_GREY).to(images).view(1, 1, 3, 1, 1)
        grey = (unit * weights).sum(2, keepdim=True)
        unit = torch.lerp(grey, unit, factor(config.saturation))
    return unit.clamp_(0, 1).mul_(2).sub_(1)
