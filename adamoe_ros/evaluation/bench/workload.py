# SPDX-License-Identifier: Apache-2.0
"""One made-up policy and observation, and the stages of an engine that runs them.

vision   pictures to tokens
encode   vision, prompt and prefix, up to the keys and values that the flow reads
step     one evaluation of the velocity
whole    frames in host memory to actions in host memory
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adamoe_ros.evaluation.bench.timing import Work
from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.model.layers import ROUTER_STD
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.engines.eager import EagerEngine, Engine
from adamoe_ros.policy.engines.packed import PackedEngine
from adamoe_ros.policy.engines.shapes import exact_shape, frames_in_order, small_inputs
from adamoe_ros.policy.processing import ModelInputs
from adamoe_ros.policy.resizing import host_pixels


def made_up_network(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> AdaMoEPolicy:
    """Random weights of sound scale, made in place: latency needs no training.

    Routers are drawn wide, so that tokens spread over the experts as trained ones do.
    """
    generator = torch.Generator(device).manual_seed(0)
    with torch.device("meta"):
        model = AdaMoEPolicy(config)
    for name, parameter in list(model.named_parameters()):
        values = torch.empty(parameter.shape, dtype=dtype, device=device)
        if parameter.dim() == 1:
            values.fill_(1.0 if ".norm" in name and name.startswith("vision") else 0.0)
        else:
            fan_in = parameter[0].numel() if ".experts." not in name else parameter.shape[2]
            std = 50 * ROUTER_STD if ".router." in name else fan_in**-0.5
            values.normal_(0, std, generator=generator)
        module, _, leaf = name.rpartition(".")
        model.get_submodule(module).register_parameter(
            leaf, torch.nn.Parameter(values, requires_grad=False)
        )
    return model.eval()


@dataclass(frozen=True)
class Problem:
    """What is inferred.

    Attributes:
        inputs: frames in host memory.
        noise: (B, H, A) in host memory.
        steps: flow steps.
    """

    inputs: ModelInputs
    noise: Tensor
    steps: int


def made_up_problem(
    config: ModelConfig,
    batch: int,
    views: int,
    prompt: int,
    steps: int,
    frame: tuple[int, int] = (480, 640),
) -> Problem:
    """Noise pictures, a random prompt."""
    draw = np.random.default_rng(0)
    row = [draw.integers(0, 256, (*frame, 3), dtype=np.uint8) for _ in range(views)]
    frames = (*row, *[None] * (config.num_views - views))
    length = config.prompt_length
    inputs = ModelInputs(
        frames=(frames,) * batch,
        token_ids=draw.integers(1, config.prefix.vocab, (batch, length)),
        token_mask=np.tile(np.arange(length) < prompt, (batch, 1)),
        state=draw.standard_normal((batch, config.state_dim)).astype(np.float32),
    )
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch, config.horizon, config.action_dim, generator=generator)
    return Problem(inputs, noise, steps)


def engine_stages(engine: Engine, problem: Problem) -> dict[str, Work]:
    """Stages of an engine that can be called one by one; of others, the whole."""

    def whole() -> object:
        return engine.sample(problem.inputs, problem.noise, SamplingOptions(problem.steps))

    if isinstance(engine, PackedEngine):
        return {**_packed_stages(engine, problem), "whole": whole}
    if isinstance(engine, EagerEngine):
        return {**_eager_stages(engine, problem), "whole": whole}
    return {"whole": whole}


def _packed_stages(engine: PackedEngine, problem: Problem) -> dict[str, Work]:
    inputs, shape = problem.inputs, exact_shape(problem.inputs)
    small = small_inputs(inputs, shape, engine.config)
    size = engine.config.vision.image_size
    pixels = host_pixels(frames_in_order(inputs, small), size)
    slots = torch.from_numpy(small.slots).flatten()
    stage, _ = engine.encode(pixels, small, shape)
    when = engine.flow.schedule(problem.steps)[1][1][None, :1]
    return {
        "images": lambda: host_pixels(frames_in_order(inputs, small), size),
        "vision": lambda: engine.prefix.encoder(pixels.flatten(0, 1), slots),
        "encode": lambda: engine.encode(pixels, small, shape),
        "step": lambda: engine.flow.velocity(stage, problem.noise, when),
    }


def _eager_stages(engine: EagerEngine, problem: Problem) -> dict[str, Work]:
    from adamoe_ros.policy.engines.eager import model_images

    network, inputs, device = engine.network, problem.inputs, engine.device
    images = model_images(inputs, engine.config, device)
    state = torch.from_numpy(inputs.state).to(device)
    mask = torch.from_numpy(inputs.image_mask)
    places = mask.flatten().nonzero().squeeze(1).to(device)
    ids = torch.from_numpy(inputs.token_ids).to(device)
    valid = torch.from_numpy(inputs.token_mask).to(device)

    def encode() -> object:
        cache = network.encode_prefix(images, mask, ids, valid, state)
        return network.encode_state(cache, state)

    cache = network.encode_state(network.encode_prefix(images, mask, ids, valid, state), state)
    noise = problem.noise.to(device)
    time = torch.full((len(noise),), 0.9, device=device)
    slots = places % engine.config.num_views
    return {
        "images": lambda: model_images(inputs, engine.config, device),
        "vision": lambda: network.vision(images.flatten(0, 1)[places], slots),
        "encode": encode,
        "step": lambda: network.velocity(cache, noise, time),
    }
