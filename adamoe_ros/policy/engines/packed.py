# SPDX-License-Identifier: Apache-2.0
"""The engine of CPUs: weights laid out once for oneDNN, experts compute only their tokens.

No graph is captured, so every batch runs in its exact shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adamoe_ros.model.conditioning import FREE, SamplingOptions
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.model.moe import Routing
from adamoe_ros.model.policy_model import AdaMoEPolicy, PolicySample
from adamoe_ros.policy.engines.eager import EngineResult, StageClock
from adamoe_ros.policy.engines.engine_settings import EngineSettings, refuse_gradients
from adamoe_ros.policy.engines.flow_program import FlowProgram, Stage
from adamoe_ros.policy.engines.prefix_program import Buffers, PrefixProgram
from adamoe_ros.policy.engines.shapes import (
    Shape,
    SmallInputs,
    exact_shape,
    frames_in_order,
    small_inputs,
)
from adamoe_ros.policy.engines.weight_forms import WeightForms
from adamoe_ros.policy.processing import ModelInputs
from adamoe_ros.policy.resizing import host_pixels

_KEPT_SHAPES = 8


class PackedEngine:
    """See ``eager.Engine``.

    Args:
        network: in eval mode on the CPU; taken over where the settings say so.
    """

    name = "packed"

    def __init__(self, network: AdaMoEPolicy, settings: EngineSettings) -> None:
        self.config: ModelConfig = network.config
        self.device = network.embed.weight.device
        forms = WeightForms(
            packed=True,
            mixture=settings.mixture_on_cpu(network.config),
            int8=settings.int8,
            consume=settings.consume,
        )
        usual = Shape(1, self.config.num_views, self.config.prompt_length)
        self.prefix = PrefixProgram(network, forms, usual)
        self.flow = FlowProgram(network, forms)
        self._buffers: dict[Shape, Buffers] = {}

    @torch.inference_mode()
    def sample(
        self,
        inputs: ModelInputs,
        noise: Tensor,
        options: SamplingOptions = FREE,
    ) -> EngineResult:
        """See ``Engine``; guidance that differentiates the network is refused."""
        refuse_gradients(options, self.name)
        clock = StageClock(self.device)
        shape = exact_shape(inputs)
        small = small_inputs(inputs, shape, self.config)
        pixels = host_pixels(frames_in_order(inputs, small), self.config.vision.image_size)
        clock.mark("images")
        stage, objects = self.encode(pixels, small, shape)
        clock.mark("prefix")
        routing: list[list[Routing]] | None = [] if options.trace else None
        actions = self.flow.run(stage, noise.float(), options, routing)
        clock.mark("flow")
        return EngineResult(PolicySample(actions, objects, routing or []), clock.stages)

    def encode(
        self, pixels: Tensor, small: SmallInputs, shape: Shape
    ) -> tuple[Stage, Tensor | None]:
        """Prefix and state token of a batch; the next call overwrites the buffers."""
        state = torch.from_numpy(small.state)
        valid = None if small.complete else torch.from_numpy(small.valid)
        slots, ids = torch.from_numpy(small.slots), torch.from_numpy(small.token_ids)
        buffers = self._room(shape)
        prefix = self.prefix(pixels, slots, ids, valid, state, buffers)
        return self.flow.begin(prefix, state, buffers), prefix.objects

    def _room(self, shape: Shape) -> Buffers:
        if shape not in self._buffers:
            while len(self._buffers) >= _KEPT_SHAPES:  # the oldest goes: memory stays bounded
                self._buffers.pop(next(iter(self._buffers)))
            self._buffers[shape] = self.prefix.buffers(shape, self.device)
        return self._buffers[shape]

    def peak_memory(self) -> int:
        """See ``Engine``."""
        return 0
