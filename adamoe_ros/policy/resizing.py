# SPDX-License-Identifier: Apache-2.0
"""Camera pictures to the model's size and range, as the training data was made.

openpi's rule: shrink or enlarge by one factor (sizes cut to whole pixels), bilinear with
antialiasing as PIL does it, centred on black.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def fitted_size(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a picture after scaling it into ``size``, cut to whole pixels."""
    ratio = max(width / size[1], height / size[0])
    return max(1, int(height / ratio)), max(1, int(width / ratio))


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
