# SPDX-License-Identifier: Apache-2.0
"""Pictures as PIL makes them, prompts, normalisation, relative actions: exact and invertible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from policy_support import make_checkpoint, manifest, observation, statistics

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.manifest import JointRole
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.normalise import FeatureStats, make_normalizer
from adamoe_ros.policy.processing import Processor
from adamoe_ros.policy.prompt import PromptEncoder
from adamoe_ros.policy.resizing import resize_picture, to_unit
from adamoe_ros.policy.vectors import VectorSpace


def as_openpi(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """openpi's rule with PIL, written down apart from ours."""
    height, width = image.shape[:2]
    ratio = max(width / size[1], height / size[0])
    new_height, new_width = int(height / ratio), int(width / ratio)
    small = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (size[1], size[0]), 0)
    canvas.paste(small, (int((size[1] - new_width) / 2), int((size[0] - new_height) / 2)))
    return np.asarray(canvas)


@pytest.mark.parametrize(
    "shape", [(480, 640), (720, 1280), (240, 320), (224, 224), (97, 331), (331, 97)]
)
@pytest.mark.parametrize("size", [(224, 224), (72, 96)])
def test_resized_as_pil_does(shape: tuple[int, int], size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    difference = resize_picture(image, size).astype(int) - as_openpi(image, size)
    assert abs(difference).max() <= 1


def test_range_of_pixels() -> None:
    unit = to_unit(torch.tensor([0, 255, 51], dtype=torch.uint8))
    assert unit.tolist() == pytest.approx([-1.0, 1.0, -0.6])


class Letters:
    """Every letter its code."""

    size = 200

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


@pytest.mark.parametrize(
    ("style", "sentence", "expected"),
    [
        ("openpi", " lift_a\nb ", [2, *map(ord, "lift a b"), 10]),
        ("lerobot", "lift_a", [2, *map(ord, "lift_a\n")]),
        ("lerobot", "lift\n", [2, *map(ord, "lift\n")]),
        ("plain", "lift", [*map(ord, "lift")]),
    ],
)
def test_prompt_styles(style: str, sentence: str, expected: list[int]) -> None:
    encoder = PromptEncoder(Letters(), style, 16)
    assert encoder.tokens(sentence) == expected
    ids, mask = encoder(sentence)
    assert ids[mask].tolist() == expected
    assert ids.shape == mask.shape == (16,)
    assert not ids[~mask].any()


def test_a_long_prompt_is_refused_with_its_tokens() -> None:
    encoder = PromptEncoder(Letters(), "openpi", 14)
    assert encoder.check("lift the bar") is None
    assert encoder("lift the bar")[1].all()
    with pytest.raises(ContractError, match="expected at most 14 tokens, got 15 tokens; shorten"):
        encoder("lift the bars")
    assert "got 15 tokens" in str(encoder.check("lift the bars"))


@pytest.mark.parametrize("method", ["mean_std", "quantile"])
@pytest.mark.parametrize("eps", [1e-6, 1e-8])
@given(seed=st.integers(0, 2**32 - 1))
def test_normalisation_is_invertible(method: str, eps: float, seed: int) -> None:
    normalizer = make_normalizer(statistics().state, method, eps, 16)
    values = np.random.default_rng(seed).normal(size=(3, 14))
    model = normalizer.apply(values)
    assert model.shape == (3, 16)
    assert not model[:, 14:].any()
    np.testing.assert_allclose(normalizer.invert(model), values, atol=1e-6)


def test_normalisation_formulas() -> None:
    stats = FeatureStats(mean=(1.0,), std=(2.0,), q01=(-1.0,), q99=(3.0,))
    assert make_normalizer(stats, "mean_std", 1e-6, 1).apply(np.array([4.0])) == pytest.approx(
        3 / (2 + 1e-6), rel=1e-7
    )
    quantile = make_normalizer(stats, "quantile", 1e-6, 1)
    assert quantile.apply(np.array([-1.0])) == pytest.approx(-1.0)
    assert quantile.apply(np.array([2.0])) == pytest.approx(2 * 3 / (4 + 1e-6) - 1, rel=1e-7)
    lerobot = make_normalizer(stats, "mean_std", 1e-8, 1)
    assert lerobot.invert(np.array([1.0])) == 3.0  # no epsilon on the way out


@pytest.mark.parametrize("adapt", ["none", "openpi", "adamoe"])
@given(seed=st.integers(0, 2**32 - 1))
def test_actions_come_back(adapt: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    joints = tuple(
        JointRole(
            role=joint.role,
            kind=joint.kind,
            representation="absolute" if joint.kind == "gripper" else "relative",
        )
        for joint in manifest().joints
    )
    space = VectorSpace(manifest(joints=joints, adapt_to_pi=adapt), statistics(), 16, 16)
    state, actions = rng.uniform(0, 1, 14), rng.normal(size=(6, 14))
    encoded = space.encode_actions(actions, state)
    np.testing.assert_allclose(space.decode_actions(encoded, state), actions, atol=1e-5)


def test_relative_actions_count_from_the_state() -> None:
    joints = (JointRole(role="a", kind="revolute", representation="relative"),)
    stats = statistics(1)
    space = VectorSpace(manifest(joints=joints), stats, 1, 1)
    physical = space.decode_actions(np.zeros((2, 1), np.float32), np.array([0.7]))
    np.testing.assert_allclose(physical, 0.7 + stats.actions.mean[0])


def test_inputs_of_an_observation(tmp_path: Path) -> None:
    processor = Processor(read_checkpoint(make_checkpoint(tmp_path / "made")))
    inputs = processor.inputs([observation(0), observation(1, absent=("cam_left_wrist",))])
    assert inputs.image_mask.tolist() == [[True, True, True], [True, False, True]]
    assert inputs.token_ids[0, :7].tolist() == [4, 5, 6, 7, 8, 9, 10]
    assert inputs.state.shape == (2, 16)
