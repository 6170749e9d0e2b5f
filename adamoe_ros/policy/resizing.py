# SPDX-License-Identifier: Apache-2.0
"""Camera pictures to the model's size and range, as the training data was made.

openpi's rule: shrink or enlarge by one factor (sizes cut to whole pixels), bilinear with
antialiasing as PIL does it, each pass rounded to whole grey levels, centred on black. Done on the
host for a CPU, by two small products on a CUDA device.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from adamoe_ros.streams.images import fitted_size


def resize_with_pad(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale pictures into ``size`` and centre them on black.

    Args:
        images: (N, 3, H, W) uint8; fastest when a pixel's colours lie side by side
            (channels last), as cameras deliver them.
        size: (height, width).

    Returns:
        (N, 3, height, width) uint8, within one grey level of PIL's result.
    """
    height, width = fitted_size(images.shape[-2], images.shape[-1], size)
    if (height, width) != tuple(images.shape[-2:]):
        images = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    if (height, width) == size:
        return images
    return F.pad(images, (left, size[1] - width - left, top, size[0] - height - top))


def resize_picture(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """``resize_with_pad`` of one (H, W, 3) picture."""
    return np.ascontiguousarray(resize_with_pad(planes(image), size)[0].permute(1, 2, 0).numpy())


def planes(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) RGB as a (1, 3, H, W) view in channels-last memory; copies read-only arrays."""
    writable = image if image.flags.writeable else image.copy()
    return torch.from_numpy(np.ascontiguousarray(writable)).permute(2, 0, 1).unsqueeze(0)


def to_unit(images: Tensor) -> Tensor:
    """uint8 0 ... 255 -> float32 -1 ... 1, with openpi's order of operations."""
    return images.float().div_(255.0).mul_(2.0).sub_(1.0)


Frames = Sequence[Sequence["NDArray[Any] | None"]]


def host_pixels(frames: Frames, size: tuple[int, int]) -> Tensor:
    """B rows of V pictures (H, W, 3) uint8 or None -> (B, V, 3, h, w) float32 in [-1, 1]."""
    views = len(frames[0]) if frames else 0
    out = torch.full((len(frames), views, 3, *size), -1.0)
    for row, pictures in zip(out, frames, strict=True):
        for place, picture in zip(row, pictures, strict=True):
            if picture is not None:
                _place(place, picture, size)
    return out


def _place(out: Tensor, picture: NDArray[Any], size: tuple[int, int]) -> None:
    """One picture into (3, h, w), whose border holds -1 already."""
    height, width = fitted_size(picture.shape[0], picture.shape[1], size)
    image = planes(picture)
    if (height, width) != picture.shape[:2]:
        image = F.interpolate(image, (height, width), mode="bilinear", antialias=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    inner = out[:, top : top + height, left : left + width]
    inner.copy_(image[0])
    inner.div_(255.0).mul_(2.0).sub_(1.0)


def shrink_on_host(picture: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A picture that is too large for the device's buffer, at the model's size already."""
    small: NDArray[Any] = resize_with_pad(planes(picture), size)[0].permute(1, 2, 0).numpy()
    return small


@lru_cache(maxsize=32)
def resampling(source: int, target: int) -> Tensor:
    """(target, source) float32 weights of PIL's bilinear filter, rows summing to 1.

    The triangle is as wide as the shrinking factor, which is what antialiasing means.
    """
    scale = source / target
    reach = max(scale, 1.0)
    centre = (torch.arange(target, dtype=torch.float64).unsqueeze(1) + 0.5) * scale
    first = (centre - reach + 0.5).floor().clamp(min=0)
    last = (centre + reach + 0.5).floor().clamp(max=source)
    place = torch.arange(source, dtype=torch.float64)
    weight = (1 - ((place + 0.5 - centre) / reach).abs()).clamp(min=0)
    weight = weight * ((place >= first) & (place < last))
    return (weight / weight.sum(1, keepdim=True)).float()


class DeviceResizer:
    """Frames on a device -> pixels there, without a synchronisation.

    Args:
        size: (height, width) of the model's pictures.
    """

    def __init__(self, size: tuple[int, int], device: torch.device) -> None:
        self.size, self.device = size, device
        self._weights: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def prepare(self, height: int, width: int) -> None:
        """Bring the weights for one size of frames to the device (at configure, not in flight)."""
        if (height, width) not in self._weights:
            rows, columns = fitted_size(height, width, self.size)
            pair = (resampling(height, rows), resampling(width, columns))
            self._weights[height, width] = (
                self._bring(pair[0]),
                self._bring(pair[1].T.contiguous()),
            )

    def _bring(self, weights: Tensor) -> Tensor:
        if self.device.type == "cuda":
            return weights.pin_memory().to(self.device, non_blocking=True)
        return weights.clone()

    def place(self, frame: Tensor, out: Tensor) -> None:
        """Write one frame into the pixel buffer.

        Args:
            frame: (H, W, 3) uint8 on the device.
            out: (3, h, w) float32, written completely.
        """
        height, width, _ = frame.shape
        self.prepare(height, width)
        down, across = self._weights[height, width]
        image = frame.permute(2, 0, 1).float()
        if across.shape[0] != across.shape[1]:
            image = _whole(image @ across)
        if down.shape[0] != down.shape[1]:
            image = _whole(down @ image)
        rows, columns = image.shape[1:]
        top, left = (self.size[0] - rows) // 2, (self.size[1] - columns) // 2
        out.fill_(-1.0)
        out[:, top : top + rows, left : left + columns] = image / 255.0 * 2.0 - 1.0


def _whole(image: Tensor) -> Tensor:
    return (image + 0.5).floor_().clamp_(0.0, 255.0)
