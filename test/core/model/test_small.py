# SPDX-License-Identifier: Apache-2.0
"""The demo's policy: every parameter learns, positions are found in pictures, words choose."""

from __future__ import annotations

import samples
import torch

from adamoe_ros.model.config import small
from adamoe_ros.model.layers import initialise
from adamoe_ros.model.policy_model import AdaMoEPolicy


def fresh(seed: int = 0) -> AdaMoEPolicy:
    model = AdaMoEPolicy(small())
    initialise(model, torch.Generator().manual_seed(seed))
    return model


def test_initialisation_is_a_function_of_the_seed():
    first, again, other = (fresh(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embed.weight"], other["embed.weight"])


def test_every_used_parameter_gets_a_gradient():
    config = small()
    model = samples.policy(config)
    inputs = samples.inputs(config, [[1, 1, 1]] * 8, [5] * 8)
    actions, noise = samples.chunk(config, 8, seed=4), samples.chunk(config, 8)
    losses = model.loss(
        **inputs, actions=actions, noise=noise, time=torch.rand(8), objects=torch.ones(8, 6)
    )
    (losses.flow + losses.objects + losses.moe.load_balancing.mean()).backward()
    last = f"prefix.layers.{config.prefix.depth - 1}."
    unused = (f"{last}attn.q", f"{last}attn.o", f"{last}ffn", "prefix.norm")
    for name, parameter in model.named_parameters():
        silent = parameter.grad is None or not parameter.grad.any()
        assert silent == name.startswith(unused), name


def test_position_loss_alone_teaches_the_position_head():
    """The flow loss must not bend the predicted positions."""
    config = small()
    model = samples.policy(config)
    inputs = samples.inputs(config, [[1, 1, 1]] * 2, [5] * 2)
    noise = samples.chunk(config, 2)
    model.loss(**inputs, actions=noise, noise=noise, time=torch.rand(2)).flow.backward()
    assert model.aux.token_in.weight.grad.any()
    assert model.aux.positions.weight.grad is None


def pictures(count: int, generator: torch.Generator):
    """A bright square in every view, its place (x, y) in [-0.8, 0.8], and the target's place."""
    height, width = small().vision.image_size
    images = torch.full((count, 3, 3, height, width), -0.5)
    place = torch.rand(count, 2, 2, generator=generator) * 1.6 - 0.8  # two objects
    for b in range(count):
        for o, colour in enumerate((0, 2)):
            x = int((place[b, o, 0] + 1) / 2 * width)
            y = int((place[b, o, 1] + 1) / 2 * height)
            images[b, :, colour, max(0, y - 3) : y + 3, max(0, x - 3) : x + 3] = 1.0
    return images, place


def test_positions_are_learned_from_pictures_and_words_choose_the_object():
    torch.manual_seed(0)
    model, generator = fresh(), torch.Generator().manual_seed(3)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    config = small()

    def batch(count):
        images, place = pictures(count, generator)
        word = torch.randint(2, (count,), generator=generator)
        tokens = torch.zeros(count, config.prompt_length, dtype=torch.long)
        tokens[:, 0], tokens[:, 1] = 2, 10 + word
        wanted = torch.zeros(count, 6)
        wanted[:, :2] = place[torch.arange(count), word]
        inputs = {
            "images": images,
            "image_mask": torch.tensor([[True, False, False]]).expand(count, -1),
            "token_ids": tokens,
            "token_mask": torch.arange(config.prompt_length).expand(count, -1) < 2,
            "state": torch.zeros(count, config.state_dim),
        }
        return inputs, wanted

    def locate(count):
        inputs, wanted = batch(count)
        return model.encode_prefix(**inputs).objects, wanted

    for _ in range(40):
        found, wanted = locate(16)
        loss = (found - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found, wanted = locate(64)
    error = (found - wanted)[:, :2].abs().mean()
    assert error < 0.15  # guessing: 0.4; the wrong object: 0.55


def test_the_reader_knows_the_words_order_and_not_the_padding():
    config = small()
    model = fresh()
    ids = torch.tensor([[2, 10, 11, 0, 0], [2, 11, 10, 0, 0], [2, 10, 11, 7, 9]])
    words = model.embed(ids)
    said = torch.tensor([3, 3, 3]).unsqueeze(1) > torch.arange(5)
    first, swapped, padded = model.reader(words, said)
    assert not torch.allclose(first, swapped, atol=1e-2)
    assert torch.allclose(first, padded, atol=1e-6)
    assert first.shape == (config.prefix.width,)


def test_prompted_key_points_move_with_the_sentence():
    config = small()
    model = fresh()
    images, _ = pictures(2, torch.Generator().manual_seed(0))
    pixels = images[0].expand(2, -1, -1, -1, -1).flatten(0, 1)
    views = torch.arange(3).repeat(2)
    prompt = torch.randn(2, config.prefix.width, generator=torch.Generator().manual_seed(1))
    _, points = model.vision(pixels, views, prompt.repeat_interleave(3, 0))
    fixed = config.vision.keypoints
    one, other = points[:3], points[3:]
    assert points.shape == (6, config.vision.all_keypoints, 2)
    assert torch.equal(one[:, :fixed], other[:, :fixed])
    assert not torch.allclose(one[:, fixed:], other[:, fixed:], atol=1e-3)
