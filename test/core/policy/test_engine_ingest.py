# SPDX-License-Identifier: Apache-2.0
"""Frames to pixels: host and device forms against PIL and against the eager engine's."""

from __future__ import annotations

import engine_cases
import numpy as np
import pytest
import torch
from PIL import Image

from adamoe_ros.policy.engines.cuda_graphs import Arena
from adamoe_ros.policy.engines.eager import model_images
from adamoe_ros.policy.resizing import DeviceResizer, fitted_size, host_pixels

SIZES = [(480, 640), (720, 1280), (224, 224), (100, 60), (97, 311)]


def picture(height: int, width: int) -> np.ndarray:
    """Texture and edges."""
    draw = np.random.default_rng(height)
    y, x = np.mgrid[:height, :width]
    waves = 127 + 60 * np.sin(x / 3.1)[..., None] * np.cos(y / np.array([2.3, 5.0, 11.0])[:, None, None]).transpose(1, 2, 0)  # fmt: skip
    noisy = waves + draw.normal(0, 30, (height, width, 3)) + 60 * (x > width // 2)[..., None]
    return noisy.clip(0, 255).astype(np.uint8)


def by_pil(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """openpi's rule with PIL: (h, w, 3) uint8."""
    height, width = fitted_size(*image.shape[:2], size)
    inner = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    out = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    out[top : top + height, left : left + width] = inner
    return out


def levels(pixels: torch.Tensor) -> np.ndarray:
    """(3, h, w) in [-1, 1] -> (h, w, 3) grey levels."""
    return ((pixels + 1) * 127.5).permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_one_grey_level_of_pil(height, width):
    image, size = picture(height, width), (224, 224)
    wanted = by_pil(image, size).astype(float)
    on_host = levels(host_pixels([[image]], size)[0, 0])
    pixels = torch.full((3, *size), 7.0)
    DeviceResizer(size, torch.device("cpu")).place(torch.from_numpy(image), pixels)
    for found in (on_host, levels(pixels)):
        gap = np.abs(found - wanted)
        assert gap.max() < 1.01 and gap.mean() < 0.05


def test_host_pixels_are_the_eager_engine_s():
    config = engine_cases.CONFIGS["k=1"]()
    given = engine_cases.inputs(config, [[1, 0, 1]], [3])
    frames = (picture(48, 64), None, picture(31, 90))
    given = type(given)((frames,), given.token_ids, given.token_mask, given.state)
    wanted = model_images(given, config, torch.device("cpu"))
    assert torch.equal(host_pixels([frames], config.vision.image_size), wanted)


def test_arena_moves_every_field_and_keeps_them_apart():
    fields = {"a": (torch.float32, (3, 5)), "b": (torch.bool, (7,)), "c": (torch.int64, ())}
    arena = Arena(fields, 100, torch.device("cpu"))
    arena.host["a"].fill_(1.5)
    arena.host["b"].fill_(True)
    arena.host["c"].fill_(-2)
    arena.host_tail.fill_(9)
    arena.upload(100)
    assert (arena.device["a"] == 1.5).all() and arena.device["b"].all()
    assert arena.device["c"].item() == -2 and (arena.device_tail == 9).all()
    assert all(view.data_ptr() % 64 == 0 for view in arena.device.values())
