# SPDX-License-Identifier: Apache-2.0
"""Random changes of images and states, independent per sample, cheap enough for a CPU.

Crop, rotation and colours are openpi's, per sample as its JAX form has them (its hue is left out, as
in its PyTorch form).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from adamoe_ros.training.training_config import AugmentConfig

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


class Draws(Protocol):
    """Random numbers, one row a sample: numpy's ``Generator``, or one process's share of it."""

    def uniform(self, low: float, high: float, size: Any) -> Any:
        """Evenly spread numbers."""

    def integers(self, low: int, high: int, size: Any) -> Any:
        """Whole numbers below ``high``."""

    def standard_normal(self, size: Any, dtype: Any) -> Any:
        """Normal numbers."""


class OwnDraws:
    """The rows of one process, out of the numbers that a single process would draw.

    Args:
        rng: of the step.
        total: samples of all processes.
        own: rows of this one.
    """

    def __init__(self, rng: np.random.Generator, total: int, own: slice) -> None:
        self._rng, self._total, self._own = rng, total, own

    def uniform(self, low: float, high: float, size: Any) -> Any:
        """Evenly spread numbers; ``size`` starts with this process's number of samples."""
        return self._rng.uniform(low, high, (self._total, *size[1:]))[self._own]

    def integers(self, low: int, high: int, size: Any) -> Any:
        """Whole numbers below ``high``."""
        return self._rng.integers(low, high, (self._total, *size[1:]))[self._own]

    def standard_normal(self, size: Any, dtype: Any) -> Any:
        """Normal numbers."""
        return self._rng.standard_normal((self._total, *size[1:]), dtype)[self._own]


def shift_images(images: NDArray[np.uint8], share: float, rng: Draws) -> NDArray[np.uint8]:
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
    places = [rng.integers(0, 2 * r + 1, (len(images),)) for r in reach]
    for sample, out, top, left in zip(images, moved, *places, strict=True):
        padded = np.pad(sample, pads, mode="edge")
        out[...] = padded[:, top : top + height, left : left + width]
    return moved


def crop_and_turn(
    images: torch.Tensor, config: AugmentConfig, slots: tuple[str, ...], rng: Draws
) -> torch.Tensor:
    """Cut out a part, enlarge it and turn it; cameras on wrists stay as they are, as in openpi.

    Args:
        images: (B, C, 3, H, W) float in [-1, 1]. slots: names of the C cameras.
    """
    steady = [number for number, slot in enumerate(slots) if "wrist" not in slot]
    if not (config.crop or config.rotation_deg) or not steady:
        return images
    count, (height, width) = len(images), images.shape[-2:]
    angle = np.deg2rad(rng.uniform(-config.rotation_deg, config.rotation_deg, (count,)))
    offset = rng.uniform(-config.crop, config.crop, (count, 2))
    sine, cosine, aspect = np.sin(angle), np.cos(angle), height / width
    rows = [[cosine, -sine * aspect], [sine / aspect, cosine]]
    turn = (1 - config.crop) * np.array(rows).transpose(2, 0, 1)
    theta = torch.from_numpy(np.concatenate([turn, offset[:, :, None]], 2)).to(images)
    views = images[:, steady].add(1).flatten(1, 2)  # black outside is 0 then
    grid = functional.affine_grid(theta, list(views.shape), align_corners=False)
    seen = functional.grid_sample(views, grid, "bilinear", "zeros", align_corners=False)
    out = images.clone()
    out[:, steady] = seen.sub(1).unflatten(1, (len(steady), 3))
    return out


def jitter_colours(images: torch.Tensor, config: AugmentConfig, rng: Draws) -> torch.Tensor:
    """Brightness, contrast and saturation factors per sample, result clamped to the range.

    Args:
        images: (B, C, 3, H, W) float in [-1, 1]; changed in place where possible.
    """
    if not (config.brightness or config.contrast or config.saturation):
        return images
    count = images.shape[0]

    def factor(reach: float) -> torch.Tensor:
        drawn = rng.uniform(1 - reach, 1 + reach, (count, 1, 1, 1, 1))
        return torch.from_numpy(drawn).to(images)

    unit = images.add(1).mul_(0.5 * factor(config.brightness))
    if config.contrast:
        unit = torch.lerp(unit.mean((2, 3, 4), keepdim=True), unit, factor(config.contrast))
    if config.saturation:
        weights = torch.tensor(_GREY).to(images).view(1, 1, 3, 1, 1)
        grey = (unit * weights).sum(2, keepdim=True)
        unit = torch.lerp(grey, unit, factor(config.saturation))
    return unit.clamp_(0, 1).mul_(2).sub_(1)
