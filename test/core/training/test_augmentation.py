# SPDX-License-Identifier: Apache-2.0
"""Augmentation keeps shapes and ranges, differs per sample, repeats with the generator."""

from __future__ import annotations

import numpy as np
import torch

from adamoe_ros.training.augmentation import jitter_colours, shift_images
from adamoe_ros.training.config import AugmentConfig
from adamoe_ros.training.sampling import augment_rng


def _pictures(count: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 2, 20, 30, 3), dtype=np.uint8)


def test_shift_moves_the_interior_without_changing_it() -> None:
    images = _pictures()
    moved = shift_images(images, 0.1, augment_rng(1, 0))
    for before, after in zip(images, moved, strict=True):
        places = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-3, 4)
            if np.array_equal(after[:, 3:17, 4:26], before[:, 3 + dy : 17 + dy, 4 + dx : 26 + dx])
        ]
        assert len(places) == 1  # all cameras of a sample move together
    assert not np.array_equal(images, moved)


def test_no_augmentation_is_the_same_object() -> None:
    images, tensor = _pictures(), torch.zeros(2, 1, 3, 4, 4)
    assert shift_images(images, 0.0, augment_rng(0, 0)) is images
    assert jitter_colours(tensor, AugmentConfig(), augment_rng(0, 0)) is tensor


def test_colours_stay_in_range_and_differ_per_sample() -> None:
    config = AugmentConfig(brightness=0.3, contrast=0.4, saturation=0.5)
    images = torch.linspace(-1, 1, 3 * 16).view(1, 1, 3, 4, 4).repeat(4, 2, 1, 1, 1)
    out = jitter_colours(images.clone(), config, augment_rng(0, 5))
    assert float(out.min()) >= -1 and float(out.max()) <= 1
    assert not torch.allclose(out[0], out[1])
    again = jitter_colours(images.clone(), config, augment_rng(0, 5))
    assert torch.equal(out, again)


def test_grey_keeps_its_hue() -> None:
    images = torch.full((3, 1, 3, 4, 4), 0.2)
    out = jitter_colours(images.clone(), AugmentConfig(saturation=0.5), augment_rng(0, 1))
    assert torch.allclose(out, images, atol=1e-5)
