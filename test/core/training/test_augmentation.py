# SPDX-License-Identifier: Apache-2.0
"""Augmentation keeps shapes and ranges, differs per sample, repeats with the generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adamoe_ros.training.augmentation import crop_and_turn, jitter_colours, shift_images
from adamoe_ros.training.sampling import augment_rng
from adamoe_ros.training.training_config import AugmentConfig


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


def test_crop_and_rotation_leave_wrists_alone() -> None:
    slots = ("cam_high", "cam_left_wrist")
    images = torch.rand(3, 2, 3, 24, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    config = AugmentConfig(crop=0.1, rotation_deg=5)
    out = crop_and_turn(images, config, slots, augment_rng(0, 0))
    assert torch.equal(out[:, 1], images[:, 1])
    assert not torch.allclose(out[:, 0], images[:, 0])
    assert float(out.min()) >= -1 - 1e-6 and float(out.max()) <= 1 + 1e-6
    assert crop_and_turn(images, AugmentConfig(), slots, augment_rng(0, 0)) is images
    assert crop_and_turn(images, config, ("a_wrist", "b_wrist"), augment_rng(0, 0)) is images


class _Fixed:
    """Given numbers instead of random ones."""

    def __init__(self, angle: float, offset: float) -> None:
        self._values = [angle, offset]

    def uniform(self, low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
        return np.full(size, self._values[len(size) - 1])

    def integers(self, low: int, high: int, size: tuple[int, ...]) -> np.ndarray:
        raise AssertionError("not used")

    def standard_normal(self, size: tuple[int, ...], dtype: type) -> np.ndarray:
        raise AssertionError("not used")


def test_a_crop_is_the_middle_enlarged() -> None:
    """Half of the picture, from its corner: its pixels lie twice as far apart."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(32.0), indexing="ij")
    image = torch.stack([rows, columns, rows + columns]) / 64
    config = AugmentConfig(crop=0.49)
    out = crop_and_turn(image[None, None], config, ("top",), _Fixed(0.0, -0.49))[0, 0]
    step = (out[1, 5, 20] - out[1, 5, 10]) / 10
    assert float(step) == pytest.approx(0.51 / 64, rel=1e-4)
    assert float(out[0, 1, 1]) == pytest.approx(0.265 / 64, rel=1e-3)


def test_a_rotation_keeps_lengths() -> None:
    """A point right of the centre moves along a circle, whatever the picture's shape."""
    image = torch.full((1, 1, 3, 60, 120), -1.0)
    image[..., 28:32, 78:82] = 1.0  # 20 px right of the centre
    config = AugmentConfig(rotation_deg=30)
    out = crop_and_turn(image, config, ("top",), _Fixed(30.0, 0.0))[0, 0, 0] + 1
    total = out.sum()
    row = (out.sum(1) * (torch.arange(60) + 0.5)).sum() / total - 30
    column = (out.sum(0) * (torch.arange(120) + 0.5)).sum() / total - 60
    assert float(column) == pytest.approx(20 * np.cos(np.pi / 6), abs=0.2)
    assert abs(float(row)) == pytest.approx(20 * np.sin(np.pi / 6), abs=0.2)
