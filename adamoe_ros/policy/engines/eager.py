# SPDX-License-Identifier: Apache-2.0
"""What runs the network on a device: the interface, and the eager form that defines the numbers.

Faster engines (``policy.engines``) are wrapped around the same network and tested against this one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from adamoe_ros.model.conditioning import FREE, SamplingOptions
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.model.policy_model import AdaMoEPolicy, PolicySample
from adamoe_ros.policy.processing import ModelInputs
from adamoe_ros.policy.resizing import planes, resize_with_pad, to_unit


@dataclass(frozen=True)
class EngineResult:
    """A sampled batch.

    Attributes:
        sample: actions in host memory.
        stages: stage -> s: ``images`` (to the model's size, on the device), ``prefix``, ``flow``.
    """

    sample: PolicySample
    stages: Mapping[str, float]


class Engine(Protocol):
    """Runs one network.

    Attributes:
        name: as the parameter chooses it.
        config: sizes of the network.
        device: where it runs.
    """

    name: str
    config: ModelConfig
    device: torch.device

    def sample(
        self,
        inputs: ModelInputs,
        noise: Tensor,
        options: SamplingOptions = FREE,
    ) -> EngineResult:
        """PolicySample a chunk for every observation.

        Args:
            noise: (B, H, A) float32 in host memory, unit normal.
            options: in host memory.
        """

    def peak_memory(self) -> int:
        """Most bytes of device memory since it was made; 0 on a CPU."""


def model_images(inputs: ModelInputs, config: ModelConfig, device: torch.device) -> Tensor:
    """(B, V, 3, h, w) float32 in [-1, 1] on the device; absent cameras are -1 and never read."""
    size = config.vision.image_size
    pixels = torch.zeros(len(inputs), config.num_views, 3, *size, dtype=torch.uint8)
    for row, frames in zip(pixels, inputs.frames, strict=True):
        for place, frame in zip(row, frames, strict=True):
            if frame is not None:
                place.copy_(resize_with_pad(planes(frame), size)[0])
    return to_unit(pixels.to(device, non_blocking=True))


class EagerEngine:
    """The network as it is written, one operation after another.

    Args:
        network: in eval mode, on its device.
    """

    name = "eager"

    def __init__(self, network: AdaMoEPolicy) -> None:
        self.network = network
        self.config = network.config
        self.device = network.embed.weight.device

    @torch.no_grad()  # not inference_mode: guidance may differentiate the network
    def sample(
        self,
        inputs: ModelInputs,
        noise: Tensor,
        options: SamplingOptions = FREE,
    ) -> EngineResult:
        """See ``Engine``."""
        clock = StageClock(self.device)
        images = model_images(inputs, self.config, self.device)
        state = torch.from_numpy(inputs.state).to(self.device)
        clock.mark("images")
        network, token_mask = self.network, torch.from_numpy(inputs.token_mask)
        cache = network.encode_prefix(
            images,
            torch.from_numpy(inputs.image_mask),
            torch.from_numpy(inputs.token_ids).to(self.device),
            token_mask.to(self.device),
            state,
        )
        cache = network.encode_state(cache, state)
        clock.mark("prefix")
        sample = network.sample_from(cache, noise.to(self.device), options.to(self.device))
        objects = None if sample.objects is None else sample.objects.cpu()
        sample = PolicySample(sample.actions.cpu(), objects, sample.routing)
        clock.mark("flow")
        return EngineResult(sample, clock.stages)

    def peak_memory(self) -> int:
        """See ``Engine``."""
        cuda = self.device.type == "cuda"
        return int(torch.cuda.max_memory_allocated(self.device)) if cuda else 0


class StageClock:
    """Wall time between marks; waits for the device at each, so it is for eager work only."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.stages: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, name: str) -> None:
        """The stage that ends here."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.stages[name] = now - self._last
        self._last = now
